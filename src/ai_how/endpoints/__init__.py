"""Deploying a registered model as an endpoint: Oumi's deploy file, the endpoint's data, the engines that serve it."""
