"""Which changes of a spec need other pods. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from ai_how.endpoints.types import EndpointSpec
from ai_how.kubernetes_api.objects import ApiObject

SAME_POD = ("autoscaling", "stopped", "created_at", "model_ref")
"""A change of these leaves running pods alone."""


def process_digest(spec: EndpointSpec) -> str:
    """SHA-256, in hex, over the fields whose change needs another engine process."""
    values = {key: value for key, value in asdict(spec).items() if key not in SAME_POD}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def pods_digest(runtime: ApiObject, service: ApiObject) -> str:
    """SHA-256, in hex, over what pods are made of: a revision whose pods have another one is being replaced."""
    made_of = {"runtime": runtime["spec"], "predictor": service["spec"]["predictor"]}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
