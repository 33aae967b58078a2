"""Where the time of an endpoint's last start on a cluster went: the newest replica that answers, as its pod tells.

Reads pods, events and the engine's log; changes nothing. How these become stages is ``endpoints.cold_start.pod``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ai_how.endpoints.cold_start.pod import SERVING, waterfall_of_pod
from ai_how.endpoints.cold_start.waterfall import Waterfall
from ai_how.errors import AiHowError
from ai_how.kserve.pods import is_ready
from ai_how.kserve.revision import ENDPOINT
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import ref_of

LOG_BYTES = 512 * 1024
"""vLLM's start is within the first hundred kilobytes of its log."""


def last_start(client: Client, name: str, *, namespace: str) -> Waterfall | None:
    """The start of the endpoint's newest replica that answers; None where none does.

    A container that ended and was started again was asked for when it ended: nothing was scheduled or fetched then.
    """
    found = client.list_objects("v1", "Pod", namespace, labels=f"{ENDPOINT}={name}").items
    pod = max((one for one in found if is_ready(one)), key=_created, default=None)
    if pod is None:
        return None
    return waterfall_of_pod(pod, client.events(ref_of(pod)), _log(client, pod), asked_at=_ended_before(pod))


def _created(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"].get("creationTimestamp") or "")


def _ended_before(pod: Mapping[str, Any]) -> str | None:
    """When the run of the engine before this one ended; None for the first."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status.get("name") == SERVING:
            finished = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
            return str(finished) if finished else None
    return None


def _log(client: Client, pod: Mapping[str, Any]) -> list[str]:
    """The beginning of the engine's log, with times; nothing where it cannot be read: the status alone tells less."""
    metadata = pod["metadata"]
    try:
        text = client.log_begin(metadata["namespace"], metadata["name"], container=SERVING, limit_bytes=LOG_BYTES)
    except AiHowError:
        return []
    return text.splitlines()
