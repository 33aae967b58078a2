"""Measuring an endpoint and comparing with the site's targets. Never states a figure that was not measured."""
