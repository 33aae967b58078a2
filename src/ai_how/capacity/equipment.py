"""What is bought: hosts as they are, or the tiers of the resource requirements, whose counts are ranges. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ai_how.accelerators.catalogue import find
from ai_how.capacity.tiers import Span, Tier, TierName, tier_of
from ai_how.capacity.types import GpuCapacity, HostCapacity
from ai_how.errors import SpecError


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
    observed = [host.observed for host in hosts]
    both = "some observed, others declared in the site file"
    source = "observed" if all(observed) else both if any(observed) else "declared in the site file"
    return Equipment(name=name, least=tuple(hosts), most=tuple(hosts), source=source)


def of_tier(name: TierName) -> Equipment:
    """One host of the document's tier.

    Two threads a core are assumed, as the processors that the document prefers have them.
    """
    tier = tier_of(name)
    return Equipment(
        name=f"the {name} tier",
        least=(_host(tier, "least"),),
        most=(_host(tier, "most"),),
        source=f"resource requirements, {tier.section}",
        tier=name,
    )


def _host(tier: Tier, end: Literal["least", "most"]) -> HostCapacity:
    known = find(tier.gpu)
    gpu = GpuCapacity(
        name=known.name,
        memory_gib=known.memory_gib,
        compute_capability=known.compute_capability,
        power_limit_w=known.power_limit_w,
    )

    def count(span: Span) -> int:
        return span.least if end == "least" else span.most

    return HostCapacity(
        name=tier.name,
        cores=count(tier.cores),
        threads=2 * count(tier.cores),
        memory_gib=count(tier.memory_gib),
        disk_gib=count(tier.disk_gib),
        gpus=(gpu,) * count(tier.gpus),
        network_mbps=tier.network_mbps,
        observed=False,
    )
