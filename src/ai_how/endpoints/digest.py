"""Which changes of a spec need another engine process. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

from ai_how.endpoints.types import EndpointSpec

_SAME_PROCESS = ("autoscaling", "stopped", "created_at", "model_ref")
"""A change of these leaves running processes alone."""


def process_digest(spec: EndpointSpec) -> str:
    """SHA-256, in hex, over the fields whose change needs another engine process."""
    values = {key: value for key, value in asdict(spec).items() if key not in _SAME_PROCESS}
    adapters = [{key: value for key, value in one.items() if key != "model_ref"} for one in values.pop("adapters")]
    if adapters:
        # one without adapters has the digest that it had before there were any
        values["adapters"] = adapters
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
