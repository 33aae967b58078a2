"""The storage table of the resource requirements as data, and what it says against itself. Pure.

GB are read as GiB. Rates and sizes are the document's own; what it leaves open (how many models come in a month, how
the database and the image cache grow) is a parameter or stays unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ai_how.capacity.disk_budget import DAYS_IN_SIX_MONTHS, Volume, growth_advice, volume_full
from ai_how.capacity.ranges import Range, between, exactly, total
from ai_how.capacity.tiers import stated_hosts, tier_of
from ai_how.errors import SpecError
from ai_how.site.roles import DEFAULTS, KIND_ROLES

SOURCE = "resource requirements, Storage Requirements"
NODE_DISKS_GIB = tuple(DEFAULTS[role].disk_gib for role in KIND_ROLES["cloud"] for _ in range(DEFAULTS[role].count))
"""Root disks of the four nodes: Cloud Cluster VM Allocation."""
MODEL_GIB = between(5, 50)
METRICS_GIB_PER_DAY = between(1, 2)
LOGS_GIB_PER_DAY = 0.5
RETENTION_DAYS = 30
ADVISED_FACTOR = 2
DAYS_IN_MONTH = 365 / 12


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """What the document says, what its own figures give, and the way out."""

    subject: str
    says: str
    computed: str
    way_out: str


def storage_volumes(
    *,
    models_per_month: float | None = None,
    retention_days: float = RETENTION_DAYS,
    rotate_logs: bool = True,
    root_disks_gib: float = float(sum(NODE_DISKS_GIB)),
) -> tuple[Volume, ...]:
    """The document's storage table.

    Args:
        models_per_month: How many models are kept a month; None: not stated, so their growth is unknown.
        retention_days: How long metrics are kept.
        rotate_logs: Whether logs are rotated so that they never take more than their volume.
        root_disks_gib: Sum of the nodes' root disks; the default is the node tables'.

    Raises:
        SpecError: a rate or a time that cannot be.
    """
    _check(models_per_month, retention_days)
    models = None if models_per_month is None else MODEL_GIB * (models_per_month / DAYS_IN_MONTH)
    logs_gib = exactly(20)
    rows = (
        ("base image", between(5, 10), exactly(0), None),
        ("root disks", exactly(root_disks_gib), None, None),
        ("models", exactly(100), models, None),
        ("database", exactly(20), None, None),
        ("metrics", exactly(50), METRICS_GIB_PER_DAY, METRICS_GIB_PER_DAY * retention_days),
        ("container images", exactly(50), None, None),
        ("logs", logs_gib, exactly(LOGS_GIB_PER_DAY), logs_gib if rotate_logs else None),
    )
    return tuple(
        Volume(
            component=component,
            size_gib=size,
            # an image is written once, whole
            used_gib=size if component == "base image" else exactly(0),
            growth_gib_per_day=growth,
            bounded_at_gib=bound,
            source=SOURCE,
        )
        for component, size, growth, bound in rows
    )


def _check(models_per_month: float | None, retention_days: float) -> None:
    if models_per_month is not None and not 0 <= models_per_month <= 100_000:
        raise SpecError(f"{models_per_month:g} models a month cannot be", next_step="give 0 or more")
    if not 0 < retention_days <= 36_500:
        raise SpecError(f"metrics cannot be kept for {retention_days:g} days", next_step="give 1 day or more")


def storage_contradictions() -> tuple[Contradiction, ...]:
    """Where the document's storage figures do not hold, each computed from its own rates."""
    kept, unrotated = storage_volumes(), storage_volumes(rotate_logs=False)
    return (
        _root_disks(),
        _sum_of_table(kept),
        _metrics(_named(kept, "metrics")),
        _logs(_named(unrotated, "logs")),
        _models(_named(kept, "models").size_gib),
    )


def _named(volumes: Sequence[Volume], component: str) -> Volume:
    return next(volume for volume in volumes if volume.component == component)


def _root_disks() -> Contradiction:
    return Contradiction(
        subject="root disks of the nodes",
        says=f"{stated_hosts().root_disks_gib} GB in the storage table",
        computed=f"{' + '.join(map(str, NODE_DISKS_GIB))} = {sum(NODE_DISKS_GIB)} GB by the node tables",
        way_out=f"plan {sum(NODE_DISKS_GIB)} GiB, or use thin disks and watch them",
    )


def _sum_of_table(volumes: Sequence[Volume]) -> Contradiction:
    promised = total(volume.size_gib for volume in volumes)
    stated = stated_hosts()
    smaller = sum(NODE_DISKS_GIB) - stated.root_disks_gib
    host_gib = stated.sums[frozenset({"cloud"})].host_disk_gib
    return Contradiction(
        subject="all storage on the smallest host",
        says=f"{tier_of('minimum').disk_free_gb} GB, elsewhere {host_gib / 1000:g} TB",
        computed=f"{promised.low - smaller:g}-{promised.high - smaller:g} GB with {stated.root_disks_gib} GB of "
        f"root disks, {promised.low:g}-{promised.high:g} GB with {sum(NODE_DISKS_GIB)} GB",
        way_out=f"a disk of {promised.high:g} GiB, or thin disks",
    )


def _metrics(volume: Volume) -> Contradiction:
    wanted = METRICS_GIB_PER_DAY * RETENTION_DAYS
    return Contradiction(
        subject="metrics",
        says=f"{volume.size_gib.high:g} GB for {RETENTION_DAYS} days",
        computed=f"{wanted.low:g}-{wanted.high:g} GB at {METRICS_GIB_PER_DAY.low:g}-{METRICS_GIB_PER_DAY.high:g} GB "
        f"a day, full on day {volume_full(volume).earliest:g} at the higher rate",
        way_out=f"{wanted.high:g} GiB, or keep {volume.size_gib.low / METRICS_GIB_PER_DAY.high:g} days",
    )


def _logs(volume: Volume) -> Contradiction:
    advice = growth_advice(volume, ADVISED_FACTOR)
    needed = advice.factor_needed.high if advice.factor_needed else 0
    return Contradiction(
        subject="logs",
        says=f"{volume.size_gib.high:g} GB, and {ADVISED_FACTOR} times that for six months",
        computed=f"{LOGS_GIB_PER_DAY * DAYS_IN_SIX_MONTHS:.0f} GB in six months at {LOGS_GIB_PER_DAY:g} GB a day, "
        f"{needed:.1f} times; full on day {volume_full(volume).earliest:g}",
        way_out="rotate logs so that they stay within their volume",
    )


def _models(size_gib: Range) -> Contradiction:
    roomy = size_gib.low * ADVISED_FACTOR
    return Contradiction(
        subject="models",
        says=f"{size_gib.low:g}+ GB, and {ADVISED_FACTOR} times that for six months",
        computed=f"holds {roomy / MODEL_GIB.high:g} models of {MODEL_GIB.high:g} GB or {roomy / MODEL_GIB.low:g} of "
        f"{MODEL_GIB.low:g} GB; how many come in six months is not stated",
        way_out="state how many models you keep a month",
    )
