"""What the resource requirements ask of a host: the three tiers, software, ports. Pure.

The tiers are ``capacity``'s, the rest is read from ``requirements.toml``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ai_how.capacity.tiers import Tier, stated_hosts
from ai_how.host.facts.sockets import Protocol


@dataclass(frozen=True, kw_only=True)
class PortRange:
    """Ports that a service of the cluster listens on."""

    service: str
    first: int
    last: int
    protocol: Protocol

    @property
    def text(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, kw_only=True)
class LocalNeeds:
    """What the embedded provider needs, with a small model."""

    memory_gib: float
    disk_gb: float
    architectures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """All of it. ``software`` maps a program to its least version, ``systems`` a distribution to its least release."""

    tiers: tuple[Tier, ...]
    software: Mapping[str, tuple[int, ...]]
    systems: Mapping[str, tuple[int, ...]]
    subnet: str
    ports: tuple[PortRange, ...]
    local: LocalNeeds

    def tier(self, name: str) -> Tier:
        """The tier of a name."""
        return next(tier for tier in self.tiers if tier.name == name)


@cache
def load_requirements() -> Requirements:
    """The requirements, tiers from the least to the greatest."""
    data: dict[str, Any] = tomllib.loads(files("ai_how.host").joinpath("requirements.toml").read_text(encoding="utf-8"))
    software = data["software"]
    return Requirements(
        tiers=tuple(stated_hosts().tiers.values()),
        software={name: _parts(text) for name, text in software.items() if name not in ("section", "systems")},
        systems={name: _parts(text) for name, text in software["systems"].items()},
        subnet=data["network"]["subnet"],
        ports=tuple(PortRange(**{"last": entry["first"], **entry}) for entry in data["port"]),
        local=LocalNeeds(**{**data["local"], "architectures": tuple(data["local"]["architectures"])}),
    )


def _parts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
