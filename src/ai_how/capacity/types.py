"""What capacity planning counts: hosts with what they have, nodes with what they need. Pure data.

``host`` makes a ``HostCapacity`` from what it observes, ``site`` from what the site file declares for a machine that is
not at hand. GB in the requirements document are read as GiB for memory and disks: the stricter reading.
"""

from __future__ import annotations

from dataclasses import dataclass


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
