"""The end of what the pods of a part have said."""

from __future__ import annotations

from collections.abc import Iterator

from ai_how.errors import AiHowError, NotFoundError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import ApiObject, Ref
from ai_how.rollout.wish import Wish

_MOST_PODS = 8


def part_log(client: Client, wish: Wish, lines: int) -> list[str]:
    """The last lines of every container of a part's pods, each under a line that names it.

    Raises:
        NotFoundError: it has no pods.
    """
    found: list[str] = []
    for pod in list(_pods(client, wish))[:_MOST_PODS]:
        name, space = pod["metadata"]["name"], pod["metadata"].get("namespace", "")
        for container in pod.get("spec", {}).get("containers") or []:
            found.append(f"== {space}/{name} {container['name']}")
            try:
                found += client.log(space, name, container=container["name"], lines=lines).splitlines()
            except AiHowError as error:
                found.append(f"({error.brief})")
    if not found:
        raise NotFoundError(f"{wish.name} has no pods on its cluster", next_step="ai-how status")
    return found


def _pods(client: Client, wish: Wish) -> Iterator[ApiObject]:
    """Those of what is awaited; of a custom resource, those whose names begin with its own."""
    seen = set()
    for each in wish.part.component.awaited:
        if not each.namespace:
            continue
        ref = Ref(api_version=each.api_version, kind=each.kind, namespace=each.namespace, name=each.name)
        thing = client.get(ref)
        selector = ((thing or {}).get("spec") or {}).get("selector") or {}
        labels = selector.get("matchLabels") if isinstance(selector, dict) else None
        text = ",".join(f"{key}={value}" for key, value in labels.items()) if labels else ""
        for pod in client.list_objects("v1", "Pod", each.namespace, labels=text).items:
            name = pod["metadata"]["name"]
            if name not in seen and (text or each.name in name):
                seen.add(name)
                yield pod
