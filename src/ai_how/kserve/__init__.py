"""Endpoints on a cluster: an endpoint as KServe's objects, and KServe's objects as an endpoint."""
