"""The data plane: one loopback address in front of all endpoints.

Owns API keys, request ids, routing, holding, scaling and draining. Never installs or configures the stack: that is
``local``'s. Replicas are started and stopped through a ``ReplicaBackend`` that the provider gives.
"""
