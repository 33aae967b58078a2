"""Why an object that was deleted is still there: finalizers, and for a namespace what is left inside. Pure."""

from __future__ import annotations

from ai_how.kubernetes_api.objects import ApiObject

_TELLING = (
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
)


def why_still_there(thing: ApiObject) -> list[str]:
    """One line for each thing that holds it, the most telling first; empty where nothing is seen."""
    if thing.get("kind") == "Namespace":
        return held_namespace(thing)
    finalizers = thing.get("metadata", {}).get("finalizers") or []
    return [f"held by the finalizer {name}" for name in finalizers]


def held_namespace(namespace: ApiObject) -> list[str]:
    """What a namespace that is going away says of what holds it."""
    found = {c.get("type"): c for c in (namespace.get("status") or {}).get("conditions") or []}
    lines = [
        str(found[name].get("message") or found[name].get("reason"))
        for name in _TELLING
        if name in found and found[name].get("status") == "True"
    ]
    finalizers = (namespace.get("metadata", {})).get("finalizers") or []
    lines += [f"held by the finalizer {name}" for name in finalizers]
    return lines
