"""How a request tells a replica's engine which of its adapters it wants. Pure.

Engines that know adapters by name read ``model`` themselves. Source of the field ``lora``: llama.cpp's server, which
takes the number and the strength of each.
"""

from __future__ import annotations

import json
from typing import Any

from ai_how.gateway.backend import ReplicaProcess
from ai_how.gateway.http_edge import parse_json


def for_replica(body: bytes, process: ReplicaProcess, model: str) -> bytes:
    """A request's body as the replica's engine understands it; ``model`` is one that it has loaded."""
    said = in_force(process, model)
    return json.dumps(parse_json(body) | said).encode() if said else body


def in_force(process: ReplicaProcess, model: str) -> dict[str, Any]:
    """What a request must say so that one adapter is in force, or none.

    It is said each time: without it llama.cpp goes back to no adapter, but keeps what it computed with one.
    """
    if not process.adapters or not process.adapters_by_number:
        return {}
    return {"lora": [{"id": at, "scale": float(name == model)} for at, name in enumerate(process.adapters)]}
