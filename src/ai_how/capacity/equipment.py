"""What is bought: hosts as they are, or the tiers of the resource requirements, whose counts are ranges. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ai_how.accelerators.catalogue import find
from ai_how.capacity.types import GpuCapacity, HostCapacity
from ai_how.errors import SpecError

_SOURCE = "resource requirements, Hardware Requirements"


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """The least and the most that may be meant; the same where hosts are known.

    ``tier`` is the document's tier, or None; ``source`` says where the figures stand.
    """

    name: str
    least: tuple[HostCapacity, ...]
    most: tuple[HostCapacity, ...]
    source: str
    tier: str | None = None


def of_hosts(name: str, hosts: Sequence[HostCapacity]) -> Equipment:
    """Equipment that is known.

    Raises:
        SpecError: there is no host.
    """
    if not hosts:
        raise SpecError(f"{name} has no host", next_step="without a site: ai-how cost --tier recommended")
    kind = "observed" if all(host.observed for host in hosts) else "declared in the site file"
    return Equipment(name=name, least=tuple(hosts), most=tuple(hosts), source=kind)


# name -> cores, memory, disk and GPUs of one host, least and most; a figure with "+" in the document has no other end,
# but the price table of the recommended tier has: 24-32 cores, 128-256 GB, 1.5-2 TB.
_TIERS = {
    "minimum": ((16, 16), (64, 64), (800, 800), (2, 2), "RTX A6000"),
    "recommended": ((24, 32), (128, 256), (1500, 2000), (2, 4), "RTX A6000"),
    "production": ((32, 32), (256, 256), (2000, 2000), (4, 8), "A100"),
}
TIERS = tuple(_TIERS)


def of_tier(name: str) -> Equipment:
    """One host of the document's tier: ``minimum``, ``recommended`` or ``production``.

    The minimum tier names no card; the one of its primary GPU worker is taken. Two threads a core are assumed, as the
    processors that the document prefers have them.
    """
    cores, memory, disk, gpus, card = _TIERS[name]
    known = find(card)
    ends = []
    for end in (0, 1):
        gpu = GpuCapacity(
            name=known.name,
            memory_gib=known.memory_gib,
            compute_capability=known.compute_capability,
            power_limit_w=known.power_limit_w,
        )
        ends.append(
            HostCapacity(
                name=name,
                cores=cores[end],
                threads=2 * cores[end],
                memory_gib=memory[end],
                disk_gib=disk[end],
                gpus=(gpu,) * gpus[end],
                observed=False,
            )
        )
    return Equipment(name=f"the {name} tier", least=(ends[0],), most=(ends[1],), source=f"{_SOURCE}: {name}", tier=name)
