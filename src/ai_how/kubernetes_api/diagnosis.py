"""Looks for the reason why an object does not work: its pods and what was noted about them. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.errors import AiHowError
from ai_how.kubernetes_api.causes import cause_in_events, cause_of_pod
from ai_how.kubernetes_api.client import Client, event_time
from ai_how.kubernetes_api.objects import ApiObject, ref_of

_MOST_CAUSES = 3


def diagnose(client: Client, thing: ApiObject) -> str:
    """Why the object does not work, one line a cause; empty where nothing is seen.

    Never raises for what cannot be read: a diagnosis stands beside an error and must not hide it.
    """
    ref = ref_of(thing)
    try:
        events = sorted(client.list_objects("v1", "Event", ref.namespace or "default").items, key=event_time)
        pods = _pods(client, thing)
    except AiHowError as error:
        return f"why is not known: {error.brief}"
    lines = _lines_of_pods(pods, events)
    # what a Deployment makes has its name at the beginning
    own = [e for e in events if _about(e, ref.kind, ref.name) or _about(e, "ReplicaSet", f"{ref.name}-", exact=False)]
    noted = cause_in_events(own)
    if noted and not lines:
        lines.append(noted)
    return "\n".join(dict.fromkeys(lines[:_MOST_CAUSES]))


def diagnose_namespace(client: Client, namespace: str) -> str:
    """Why pods of a namespace do not work, as ``diagnose``."""
    try:
        events = sorted(client.list_objects("v1", "Event", namespace).items, key=event_time)
        pods = client.list_objects("v1", "Pod", namespace).items
    except AiHowError as error:
        return f"why is not known: {error.brief}"
    return "\n".join(_lines_of_pods(pods, events)[:_MOST_CAUSES])


def _lines_of_pods(pods: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each pod that does not work, with its cause."""
    lines = []
    for pod in pods:
        name = pod["metadata"]["name"]
        cause = cause_of_pod(pod, [event for event in events if _about(event, "Pod", name)])
        if cause:
            lines.append(f"pod {name} {cause}")
    return lines


def _pods(client: Client, thing: ApiObject) -> list[dict[str, Any]]:
    ref = ref_of(thing)
    if ref.kind == "Pod":
        return [dict(thing)]
    selector = (thing.get("spec") or {}).get("selector")
    labels = selector.get("matchLabels") if isinstance(selector, Mapping) else None
    if not isinstance(labels, Mapping) or not labels:
        return []
    text = ",".join(f"{key}={value}" for key, value in labels.items())
    return client.list_objects("v1", "Pod", ref.namespace, labels=text).items


def _about(event: Mapping[str, Any], kind: str, name: str, *, exact: bool = True) -> bool:
    about = event.get("involvedObject") or {}
    seen = str(about.get("name") or "")
    return about.get("kind") == kind and (seen == name if exact else seen.startswith(name))
