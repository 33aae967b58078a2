"""Checks of what was rendered for a cluster, without a cluster: does every object fit its kind?

Pure. The schemas are extracts of Kubernetes' own and of the CustomResourceDefinitions of the release set.
"""
