"""Shrinks clusters until they fit: the same nodes smaller, then fewer nodes. Pure and deterministic.

The order, from what hurts least to what hurts most:

1. Sizes go down by one percentage for all nodes, for vCPUs, memory and disk apart, to a floor.
2. Where the floors are still too large, there are fewer nodes: as many GPU workers as fit beside one node of every
   other role, then compute nodes, control plane nodes (an odd number), CPU workers.
3. Where one node of each role is too much, nodes with several GPUs get one.

Floors. vCPUs only make a node slower, so they go down to what the software must have: two for Kubernetes (kubeadm's
own minimum for a control plane), two and one for each GPU where vLLM runs (one process each for its API, its engine and
each GPU). Too little memory or disk makes a node fail, so these go down to half of what was asked for: a choice.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ai_how.capacity.sizing import Fit, Solution, solve
from ai_how.capacity.types import NodeNeed, SizingRequest
from ai_how.site.roles import Role

_KEYS = ("vcpus", "memory_gib", "disk_gib")
_ORDER: tuple[Role, ...] = ("gpu-worker", "hpc-compute", "control-plane", "cpu-worker", "hpc-controller")
_FEWEST_VCPUS = 2

Group = tuple[str, Role]
Percents = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What fitting changed: a key of a cluster's nodes of one role; ``count`` is their number.

    Where nodes of a role differ in size, ``before`` and ``after`` are the largest's.
    """

    cluster: str
    role: Role
    key: str
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The largest that fits, or None in ``request``: then ``solution`` says what stops even the smallest."""

    request: SizingRequest | None
    solution: Solution
    changes: tuple[Change, ...] = ()


def fit(request: SizingRequest) -> Fitted:
    """The largest clusters that fit, by the order above; the request itself where it fits."""
    solution = solve(request)
    if solution.fit is Fit.FITS:
        return Fitted(request=request, solution=solution)
    kept = _counts(request)
    if kept is None:
        smallest = solve(_smallest(_one_gpu_each(request)))
        return Fitted(request=None, solution=smallest)
    percents: dict[str, int] = dict.fromkeys(_KEYS, 0)
    for key in _KEYS:
        percents[key] = _most(range(101), partial(_fits_at, kept, percents, key))
    made = _shrunk(kept, percents)
    return Fitted(request=made, solution=solve(made), changes=_changes(request, made))


def _fits(request: SizingRequest) -> bool:
    return solve(request).fit is Fit.FITS


def _fits_at(request: SizingRequest, percents: Percents, key: str, percent: int) -> bool:
    return _fits(_shrunk(request, {**percents, key: percent}))


def _fits_with(request: SizingRequest, counts: Mapping[Group, int], group: Group, count: int) -> bool:
    """Whether so many nodes of a group fit beside the others, all at their floors."""
    return _fits(_shrunk(_with_counts(request, {**counts, group: count}), dict.fromkeys(_KEYS, 0)))


def _most(choices: Sequence[int], fits: Callable[[int], bool]) -> int:
    """The last choice that fits, where the first does and larger ones are harder."""
    return choices[max(0, bisect.bisect_left(choices, True, key=lambda choice: not fits(choice)) - 1)]


def _floor(need: NodeNeed, key: str) -> int:
    asked: int = getattr(need, key)
    if key == "vcpus":
        return min(asked, _FEWEST_VCPUS + need.gpus)
    return -(-asked // 2)


def _shrunk(request: SizingRequest, percents: Percents) -> SizingRequest:
    """Every node at a percentage of its size, not below its floor; disks in steps of 10 GiB where they are larger."""

    def size(need: NodeNeed, key: str) -> int:
        value: int = getattr(need, key) * percents[key] // 100
        if key == "disk_gib" and value > 10 and percents[key] < 100:
            value = value // 10 * 10
        return max(_floor(need, key), value)

    return replace(
        request,
        needs=tuple(
            replace(
                need,
                vcpus=size(need, "vcpus"),
                memory_gib=size(need, "memory_gib"),
                disk_gib=size(need, "disk_gib"),
            )
            for need in request.needs
        ),
    )


def _groups(request: SizingRequest) -> dict[Group, list[NodeNeed]]:
    """Nodes by cluster and role, the most wanted role first, each in the order of its numbers."""
    groups: dict[Group, list[NodeNeed]] = {}
    for need in sorted(
        request.needs, key=lambda need: (_ORDER.index(need.role), need.cluster, len(need.name), need.name)
    ):
        groups.setdefault((need.cluster, need.role), []).append(need)
    return groups


def _with_counts(request: SizingRequest, counts: Mapping[Group, int]) -> SizingRequest:
    groups = _groups(request)
    return replace(request, needs=tuple(need for group, needs in groups.items() for need in needs[: counts[group]]))


def _smallest(request: SizingRequest) -> SizingRequest:
    return _shrunk(_with_counts(request, dict.fromkeys(_groups(request), 1)), dict.fromkeys(_KEYS, 0))


def _one_gpu_each(request: SizingRequest) -> SizingRequest:
    return replace(request, needs=tuple(replace(need, gpus=min(1, need.gpus)) for need in request.needs))


def _counts(request: SizingRequest) -> SizingRequest | None:
    """As many of its nodes as fit at their floors; None where one of each does not."""
    if not _fits(_smallest(request)):
        request = _one_gpu_each(request)
        if not _fits(_smallest(request)):
            return None
    groups = _groups(request)
    if _fits(_shrunk(request, dict.fromkeys(_KEYS, 0))):
        return request
    counts = dict.fromkeys(groups, 1)
    for group, needs in groups.items():
        # an even number of control plane nodes survives no more failures than one less
        step = 2 if group[1] == "control-plane" else 1
        counts[group] = _most(range(1, len(needs) + 1, step), partial(_fits_with, request, counts, group))
    return _with_counts(request, counts)


def _changes(before: SizingRequest, after: SizingRequest) -> tuple[Change, ...]:
    old, new = _groups(before), _groups(after)
    changes = []
    for group in sorted(old):
        for key in ("count", *_KEYS, "gpus"):
            was, now = (
                len(needs) if key == "count" else max(getattr(need, key) for need in needs)
                for needs in (old[group], new[group])
            )
            if was != now:
                changes.append(Change(cluster=group[0], role=group[1], key=key, before=was, after=now))
    return tuple(changes)
