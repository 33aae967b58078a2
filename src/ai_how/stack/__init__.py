"""The MLOps stack on Kubernetes: what runs there, as data.

Pure: renders objects and chart values. Never talks to a cluster; ``kubernetes_api`` applies what is rendered here.
"""
