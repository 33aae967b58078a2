"""Reading objects as the API has them: names, labels, owners. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ai_how.errors import SpecError

ApiObject = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, order=True)
class Ref:
    """Names an object; ``namespace`` is empty for one that lies in none."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]


def ref_of(thing: ApiObject) -> Ref:
    """What names this object.

    Raises:
        SpecError: it has no apiVersion, kind or name.
    """
    metadata = thing.get("metadata")
    if not isinstance(metadata, Mapping):
        metadata = {}
    values = {"apiVersion": thing.get("apiVersion"), "kind": thing.get("kind"), "metadata.name": metadata.get("name")}
    missing = [key for key, value in values.items() if not isinstance(value, str) or not value]
    if missing:
        raise SpecError("this is no Kubernetes object", evidence=f"it has no {', '.join(missing)}")
    return Ref(
        api_version=str(thing["apiVersion"]),
        kind=str(thing["kind"]),
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata["name"]),
    )


def labels_of(thing: ApiObject) -> Mapping[str, str]:
    return thing.get("metadata", {}).get("labels") or {}


def has_owner(thing: ApiObject) -> bool:
    """Whether another object made it and takes it along when it goes."""
    return bool(thing.get("metadata", {}).get("ownerReferences"))
