"""What a revision's pods are made of. Pure."""

from __future__ import annotations

import hashlib
import json

from ai_how.kubernetes_api.objects import ApiObject


def pods_digest(runtime: ApiObject, service: ApiObject) -> str:
    """SHA-256, in hex, over what pods are made of: a revision whose pods have another one is being replaced."""
    made_of = {"runtime": runtime["spec"], "predictor": service["spec"]["predictor"]}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
