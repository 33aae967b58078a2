"""What a node takes and what a host has to give, in whole numbers: so that sums are exact in any order. Pure.

Threads are counted in thousandths, memory and disk in MiB. Needs are rounded up, rooms down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from ai_how.accelerators.catalogue import by_name
from ai_how.capacity.types import GpuCapacity, HostOffer, NodeNeed, PlacementRules

# What QEMU's process holds beside the guest's memory, MiB: a fixed part, a part for each virtual processor and for one
# I/O thread, and page tables of a 512th of the guest's memory. Without graphics.
# Source: KubeVirt, GetMemoryOverhead (its own daemons left out: libvirt's run once a host).
_QEMU_MIB, _QEMU_PER_VCPU_MIB, _PAGE_TABLE_DIVISOR = 30, 8, 512


class Rule(StrEnum):
    """The rules by name."""

    HOST_RESERVE = "host-reserve"
    VCPU_OVERCOMMIT = "vcpu-overcommit"
    MEMORY = "memory"
    DISK = "disk"
    GPUS = "gpus"
    NUMA_LOCALITY = "numa-locality"
    HUGEPAGES = "hugepages"
    SPREAD = "control-plane-spread"
    ONE_NODE = "one-node-a-host"


RULES: dict[Rule, str] = {
    Rule.HOST_RESERVE: "each host keeps cores, memory and a part of its disk for itself",
    Rule.VCPU_OVERCOMMIT: "a vCPU takes one hardware thread, divided by its role's factor",
    Rule.MEMORY: "memory is never shared; QEMU's own need comes on top of each node's",
    Rule.DISK: "the disks together stay within the usable disk, times the factor for thin disks",
    Rule.GPUS: "a GPU belongs to one running node, and is of the model and memory it asks for",
    Rule.NUMA_LOCALITY: "a node with GPUs lies in the NUMA node of its GPUs",
    Rule.HUGEPAGES: "with huge pages, the host sets aside as many as its nodes' memory",
    Rule.SPREAD: "control plane nodes of a cluster lie on different hosts where there are several",
    Rule.ONE_NODE: "a server is one node of a running cluster",
}


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one node takes of its host."""

    threads_m: int
    memory_mib: int
    disk_mib: int
    gpus: int


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One NUMA node's share of a host; ``gpus`` are indices into the host's."""

    id: int
    threads_m: int
    memory_mib: int
    gpus: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a host gives to nodes. ``gpus`` has all of the host's, blocked ones too; ``nodes`` is how many may run."""

    name: str
    threads_m: int
    memory_mib: int
    disk_mib: int
    gpus: tuple[GpuCapacity, ...]
    cells: tuple[Cell, ...]
    nodes: int | None = None

    @property
    def free_gpus(self) -> tuple[int, ...]:
        """Indices of the GPUs that can be passed through."""
        return tuple(index for index, gpu in enumerate(self.gpus) if not gpu.blocked)


def overhead_mib(vcpus: int, memory_gib: float) -> int:
    """What QEMU needs beside a guest's memory, MiB."""
    return _QEMU_MIB + _QEMU_PER_VCPU_MIB * (vcpus + 1) + math.ceil(memory_gib * 1024 / _PAGE_TABLE_DIVISOR)


def demand_of(need: NodeNeed, rules: PlacementRules) -> Demand:
    """What a node takes of its host under the rules."""
    overhead = 0 if rules.whole_hosts else overhead_mib(need.vcpus, need.memory_gib)
    factor = 1 if rules.whole_hosts else rules.vcpu_overcommit[need.role]
    return Demand(
        threads_m=math.ceil(need.vcpus * 1000 / factor - 1e-6),
        memory_mib=need.memory_gib * 1024 + overhead,
        disk_mib=math.ceil(need.disk_gib * 1024 / rules.thin_disk_overcommit - 1e-6),
        gpus=need.gpus,
    )


def room_of(offer: HostOffer, rules: PlacementRules) -> Room:
    """What a host gives to nodes, its reserve taken off.

    Huge pages that are set aside already are no use to nodes without them, so their memory counts only with them.
    """
    host, reserve = offer.capacity, offer.reserve
    idle_gib = host.hugepages_gib if rules.hugepages == "none" and not rules.whole_hosts else 0
    memory_gib = max(0.0, host.memory_gib - idle_gib - reserve.memory_gib)
    cores = max(0, host.cores - reserve.cores)
    return Room(
        name=host.name,
        threads_m=cores * host.threads * 1000 // host.cores,
        memory_mib=math.floor(memory_gib * 1024),
        disk_mib=math.floor(host.disk_gib * 1024 * (100 - reserve.disk_percent) / 100 + 1e-6),
        gpus=host.gpus,
        cells=_cells(offer),
        nodes=1 if rules.whole_hosts else None,
    )


def _cells(offer: HostOffer) -> tuple[Cell, ...]:
    """The host's NUMA nodes that have processors; one cell where it has none or they are not known.

    A GPU whose NUMA node is unknown belongs to no cell of several: being local to it cannot be promised.
    """
    host = offer.capacity
    nodes = [node for node in host.numa if node.threads > 0]
    if len(nodes) < 2:
        everything = frozenset(range(len(host.gpus)))
        return (
            Cell(id=0, threads_m=host.threads * 1000, memory_mib=math.floor(host.memory_gib * 1024), gpus=everything),
        )
    return tuple(
        Cell(
            id=node.id,
            threads_m=node.threads * 1000,
            memory_mib=math.floor(node.memory_gib * 1024),
            gpus=frozenset(index for index, gpu in enumerate(host.gpus) if gpu.numa_node == node.id),
        )
        for node in nodes
    )


def gpu_serves(gpu: GpuCapacity, need: NodeNeed) -> bool:
    """Whether a GPU can be passed through and is of the address, memory and model that a node asks for."""
    return (
        not gpu.blocked
        and (not need.gpu_addresses or gpu.pci_address in need.gpu_addresses)
        and gpu.memory_gib >= need.gpu_memory_gib
        and (not need.gpu_model or same_card(gpu.name, need.gpu_model))
    )


@cache
def same_card(one: str, other: str) -> bool:
    """Whether two names mean one kind of card."""
    known, wanted = by_name(one), by_name(other)
    return known == wanted if known and wanted else one.casefold() == other.casefold()
