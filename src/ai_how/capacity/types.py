"""What capacity planning counts: hosts with what they have, nodes with what they need. Pure data.

``host`` makes a ``HostCapacity`` from what it observes, ``site`` from what the site file declares for a machine that is
not at hand. GB in the requirements document are read as GiB for memory and disks: the stricter reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ai_how.site.roles import Role

Schedule = Literal["side-by-side", "in-turns"]


@dataclass(frozen=True, kw_only=True)
class GpuCapacity:
    """One GPU of a host. ``blocked`` says why it cannot be passed through; empty: it can, as far as is known."""

    name: str
    memory_gib: float
    compute_capability: tuple[int, int] | None = None
    pci_address: str = ""
    numa_node: int | None = None
    power_limit_w: int | None = None
    blocked: str = ""


@dataclass(frozen=True, kw_only=True)
class NumaCapacity:
    """One NUMA node of a host: its id, its logical processors and memory."""

    id: int
    threads: int
    memory_gib: float


@dataclass(frozen=True, kw_only=True)
class HostCapacity:
    """One host. ``cores`` are physical, ``threads`` logical; ``disk_gib`` is free where images and volumes will lie.

    ``numa`` and ``gpus`` are ordered by id and PCI address. ``observed`` is False where the site file declares it.
    """

    name: str
    cores: int
    threads: int
    memory_gib: float
    disk_gib: float
    gpus: tuple[GpuCapacity, ...] = ()
    numa: tuple[NumaCapacity, ...] = ()
    hugepages_gib: float = 0
    network_mbps: int | None = None
    observed: bool = True


@dataclass(frozen=True, kw_only=True)
class HostReserve:
    """What a host keeps for itself: physical cores, memory, and a part of its disk."""

    cores: int = 0
    memory_gib: float = 0
    disk_percent: float = 0


@dataclass(frozen=True, kw_only=True)
class HostOffer:
    """A host, and what it keeps for itself."""

    capacity: HostCapacity
    reserve: HostReserve = field(default_factory=HostReserve)

    @property
    def name(self) -> str:
        return self.capacity.name


@dataclass(frozen=True, kw_only=True)
class NodeNeed:
    """One node of a cluster with what it needs. ``gpu_model`` is a card's name, ``host`` a host's; empty: any.

    ``gpu_addresses`` are the PCI addresses of the only cards that will do, as many as ``gpus``; empty: any.
    """

    name: str
    cluster: str
    role: Role
    vcpus: int
    memory_gib: int
    disk_gib: int
    gpus: int = 0
    gpu_model: str = ""
    gpu_memory_gib: float = 0
    gpu_addresses: tuple[str, ...] = ()
    host: str = ""


@dataclass(frozen=True, kw_only=True)
class PlacementRules:
    """The rules' settings. ``vcpu_overcommit`` has every role.

    ``whole_hosts``: a node is a server, not a virtual machine in it: one node of a running cluster a host, no overhead.
    """

    vcpu_overcommit: Mapping[Role, float]
    numa_locality: Literal["prefer", "require", "ignore"] = "prefer"
    hugepages: Literal["none", "2mib", "1gib"] = "none"
    thin_disk_overcommit: float = 1
    whole_hosts: bool = False


@dataclass(frozen=True, kw_only=True)
class SizingRequest:
    """Everything that sizing depends on. Nodes and hosts may come in any order."""

    needs: tuple[NodeNeed, ...]
    hosts: tuple[HostOffer, ...]
    rules: PlacementRules
    schedule: Schedule = "side-by-side"

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(sorted({need.cluster for need in self.needs}))


@dataclass(frozen=True, kw_only=True)
class PlacedNode:
    """Where a node goes: its host, its GPUs (indices into the host's), and the NUMA node it is bound to, if any."""

    need: NodeNeed
    host: str
    gpus: tuple[int, ...] = ()
    numa_node: int | None = None
