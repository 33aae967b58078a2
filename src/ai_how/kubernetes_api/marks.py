"""Our mark on objects: who made them, for which site, as part of what. Pure.

Three labels say so, and the field manager's entry proves it: controllers copy labels onto what they make (a Service's
onto its EndpointSlices), but never the entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ai_how.kubernetes_api.objects import ApiObject, has_owner, labels_of

FIELD_MANAGER = "ai-how"
MANAGED_BY = "app.kubernetes.io/managed-by"
SITE = "ai-how/site"
COMPONENT = "ai-how/component"
DATA = "ai-how/data"
"""A label of ours: what it is on holds data, and goes only when data may go."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Whose an object is; without a component, any of the site's."""

    site: str
    component: str = ""

    @property
    def labels(self) -> dict[str, str]:
        own = {MANAGED_BY: FIELD_MANAGER, SITE: self.site}
        return {**own, COMPONENT: self.component} if self.component else own

    @property
    def selector(self) -> str:
        """The labels as a selector of the API."""
        return ",".join(f"{key}={value}" for key, value in self.labels.items())

    def is_on(self, thing: ApiObject) -> bool:
        """Whether we made this object, for this site and component."""
        found = labels_of(thing)
        return (
            all(found.get(key) == value for key, value in self.labels.items())
            and not has_owner(thing)
            and is_managed(thing)
        )


def is_managed(thing: ApiObject) -> bool:
    """Whether our field manager has written this object."""
    entries = thing.get("metadata", {}).get("managedFields") or []
    return any(entry.get("manager") == FIELD_MANAGER for entry in entries)


def marked(thing: ApiObject, mark: Mark) -> dict[str, Any]:
    """The object with our labels beside its own."""
    metadata = dict(thing["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), **mark.labels}
    return {**thing, "metadata": metadata}


def holds_data(thing: ApiObject) -> bool:
    """Whether data would be lost with it: a volume, its claim, or what is labelled so."""
    return thing.get("kind") in ("PersistentVolume", "PersistentVolumeClaim") or DATA in labels_of(thing)
