"""The disk budget of planned clusters: root disks as they are planned, the storage table for the rest. Pure.

Each cloud cluster has the table's volumes, those of its stack as large as the site file makes them. Where a volume will
lie is not planned, so the hosts' disks count together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ai_how.capacity.disk_budget import DiskBudget, GrowthAdvice, Volume, disk_budget, growth_advice
from ai_how.capacity.ranges import exactly, total
from ai_how.capacity.storage_table import ADVISED_FACTOR, Contradiction, storage_contradictions, storage_volumes
from ai_how.capacity.types import HostOffer, NodeNeed
from ai_how.site.clusters import Storage
from ai_how.site.stack import Stack

_GROWING = ("models", "metrics", "logs")
"""The components that the requirements give a growth for, and so the ones that their advice can be checked against."""
_ONCE = ("base image", "root disks")


@dataclass(frozen=True, kw_only=True)
class StoragePlan:
    """The budget, the advice checked for each growing component, and what the document says against itself.

    ``hosts`` is how many disks the budget's one stands for.
    """

    budget: DiskBudget
    hosts: int
    advice: tuple[GrowthAdvice, ...]
    contradictions: tuple[Contradiction, ...]


def plan_storage(
    needs: Sequence[NodeNeed],
    hosts: Sequence[HostOffer],
    storage: Storage,
    *,
    clouds: int,
    stacks: Sequence[Stack] = (),
    with_document: bool,
) -> StoragePlan | None:
    """The budget of nodes on hosts; None where there is no cloud cluster, whose table it is.

    Args:
        clouds: How many cloud clusters there are.
        stacks: Those of them that have one; the others' volumes are the table's.
        with_document: Whether to add the document's contradictions.
    """
    if not clouds:
        return None
    table = storage_volumes(
        models_per_month=storage.models_per_month,
        retention_days=storage.metrics_retention_days,
        root_disks_gib=float(sum(need.disk_gib for need in needs)),
    )
    bare = clouds - len(stacks)
    sized = (
        each if each.component in _ONCE else _of_clusters(each, bare, [_size_gib(each, stack) for stack in stacks])
        for each in table
    )
    volumes = tuple(each for each in sized if each is not None)
    return StoragePlan(
        budget=disk_budget(volumes, disk_gib=sum(offer.capacity.disk_gib for offer in hosts)),
        hosts=len(hosts),
        advice=tuple(growth_advice(each, ADVISED_FACTOR) for each in volumes if each.component in _GROWING),
        contradictions=storage_contradictions() if with_document else (),
    )


def _size_gib(volume: Volume, stack: Stack) -> float:
    """How large a cluster with that stack makes a volume of the table; 0 where the site file keeps it elsewhere."""
    store, database = stack.object_store, stack.database
    sizes = {
        "models": 0 if store.type == "external" else store.size_gib,
        "database": 0 if database.type == "external" else database.size_gib * database.instances,
        "metrics": stack.monitoring.size_gib,
    }
    return float(sizes.get(volume.component, volume.size_gib.high))


def _of_clusters(volume: Volume, bare: int, sizes_gib: Sequence[float]) -> Volume | None:
    """A volume of the table for all clusters together: those without a stack, and those that say its size."""
    kept = [size for size in sizes_gib if size]
    count = bare + len(kept)
    if not count:
        return None
    growth, bound = volume.growth_gib_per_day, volume.bounded_at_gib
    return replace(
        volume,
        size_gib=total([volume.size_gib * bare, exactly(sum(kept))]),
        growth_gib_per_day=growth and growth * count,
        bounded_at_gib=bound and bound * count,
    )


def storage_to_json(plan: StoragePlan) -> dict[str, Any]:
    """The plan as data; a day that never comes is null."""
    return {
        **asdict(plan.budget),
        "hosts": plan.hosts,
        "over_promised_gib": plan.budget.over_promised_gib,
        "growth_advice": [asdict(each) for each in plan.advice],
        "contradictions": [asdict(each) for each in plan.contradictions],
    }
