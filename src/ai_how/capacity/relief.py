"""Says in words what binds, by how much, and what would relieve it: each way out relieves its rule by itself. Pure."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ai_how.capacity.bounds import Shortage, amounts, copies
from ai_how.capacity.rooms import Room, Rule, demand_of
from ai_how.capacity.types import NodeNeed, SizingRequest

_KEYS = {Rule.VCPU_OVERCOMMIT: "vcpus", Rule.MEMORY: "memory_gib", Rule.DISK: "disk_gib"}
_MOST_OVERCOMMIT = 8.0  # the site file's own limit


def describe(shortage: Shortage) -> str:
    """What is short, in one line without the rule's name: ``12 GiB short on host a``."""
    where = f" on host {shortage.host}" if shortage.host else " on all hosts together"
    if shortage.each is not None:
        fit = "no node" if not shortage.room else f"{shortage.room:g} of {shortage.need:g} nodes"
        role = f"{shortage.each.cluster} {shortage.each.role}"
        return f"{fit} of {role} would fit{where if shortage.host else ' on the hosts'}"
    if shortage.rule is Rule.GPUS:
        return f"{shortage.need:g} {shortage.unit} wanted, {shortage.room:g}{where}"
    if shortage.rule is Rule.ONE_NODE:
        return f"{shortage.need:g} nodes for {shortage.room:g} servers"
    figures = f"{amount(shortage.need)} wanted, {amount(shortage.room)} usable"
    return f"{amount(shortage.short)} {shortage.unit} short{where}: {figures}"


def amount(value: float) -> str:
    """A number with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def ways_out(shortage: Shortage, request: SizingRequest, rooms: Sequence[Room]) -> tuple[str, ...]:
    """What would relieve a shortage, the smallest change first; each of them does it alone."""
    if shortage.each is not None:
        return tuple(_ways_for_each(shortage, shortage.each, request, rooms))
    if shortage.rule is Rule.GPUS:
        return tuple(_ways_for_gpus(shortage, request, rooms))
    if shortage.rule is Rule.ONE_NODE:
        ways = (f"add {shortage.short:g} servers", f"ask for {shortage.short:g} fewer nodes")
        return (*ways, *_in_turns(shortage, request))
    return tuple(_ways_for_sums(shortage, request))


def _ways_for_sums(shortage: Shortage, request: SizingRequest) -> Iterator[str]:
    to = f" to host {shortage.host}" if shortage.host else ""
    yield f"add {math.ceil(shortage.short - 1e-9)} {shortage.unit}{to}"
    role, smaller = _smaller(shortage, request)
    if smaller:
        yield f"lower {role} {_KEYS[shortage.rule]} to {smaller}"
    if shortage.rule is Rule.VCPU_OVERCOMMIT and not request.rules.whole_hosts:
        yield from _more_overcommit(shortage, request)
    if shortage.rule is Rule.DISK:
        factor = math.ceil(shortage.need * request.rules.thin_disk_overcommit / max(shortage.room, 1e-9) * 100) / 100
        if factor <= 4:
            yield f"raise placement.thin_disk_overcommit to {factor:g}, and watch the disk"
    else:
        yield from _in_turns(shortage, request)


def _groups(nodes: Sequence[NodeNeed]) -> dict[tuple[str, str], list[NodeNeed]]:
    groups: dict[tuple[str, str], list[NodeNeed]] = {}
    for node in nodes:
        groups.setdefault((node.cluster, node.role), []).append(node)
    return dict(sorted(groups.items()))


def _smaller(shortage: Shortage, request: SizingRequest) -> tuple[str, int]:
    """The size at which the largest nodes together would leave enough for the others; 0 where none would do."""
    key = _KEYS[shortage.rule]
    groups = _groups(shortage.nodes)
    cluster, role = max(groups, key=lambda name: (sum(getattr(node, key) for node in groups[name]), name))
    nodes = groups[cluster, role]
    rest = [demand_of(node, request.rules) for node in shortage.nodes if (node.cluster, node.role) != (cluster, role)]
    taken, _, per = amounts(shortage.rule, rest, ())

    def enough(size: int) -> bool:
        smaller = [demand_of(_with_size(node, key, size), request.rules) for node in nodes]
        return taken + amounts(shortage.rule, smaller, ())[0] <= round(shortage.room * per)

    return f"{cluster} {role}", _largest(max(getattr(node, key) for node in nodes) - 1, enough)


def _largest(most: int, enough: Callable[[int], bool]) -> int:
    """The largest size from 1 to ``most`` that is small enough; 0 where none is."""
    return bisect.bisect_left(range(1, most + 1), True, key=lambda size: not enough(size)) if most > 0 else 0


def _with_size(node: NodeNeed, key: str, size: int) -> NodeNeed:
    return replace(node, **{key: min(size, getattr(node, key))})


def _more_overcommit(shortage: Shortage, request: SizingRequest) -> Iterator[str]:
    groups = _groups(shortage.nodes)
    by_role: dict[str, float] = {}
    for (_, role), nodes in groups.items():
        by_role[role] = by_role.get(role, 0) + sum(demand_of(node, request.rules).threads_m for node in nodes) / 1000
    role = max(by_role, key=lambda name: (by_role[name], name))
    left = by_role[role] - shortage.short
    vcpus = sum(node.vcpus for node in shortage.nodes if node.role == role)
    factor = math.ceil(vcpus / left * 10) / 10 if left > 0 else math.inf
    if factor <= _MOST_OVERCOMMIT:
        yield f"raise placement.vcpu_overcommit.{role.replace('-', '_')} to {factor:g}"


def _in_turns(shortage: Shortage, request: SizingRequest) -> Iterator[str]:
    """Whether each cluster alone would have enough of this resource."""
    if request.schedule == "in-turns" or len(shortage.clusters) < 2:
        return
    for cluster in shortage.clusters:
        nodes = [node for node in shortage.nodes if node.cluster == cluster]
        if shortage.rule is Rule.GPUS:
            alone = float(sum(node.gpus for node in nodes))
        elif shortage.rule is Rule.ONE_NODE:
            alone = len(nodes)
        else:
            need, _, per = amounts(shortage.rule, [demand_of(node, request.rules) for node in nodes], ())
            alone = need / per
        if alone > shortage.room:
            return
    yield "run the clusters in turns (schedule: in-turns)"


def _ways_for_gpus(shortage: Shortage, request: SizingRequest, rooms: Sequence[Room]) -> Iterator[str]:
    to = f" to host {shortage.host}" if shortage.host else ""
    one = shortage.short == 1
    yield f"add {shortage.short:g} {shortage.unit.replace('GPUs', 'GPU', 1) if one else shortage.unit}{to}"
    groups = _groups(shortage.nodes)
    cluster, role = max(groups, key=lambda name: (len(groups[name]), name))
    nodes = groups[cluster, role]
    fewer = len(nodes) - math.ceil(shortage.short / min(node.gpus for node in nodes))
    if fewer > 0:
        yield f"lower {cluster} {role} count to {fewer}"
    blocked = [gpu for room in rooms for gpu in room.gpus if gpu.blocked]
    if blocked:
        yield f"free {len(blocked)} GPU that cannot be passed through: {blocked[0].name}, {blocked[0].blocked}"
    yield from _in_turns(shortage, request)


def _ways_for_each(shortage: Shortage, node: NodeNeed, request: SizingRequest, rooms: Sequence[Room]) -> Iterator[str]:
    """Nodes of one kind that the hosts hold too few of: smaller ones, fewer, or another host."""
    key = _KEYS.get(shortage.rule)
    hosts = [room for room in rooms if not node.host or room.name == node.host]
    rules = [shortage.rule, Rule.GPUS] if node.gpus else [shortage.rule]

    def enough(size: int) -> bool:
        smaller = _with_size(node, key or "", size)
        return sum(copies(smaller, host, request.rules, rules) for host in hosts) >= shortage.need

    size = _largest(getattr(node, key) - 1, enough) if key else 0
    if size:
        yield f"lower {node.cluster} {node.role} {key} to {size}"
    if shortage.room:
        yield f"ask for {shortage.room:g} of them"
    if shortage.rule is Rule.NUMA_LOCALITY:
        yield "write placement.numa_locality: prefer"
    yield "add a host, or a larger one" + (f", and let {node.role} nodes run there (host)" if node.host else "")


def why_not(node: NodeNeed, left: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Why a node found no place: each host with what it lacked, three at most."""
    lines = [f"host {name} lacks {', '.join(lacks)}" for name, lacks in left[:3]]
    more = f" and {len(left) - 3} more hosts" if len(left) > 3 else ""
    return f"{node.name} found no place: {'; '.join(lines)}{more}"
