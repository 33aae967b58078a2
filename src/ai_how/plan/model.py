"""The data of a plan: resources, what was observed of them, and the actions between the two. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verb(StrEnum):
    """What an action does to its resource."""

    CREATE = "create"
    UPDATE = "update"
    START = "start"
    REPAIR = "repair"
    DELETE = "delete"


class Condition(StrEnum):
    """How a resource was found. ``failing``: it exists and should work, but does not; ``starting``: not yet.

    ``unknown`` is of a component that cannot be asked about; no plan is made then.
    """

    ABSENT = "absent"
    STOPPED = "stopped"
    STARTING = "starting"
    FAILING = "failing"
    HEALTHY = "healthy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Something that the site wants. ``settings`` is plain JSON without secrets; ``needs`` names other resources."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return settings_digest(self.settings)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A resource as it is. ``settings`` are those that it was made with, None where it was never made.

    ``needs`` names what it stands on: when both go, it goes first.
    """

    name: str
    condition: Condition
    settings: Mapping[str, Any] | None = None
    detail: str = ""
    needs: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Equal when nothing that a plan depends on has changed."""
        made = "-" if self.settings is None else settings_digest(self.settings)
        return f"{self.condition} {made}"


@dataclass(frozen=True, kw_only=True)
class Action:
    """One step. ``after`` names the resources whose actions must be done first."""

    resource: str
    verb: Verb
    reason: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Ordered actions, the resources they make, and the fingerprints of the world that they were planned for.

    ``notes`` are what the provider has to say about its choices.
    """

    site: str
    actions: tuple[Action, ...]
    resources: tuple[Resource, ...]
    basis: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.actions

    def resource(self, name: str) -> Resource | None:
        """The wanted resource of that name; None where it is to be deleted."""
        return next((resource for resource in self.resources if resource.name == name), None)


def settings_digest(settings: Mapping[str, Any]) -> str:
    """A short, stable name for settings: the first 16 hex digits of the SHA-256 over their sorted JSON."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
