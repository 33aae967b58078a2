"""Proves that nodes cannot fit, rule by rule, and by how much they exceed it. Pure.

Each shortage is a proof by itself: the sum of a resource, the nodes that hosts of this size can hold, the GPUs that
match. No shortage does not mean that everything fits: ``placement`` tells that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ai_how.capacity.rooms import Demand, Room, Rule, demand_of, gpu_serves, same_card
from ai_how.capacity.types import NodeNeed, PlacementRules, SizingRequest

UNITS = {Rule.VCPU_OVERCOMMIT: "threads", Rule.MEMORY: "GiB", Rule.DISK: "GiB", Rule.GPUS: "GPUs"}


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """A rule that cannot be kept. Amounts are in ``unit``; ``short`` is what would have to be there in addition.

    ``host`` is empty where all hosts together are short, ``clusters`` are those that run at the same time (all for
    the disk). ``nodes`` are those that want the resource. ``each`` is set where not the sum is short but hosts have
    room for only ``room`` nodes of this kind instead of ``need``.
    """

    rule: Rule
    clusters: tuple[str, ...]
    need: float
    room: float
    short: float
    unit: str
    nodes: tuple[NodeNeed, ...]
    host: str = ""
    each: NodeNeed | None = None


_AMOUNTS: Mapping[Rule, tuple[Callable[[Demand], int], Callable[[Room], int], int]] = {
    Rule.VCPU_OVERCOMMIT: (lambda demand: demand.threads_m, lambda room: room.threads_m, 1000),
    Rule.MEMORY: (lambda demand: demand.memory_mib, lambda room: room.memory_mib, 1024),
    Rule.DISK: (lambda demand: demand.disk_mib, lambda room: room.disk_mib, 1024),
}


def amounts(rule: Rule, demands: Sequence[Demand], rooms: Sequence[Room]) -> tuple[int, int, int]:
    """Need and room of threads, memory or disk, in whole units that ``per`` make one thread or GiB."""
    needed, offered, per = _AMOUNTS[rule]
    return sum(map(needed, demands)), sum(map(offered, rooms)), per


def turns_of(request: SizingRequest) -> dict[str, int]:
    """Each cluster's turn: all the same side by side, one each in turns."""
    return {cluster: index if request.schedule == "in-turns" else 0 for index, cluster in enumerate(request.clusters)}


def shortages(request: SizingRequest, rooms: Sequence[Room]) -> tuple[Shortage, ...]:
    """Every rule that provably cannot be kept, in a fixed order; empty where nothing is proved."""
    turns = turns_of(request)
    found: list[Shortage] = []
    found += _of_sum(Rule.DISK, request.needs, rooms, request.rules)
    for turn in sorted(set(turns.values())):
        needs = tuple(need for need in request.needs if turns[need.cluster] == turn)
        for rule in (Rule.VCPU_OVERCOMMIT, Rule.MEMORY):
            found += _of_sum(rule, needs, rooms, request.rules)
        found += _of_gpus(needs, rooms)
        found += _of_nodes(needs, rooms)
        known = {(shortage.rule, shortage.clusters) for shortage in found}
        if not known:
            found += _of_kinds(needs, rooms, request.rules)
    order = list(Rule)
    return tuple(sorted(found, key=lambda one: (order.index(one.rule), one.clusters, one.host, one.nodes[0].name)))


def _clusters(needs: Sequence[NodeNeed]) -> tuple[str, ...]:
    return tuple(sorted({need.cluster for need in needs}))


def _of_sum(rule: Rule, needs: Sequence[NodeNeed], rooms: Sequence[Room], rules: PlacementRules) -> Iterator[Shortage]:
    """All nodes against all hosts; where these suffice, the nodes pinned to a host against that host."""
    parts: list[tuple[str, Sequence[NodeNeed], Sequence[Room]]] = [("", needs, rooms)]
    for room in rooms if len(rooms) > 1 else ():
        pinned = [need for need in needs if need.host == room.name]
        if pinned:
            parts.append((room.name, pinned, [room]))
    for host, wanting, offering in parts:
        need, room_units, per = amounts(rule, [demand_of(need, rules) for need in wanting], offering)
        if need > room_units:
            yield Shortage(
                rule=rule,
                clusters=_clusters(wanting),
                need=need / per,
                room=room_units / per,
                short=(need - room_units) / per,
                unit=UNITS[rule],
                nodes=tuple(wanting),
                host=host or (rooms[0].name if len(rooms) == 1 else ""),
            )
            if not host:
                return


def _of_gpus(needs: Sequence[NodeNeed], rooms: Sequence[Room]) -> Iterator[Shortage]:
    """For each memory size and each model that is asked for: how many want that or more, and how many there are."""
    wanting = [need for need in needs if need.gpus]
    kinds = sorted({(need.gpu_model, need.gpu_memory_gib) for need in wanting} | {("", 0.0)} if wanting else set())
    gpus = [gpu for room in rooms for gpu in room.gpus if not gpu.blocked]
    host = rooms[0].name if len(rooms) == 1 else ""
    free = {gpu.pci_address for gpu in gpus}
    for need in wanting:
        missing = len(set(need.gpu_addresses) - free)
        if missing:
            yield Shortage(
                rule=Rule.GPUS,
                clusters=(need.cluster,),
                need=len(need.gpu_addresses),
                room=len(need.gpu_addresses) - missing,
                short=missing,
                unit=f"GPUs at {', '.join(need.gpu_addresses)}",
                nodes=(need,),
                host=host,
            )
            return
    for model, memory_gib in kinds:
        choosy = [
            need
            for need in wanting
            if need.gpu_memory_gib >= memory_gib
            and (not model or (need.gpu_model and same_card(need.gpu_model, model)))
        ]
        there = sum(gpu.memory_gib >= memory_gib and (not model or same_card(gpu.name, model)) for gpu in gpus)
        wanted = sum(need.gpus for need in choosy)
        if wanted > there:
            yield Shortage(
                rule=Rule.GPUS,
                clusters=_clusters(choosy),
                need=wanted,
                room=there,
                short=wanted - there,
                unit=" ".join(filter(None, (model, "GPUs", f"with {memory_gib:g} GiB or more" if memory_gib else ""))),
                nodes=tuple(choosy),
                host=host,
            )
            return


def _of_nodes(needs: Sequence[NodeNeed], rooms: Sequence[Room]) -> Iterator[Shortage]:
    """Servers that are one node each."""
    if rooms and all(room.nodes is not None for room in rooms):
        room = sum(room.nodes or 0 for room in rooms)
        if len(needs) > room:
            yield Shortage(
                rule=Rule.ONE_NODE,
                clusters=_clusters(needs),
                need=len(needs),
                room=room,
                short=len(needs) - room,
                unit="hosts",
                nodes=tuple(needs),
            )


def _of_kinds(needs: Sequence[NodeNeed], rooms: Sequence[Room], rules: PlacementRules) -> Iterator[Shortage]:
    """Nodes of one kind alone: how many of them the hosts could hold if these held nothing else.

    One rule by itself is looked at first, then rules together: memory beside a GPU, and so on. The last of them is
    named, as it is what stops the nodes.
    """
    kinds: dict[NodeNeed, list[NodeNeed]] = {}
    for need in sorted(needs, key=lambda need: need.name):
        kinds.setdefault(replace(need, name="", cluster=""), []).append(need)
    for kind, alike in kinds.items():
        hosts = [room for room in rooms if not kind.host or room.name == kind.host]
        for together in _TOGETHER:
            held = {names: sum(copies(kind, host, rules, names) for host in hosts) for names in together}
            short = {names: room for names, room in held.items() if room < len(alike)}
            for names, room in short.items():
                yield Shortage(
                    rule=names[-1],
                    clusters=_clusters(alike),
                    need=len(alike),
                    room=room,
                    short=len(alike) - room,
                    unit="nodes",
                    nodes=tuple(alike),
                    host=hosts[0].name if len(hosts) == 1 else "",
                    each=alike[0],
                )
            if short:
                break


_SIZES = (Rule.VCPU_OVERCOMMIT, Rule.MEMORY, Rule.DISK)
_TOGETHER: tuple[tuple[tuple[Rule, ...], ...], ...] = (
    tuple((rule,) for rule in (*_SIZES, Rule.GPUS)),
    tuple((Rule.GPUS, rule) for rule in (*_SIZES, Rule.NUMA_LOCALITY)),
    tuple((Rule.GPUS, rule, Rule.NUMA_LOCALITY) for rule in _SIZES[:2]),
    ((Rule.GPUS, *_SIZES), (Rule.GPUS, *_SIZES, Rule.NUMA_LOCALITY)),
)


def copies(need: NodeNeed, room: Room, rules: PlacementRules, names: Collection[Rule]) -> int:
    """How many nodes of one kind an otherwise empty host can hold at most, when only the named rules count."""
    demand = demand_of(need, rules)
    most = room.nodes if room.nodes is not None else 10**6
    for rule, (needed, offered, _) in _AMOUNTS.items():
        if rule in names and needed(demand):
            most = min(most, offered(room) // needed(demand))
    if not need.gpus or Rule.GPUS not in names:
        return most
    serving = {index for index, gpu in enumerate(room.gpus) if gpu_serves(gpu, need)}
    if Rule.NUMA_LOCALITY not in names or rules.numa_locality != "require":
        return min(most, len(serving) // need.gpus)
    local = 0
    for cell in room.cells:
        fits = len(serving & cell.gpus) // need.gpus
        if Rule.VCPU_OVERCOMMIT in names:
            fits = min(fits, cell.threads_m // demand.threads_m)
        if Rule.MEMORY in names:
            fits = min(fits, cell.memory_mib // demand.memory_mib)
        local += fits
    return min(most, local)
