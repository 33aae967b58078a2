"""Decides whether clusters fit on hosts, and says by which rules: proof first, then placement, then a check. Pure.

The only place that joins ``bounds`` (what cannot be), ``placement`` (where it goes) and ``relief`` (what would help).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ai_how.capacity.bounds import Shortage, shortages, turns_of
from ai_how.capacity.host_state import HostState
from ai_how.capacity.placement import Outcome, place
from ai_how.capacity.relief import describe, ways_out, why_not
from ai_how.capacity.rooms import Room, Rule, demand_of, gpu_serves, room_of
from ai_how.capacity.types import NodeNeed, PlacedNode, Schedule, SizingRequest
from ai_how.site.roles import NODES_PER_HOST


class Fit(StrEnum):
    """``not-found`` is no proof: a larger search might find a placement."""

    FITS = "fits"
    IMPOSSIBLE = "impossible"
    NOT_FOUND = "not-found"


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A rule that stands in the way: what is short, and what would relieve it."""

    rule: Rule
    what: str
    ways: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The answer for one schedule. ``placed`` is ordered by name, empty where the nodes do not fit.

    ``why`` says in a sentence how it is known, or which node found no place.
    """

    schedule: Schedule
    fit: Fit
    placed: tuple[PlacedNode, ...] = ()
    bindings: tuple[Binding, ...] = ()
    why: str = ""


def solve(request: SizingRequest) -> Solution:
    """Place the request's nodes, prove that they cannot be placed, or say that neither was found."""
    rooms = sorted((room_of(offer, request.rules) for offer in request.hosts), key=lambda room: room.name)
    proofs = shortages(request, rooms)
    if proofs:
        return Solution(
            schedule=request.schedule,
            fit=Fit.IMPOSSIBLE,
            bindings=tuple(_binding(proof, request, rooms) for proof in proofs),
            why="proved by the rules below",
        )
    outcome = place(request.needs, rooms, request.rules, turns=turns_of(request))
    if outcome.placed is not None:
        return Solution(schedule=request.schedule, fit=Fit.FITS, placed=outcome.placed)
    if outcome.proved:
        fit, known = Fit.IMPOSSIBLE, f"every placement was tried ({outcome.steps} steps)"
    else:
        fit, known = Fit.NOT_FOUND, "no placement was found; that there is none is not proved"
    return Solution(schedule=request.schedule, fit=fit, why=f"{known}. {_stuck(outcome, request)}".strip())


def _binding(proof: Shortage, request: SizingRequest, rooms: Sequence[Room]) -> Binding:
    what = describe(proof)
    if request.schedule == "in-turns" and len(proof.clusters) == 1 < len(request.clusters):
        what = f"{what}, for cluster {proof.clusters[0]}"
    return Binding(rule=proof.rule, what=what, ways=ways_out(proof, request, rooms))


def _stuck(outcome: Outcome, request: SizingRequest) -> str:
    need = outcome.stuck
    if need is None:
        return ""
    turn = turns_of(request)[need.cluster]
    left = [(host.room.name, _lacks(host, need, request, turn)) for host in outcome.left]
    # the host that lacks least is the one to look at first
    nearest = sorted(left, key=lambda item: (len(item[1]), item[0]))
    return why_not(need, nearest)


def _lacks(host: HostState, need: NodeNeed, request: SizingRequest, turn: int) -> list[str]:
    demand = demand_of(need, request.rules)
    lacks = []
    if need.host and need.host != host.room.name:
        return ["what it is pinned to: " + need.host]
    if demand.threads_m > host.threads_m[turn]:
        lacks.append(f"{(demand.threads_m - host.threads_m[turn]) / 1000:g} threads")
    if demand.memory_mib > host.memory_mib[turn]:
        lacks.append(f"{(demand.memory_mib - host.memory_mib[turn]) / 1024:.1f} GiB of memory")
    if demand.disk_mib > host.disk_mib:
        lacks.append(f"{(demand.disk_mib - host.disk_mib) / 1024:.0f} GiB of disk")
    if host.room.nodes is not None and host.nodes[turn] >= host.room.nodes:
        lacks.append("a free server")
    if need.gpus > sum(gpu_serves(host.room.gpus[gpu], need) for gpu in host.free[turn]):
        lacks.append("a free GPU of that kind" if need.gpus == 1 else f"{need.gpus} free GPUs of that kind")
    return lacks or ["a NUMA node with GPU, threads and memory"]


@dataclass(frozen=True, kw_only=True)
class HostUse:
    """What nodes take of one host, in its busiest turn (of the disk: in all), and its room without the reserve."""

    host: str
    nodes: int
    threads: float
    threads_room: float
    memory_gib: float
    memory_room_gib: float
    disk_gib: float
    disk_room_gib: float
    gpus: int
    gpus_room: int
    hugepages_gib: float


def host_uses(request: SizingRequest, placed: Sequence[PlacedNode]) -> tuple[HostUse, ...]:
    """What is used of every host, ordered by name."""
    turns = turns_of(request)
    by_host: dict[str, list[PlacedNode]] = {}
    for node in placed:
        by_host.setdefault(node.host, []).append(node)
    uses = []
    for room in sorted((room_of(offer, request.rules) for offer in request.hosts), key=lambda room: room.name):
        here = by_host.get(room.name, [])
        groups = [[node for node in here if turns[node.need.cluster] == turn] for turn in sorted(set(turns.values()))]
        demands = [[demand_of(node.need, request.rules) for node in group] for group in groups]
        uses.append(
            HostUse(
                host=room.name,
                nodes=max(map(len, groups), default=0),
                threads=max((sum(one.threads_m for one in group) for group in demands), default=0) / 1000,
                threads_room=room.threads_m / 1000,
                memory_gib=max((sum(one.memory_mib for one in group) for group in demands), default=0) / 1024,
                memory_room_gib=room.memory_mib / 1024,
                disk_gib=sum(one.disk_mib for group in demands for one in group) / 1024,
                disk_room_gib=room.disk_mib / 1024,
                gpus=max((sum(one.gpus for one in group) for group in demands), default=0),
                gpus_room=len(room.free_gpus),
                hugepages_gib=max((sum(node.need.memory_gib for node in group) for group in groups), default=0)
                if request.rules.hugepages != "none"
                else 0,
            )
        )
    return tuple(uses)


def warnings_of(request: SizingRequest, placed: Sequence[PlacedNode]) -> Iterator[str]:
    """What a placement keeps the rules with, and is unwise all the same."""
    hosts = {offer.name: offer.capacity for offer in request.hosts}
    control: dict[str, list[str]] = {}
    for node in placed:
        if node.need.role == "control-plane":
            control.setdefault(node.need.cluster, []).append(node.host)
        several = len([numa for numa in hosts[node.host].numa if numa.threads]) > 1
        if node.gpus and node.numa_node is None and several and request.rules.numa_locality == "prefer":
            yield f"{node.need.name} spans NUMA nodes: its GPU's NUMA node has no room, or is unknown"
    for cluster, names in sorted(control.items()):
        worst = max(names, key=lambda name: (names.count(name), name))
        if len(names) > 1 and names.count(worst) > (len(names) - 1) // 2:
            yield f"cluster {cluster} loses its control plane's majority with host {worst}"
    for use in host_uses(request, placed):
        if use.nodes > NODES_PER_HOST:
            yield f"{use.nodes} virtual machines on host {use.host}: 10 to {NODES_PER_HOST} are typical"
        if use.hugepages_gib > hosts[use.host].hugepages_gib:
            pages = round(use.hugepages_gib * (1 if request.rules.hugepages == "1gib" else 512))
            size = {"1gib": "1G", "2mib": "2M"}[request.rules.hugepages]
            yield f"host {use.host} must set aside huge pages at boot: hugepagesz={size} hugepages={pages}"


def contended_gpus(placed: Sequence[PlacedNode]) -> dict[tuple[str, int], tuple[str, ...]]:
    """GPUs that nodes of several turns use: host and GPU -> the nodes' names."""
    users: dict[tuple[str, int], list[str]] = {}
    for node in placed:
        for gpu in node.gpus:
            users.setdefault((node.host, gpu), []).append(node.need.name)
    return {key: tuple(names) for key, names in sorted(users.items()) if len(names) > 1}


def with_schedule(request: SizingRequest, schedule: Schedule) -> SizingRequest:
    """The same nodes and hosts under another schedule."""
    return replace(request, schedule=schedule)
