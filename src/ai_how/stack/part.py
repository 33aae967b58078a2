"""What is known of a part of the stack beside what is applied: what it needs, where it is reached, how it is kept.

Owns these dataclasses and nothing else. ``Component`` is what goes to the cluster; the rest is for people, for the
check that everything fits, and for backups, which are data here: the commands that carry them out are elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ai_how.stack.objects import Component
from ai_how.stack.requests import Request

Place = Literal["workers", "gpu-nodes", "every-node"]
"""workers: somewhere among the nodes without a taint; gpu-nodes, every-node: one on each of them."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Pods of one kind, ours or a chart's. ``request`` is one pod's, all its containers together."""

    name: str
    request: Request
    place: Place = "workers"
    replicas: int = 1


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Storage that is claimed. ``claims`` is how many volumes of that size there are."""

    name: str
    namespace: str
    size_gib: int
    claims: int = 1


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where people find a part. ``login`` names the Secret with user and password as ``namespace/name``."""

    title: str
    url: str
    login: str = ""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What to keep and how, so that it can be put back into an empty cluster.

    ``postgresql``: a dump of ``database`` of the server at ``source``, as the user of Secret ``credentials``.
    ``objects``: every object of the buckets in ``items`` at the S3 address ``source``.
    ``secrets``: the Secrets named in ``items``.
    """

    kind: Literal["postgresql", "objects", "secrets"]
    namespace: str
    source: str = ""
    credentials: str = ""
    items: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Objects that their authors publish as one file. ``sha256`` is empty where nobody has read it."""

    name: str
    url: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class DiskFloor:
    """Pods that are well and yet do not work while less than ``free_percent`` of their node's disk is free.

    ``pods`` is their label selector; ``without`` says what they do not do then.
    """

    pods: str
    free_percent: int
    without: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the stack."""

    title: str
    version: str
    component: Component
    workloads: tuple[Workload, ...] = ()
    volumes: tuple[Volume, ...] = ()
    addresses: tuple[Address, ...] = ()
    backups: tuple[Backup, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    images: tuple[str, ...] = ()
    """Images that its own objects and endpoints name; those of its charts are only known with the charts at hand."""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that nodes with GPUs get when it is applied: added to theirs, the nodes are not ours."""
    disk_floor: DiskFloor | None = None
    notes: tuple[str, ...] = ()
    version_note: str = ""
    """What to know before another version takes the place of one that runs."""

    @property
    def name(self) -> str:
        """Its component's name."""
        return self.component.name
