"""The resource requirements' own hosts and sums, as data: what they say, to be compared with what is computed.

Source: the resource requirements of 2025-10-27; each entry names its section. GB are read as GiB, TB as 1000 GB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ai_how.capacity.types import GpuCapacity, HostCapacity, HostOffer, HostReserve

TierName = Literal["minimum", "recommended", "production"]


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A host as the requirements describe it. Where they give a range ("2-4x", "24+"), this is its lower end.

    ``gpu_memory_gib`` is the smallest card that is named for the tier; ``gpu_note`` says which, or that none is.
    """

    name: TierName
    cores: int
    memory_gib: int
    disk_gib: int
    gpus: int
    gpu: str
    gpu_memory_gib: int
    gpu_note: str
    network_mbps: int
    section: str


TIERS: Mapping[TierName, Tier] = {
    "minimum": Tier(
        name="minimum",
        cores=16,
        memory_gib=64,
        disk_gib=800,
        gpus=2,
        gpu="NVIDIA Tesla T4",
        gpu_memory_gib=16,
        gpu_note="no card is named; T4 is the smallest in the document",
        network_mbps=1000,
        section="Minimum Configuration",
    ),
    "recommended": Tier(
        name="recommended",
        cores=24,
        memory_gib=128,
        disk_gib=1500,
        gpus=2,
        gpu="NVIDIA Tesla T4",
        gpu_memory_gib=16,
        gpu_note="RTX A6000, Tesla T4, or better",
        network_mbps=10_000,
        section="Recommended Configuration",
    ),
    "production": Tier(
        name="production",
        cores=32,
        memory_gib=256,
        disk_gib=2000,
        gpus=4,
        gpu="NVIDIA A100",
        gpu_memory_gib=40,
        gpu_note="A100, H100; the smallest A100 has 40 GB",
        network_mbps=10_000,
        section="Production Configuration",
    ),
}


def tier_host(name: TierName, *, reserve: HostReserve, threads_per_core: int = 1) -> HostOffer:
    """A tier's host. The document counts cores and says nothing of SMT: one thread a core is the stricter reading."""
    tier = TIERS[name]
    gpu = GpuCapacity(name=tier.gpu, memory_gib=tier.gpu_memory_gib)
    capacity = HostCapacity(
        name=f"{name}-tier",
        cores=tier.cores,
        threads=tier.cores * threads_per_core,
        memory_gib=tier.memory_gib,
        disk_gib=tier.disk_gib,
        gpus=(gpu,) * tier.gpus,
        network_mbps=tier.network_mbps,
        observed=False,
    )
    return HostOffer(capacity=capacity, reserve=reserve)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A sum that the requirements state: for the nodes, and for the host that carries them."""

    cores: int
    memory_gib: int
    disk_gib: int
    gpus: int
    host_cores: int
    host_memory_gib: int
    host_disk_gib: int
    section: str


STATED: Mapping[frozenset[str], Stated] = {
    frozenset({"cloud"}): Stated(
        cores=36,
        memory_gib=92,
        disk_gib=900,
        gpus=2,
        host_cores=40,
        host_memory_gib=96,
        host_disk_gib=1000,
        section="Total Resource Summary",
    ),
    frozenset({"hpc"}): Stated(
        cores=44,
        memory_gib=112,
        disk_gib=1000,
        gpus=2,
        host_cores=44,
        host_memory_gib=112,
        host_disk_gib=1000,
        section="Concurrent HPC + Cloud Operation",
    ),
    frozenset({"cloud", "hpc"}): Stated(
        cores=80,
        memory_gib=204,
        disk_gib=1900,
        gpus=4,
        host_cores=80,
        host_memory_gib=208,
        host_disk_gib=2000,
        section="Concurrent HPC + Cloud Operation",
    ),
}
"""By the kinds of the clusters that run side by side. For GPUs the lower end. Of the nodes of both kinds the document
states only the two addends; the host of an HPC cluster alone is not stated: its figures are the cluster's."""

STATED_ROOT_DISKS_GIB = 600
"""Source: "Per-Component Storage Breakdown", VM Root Disks (4x)."""
