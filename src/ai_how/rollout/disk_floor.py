"""Whether pods that are well have too little disk to work: no condition of theirs says so."""

from __future__ import annotations

from typing import Protocol

from ai_how.errors import AiHowError
from ai_how.kubernetes_api.client import Listing
from ai_how.stack.part import Part


class Api(Protocol):
    """What is asked here; ``kubernetes_api.client.Client`` does it."""

    def list_objects(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "") -> Listing: ...

    def node_disk(self, node: str) -> tuple[int, int]: ...


def below_floor(api: Api, part: Part) -> str:
    """What the part does not do for want of disk, and where; empty where it has enough or nobody says how much.

    Raises:
        AiHowError: its pods cannot be listed.
    """
    floor = part.disk_floor
    if floor is None:
        return ""
    pods = api.list_objects("v1", "Pod", part.component.namespace, labels=floor.pods).items
    for node in sorted({str(pod["spec"].get("nodeName") or "") for pod in pods} - {""}):
        try:
            free, size = api.node_disk(node)
        except (AiHowError, KeyError):
            # a kubelet that is silent is told of elsewhere, and one that knows no disk has nothing to tell
            continue
        if free * 100 < size * floor.free_percent:
            found = f"{100 * free // size} % of the disk of {node} is free, it wants {floor.free_percent} %"
            return f"{floor.without}: {found}"
    return ""
