"""Kubernetes on nodes that are there, by Kubespray: what it is told, whether it knows those words, and running it.

Owns Kubespray's inventory and variables, its checkout and environment, its playbooks and their progress. It gets nodes
as data and must never know who made them. What runs on the cluster afterwards is not its business.
"""
