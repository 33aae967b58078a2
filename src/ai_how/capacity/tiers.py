"""The resource requirements' own hosts and sums, as ``data/tiers.toml`` has them. Pure.

The only place that reads them: the doctor asks a machine for them, sizing plans on them, cost prices them. Where these
read one figure differently, a property here says how and why.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from ai_how.capacity.types import GpuCapacity, HostCapacity, HostOffer, HostReserve

TierName = Literal["minimum", "recommended", "production"]
TIER_NAMES: tuple[TierName, ...] = get_args(TierName)


@dataclass(frozen=True, kw_only=True)
class Span:
    """The least and the most of a figure; the same where one is given."""

    least: int
    most: int


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A host as the requirements describe it. 0 and False: this tier asks for none.

    Args:
        section: Where the requirements say so.
        disk_free_gb: Free space, decimal gigabytes.
        disk_gb: Size of the disk.
        nvme: Whether the disk must be NVMe.
        bonding: Whether network cards must be bonded.
        smallest_gpu: The least card that the tier allows, with ``smallest_gpu_gib`` of memory: planning counts on it.
        gpu: The card that is bought for it: prices are asked for this one.
    """

    name: TierName
    section: str
    cores: Span
    memory_gib: Span
    disk_free_gb: int
    gpus: Span
    compute_capability: tuple[int, ...]
    network_mbps: int
    smallest_gpu: str
    smallest_gpu_gib: int
    gpu: str
    disk_gb: Span = Span(least=0, most=0)
    nvme: bool = False
    bonding: bool = False

    @property
    def disk_gib(self) -> Span:
        """The disk to plan with: its size, or what must be free where no size is given; GB read as GiB."""
        return self.disk_gb if self.disk_gb.least else Span(least=self.disk_free_gb, most=self.disk_free_gb)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A sum that the requirements state: for the nodes, and for the host that carries them."""

    section: str
    cores: int
    memory_gib: int
    disk_gib: int
    gpus: int
    host_cores: int
    host_memory_gib: int
    host_disk_gib: int


@dataclass(frozen=True, kw_only=True)
class StatedHosts:
    """All of it. ``sums`` go by the kinds of the clusters that run side by side."""

    tiers: Mapping[str, Tier]
    sums: Mapping[frozenset[str], Stated]
    root_disks_gib: int


@cache
def stated_hosts() -> StatedHosts:
    """What is stated; tiers from the least to the greatest."""
    data: dict[str, Any] = tomllib.loads(
        files("ai_how.capacity").joinpath("data", "tiers.toml").read_text(encoding="utf-8")
    )
    return StatedHosts(
        tiers={entry["name"]: _tier(entry) for entry in data["tier"]},
        sums={
            frozenset(entry["kinds"]): Stated(**{key: value for key, value in entry.items() if key != "kinds"})
            for entry in data["stated"]
        },
        root_disks_gib=data["storage"]["root_disks_gib"],
    )


def _tier(entry: Mapping[str, Any]) -> Tier:
    spans = {key: Span(least=value[0], most=value[-1]) for key, value in entry.items() if isinstance(value, list)}
    capability = tuple(int(part) for part in entry["compute_capability"].split("."))
    return Tier(**{**entry, **spans, "compute_capability": capability})


def tier_of(name: TierName) -> Tier:
    """The tier of a name."""
    return stated_hosts().tiers[name]


def tier_host(name: TierName, *, reserve: HostReserve, threads_per_core: int = 1) -> HostOffer:
    """A tier's least host.

    The document counts cores and says nothing of SMT: one thread a core is the stricter reading.
    Cost takes two, as the processors that the document prefers have them: there, more threads draw more power.
    """
    tier = tier_of(name)
    gpu = GpuCapacity(name=f"NVIDIA {tier.smallest_gpu}", memory_gib=tier.smallest_gpu_gib)
    capacity = HostCapacity(
        name=f"{name}-tier",
        cores=tier.cores.least,
        threads=tier.cores.least * threads_per_core,
        memory_gib=tier.memory_gib.least,
        disk_gib=tier.disk_gib.least,
        gpus=(gpu,) * tier.gpus.least,
        network_mbps=tier.network_mbps,
        observed=False,
    )
    return HostOffer(capacity=capacity, reserve=reserve)
