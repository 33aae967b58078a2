"""Builders for sizing tests: hosts and nodes with small defaults, and a check of placements that knows no solver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, product
from typing import Any

from ai_how.capacity.bounds import turns_of
from ai_how.capacity.demand import needs_of, reserve_of, rules_of
from ai_how.capacity.rooms import demand_of, gpu_serves, room_of
from ai_how.capacity.tiers import TierName, tier_host
from ai_how.capacity.types import (
    GpuCapacity,
    HostCapacity,
    HostOffer,
    HostReserve,
    NodeNeed,
    NumaCapacity,
    PlacedNode,
    PlacementRules,
    Schedule,
    SizingRequest,
)
from ai_how.site.clusters import Cluster, Placement, Reserve
from ai_how.site.roles import ROLES, Role

SMALL, BIG = GpuCapacity(name="T4", memory_gib=16), GpuCapacity(name="RTX A6000", memory_gib=48)


def rules(**changes: Any) -> PlacementRules:
    """No overcommit, nothing preferred, unless said otherwise."""
    values: dict[str, Any] = {"vcpu_overcommit": dict.fromkeys(ROLES, 1.0)}
    return PlacementRules(**{**values, **changes})


def host(name: str = "a", *, reserve: HostReserve | None = None, numa_nodes: int = 0, **changes: Any) -> HostOffer:
    """A host of 32 cores, 128 GiB, 1000 GiB that keeps nothing for itself, unless said otherwise."""
    values: dict[str, Any] = {"cores": 32, "threads": changes.get("cores", 32), "memory_gib": 128, "disk_gib": 1000}
    values |= changes
    if numa_nodes:
        values["numa"] = tuple(
            NumaCapacity(id=i, threads=values["threads"] // numa_nodes, memory_gib=values["memory_gib"] / numa_nodes)
            for i in range(numa_nodes)
        )
    return HostOffer(capacity=HostCapacity(name=name, **values), reserve=reserve or HostReserve())


def node(name: str = "n", role: Role = "cpu-worker", **changes: Any) -> NodeNeed:
    """A node of 4 vCPUs, 8 GiB, 50 GiB of the cluster c, unless said otherwise."""
    values: dict[str, Any] = {"cluster": "c", "vcpus": 4, "memory_gib": 8, "disk_gib": 50}
    return NodeNeed(name=name, role=role, **{**values, **changes})


def request(
    needs: Sequence[NodeNeed], hosts: Sequence[HostOffer], schedule: Schedule = "side-by-side", **changes: Any
) -> SizingRequest:
    return SizingRequest(needs=tuple(needs), hosts=tuple(hosts), rules=rules(**changes), schedule=schedule)


def on_tier(name: TierName, *kinds: str, schedule: Schedule = "side-by-side") -> SizingRequest:
    """The default clusters on a tier's host, under the default rules."""
    return SizingRequest(
        needs=tuple(need for kind in kinds for need in needs_of(kind, Cluster.model_validate({"kind": kind}))),
        hosts=(tier_host(name, reserve=reserve_of(Reserve())),),
        rules=rules_of(Placement()),
        schedule=schedule,
    )


def broken_rules(made: SizingRequest, placed: Iterable[PlacedNode]) -> list[str]:
    """Which rules a placement breaks, added up afresh from the nodes and hosts."""
    placed = tuple(placed)
    turns = turns_of(made)
    broken = [] if sorted(n.need.name for n in placed) == sorted(n.name for n in made.needs) else ["not all nodes"]
    for offer in made.hosts:
        room = room_of(offer, made.rules)
        here = [n for n in placed if n.host == offer.name]
        broken += [f"pin of {n.need.name}" for n in here if n.need.host not in ("", offer.name)]
        if sum(demand_of(n.need, made.rules).disk_mib for n in here) > room.disk_mib:
            broken.append(f"disk of {offer.name}")
        for turn in set(turns.values()):
            running = [n for n in here if turns[n.need.cluster] == turn]
            broken += [f"{what} of {offer.name}" for what in _broken_in_turn(made, room, running)]
    return broken


def _broken_in_turn(made: SizingRequest, room: Any, running: Sequence[PlacedNode]) -> Iterable[str]:
    demands = [demand_of(n.need, made.rules) for n in running]
    if sum(d.threads_m for d in demands) > room.threads_m:
        yield "threads"
    if sum(d.memory_mib for d in demands) > room.memory_mib:
        yield "memory"
    if made.rules.whole_hosts and len(running) > 1:
        yield "one node"
    used = [gpu for n in running for gpu in n.gpus]
    if len(set(used)) != len(used) or any(len(n.gpus) != n.need.gpus for n in running):
        yield "gpus"
    if not all(gpu_serves(room.gpus[gpu], n.need) for n in running for gpu in n.gpus):
        yield "gpu kinds"
    for cell in room.cells:
        local = [n for n in running if n.gpus and n.numa_node == cell.id]
        if sum(demand_of(n.need, made.rules).threads_m for n in local) > cell.threads_m:
            yield "threads of a NUMA node"
        if sum(demand_of(n.need, made.rules).memory_mib for n in local) > cell.memory_mib:
            yield "memory of a NUMA node"
        if any(gpu not in cell.gpus for n in local for gpu in n.gpus):
            yield "NUMA node of a GPU"
    if made.rules.numa_locality == "require" and any(n.gpus and n.numa_node is None for n in running):
        yield "locality"


def brute_force(made: SizingRequest) -> bool:
    """Whether any placement keeps the rules: every node on every host with every set of GPUs and every NUMA node."""
    rooms = {offer.name: room_of(offer, made.rules) for offer in made.hosts}
    ways: list[list[PlacedNode]] = []
    for need in made.needs:
        ways.append(
            [
                PlacedNode(need=need, host=name, gpus=gpus, numa_node=cell)
                for name, room in rooms.items()
                for gpus in combinations(range(len(room.gpus)), need.gpus)
                for cell in ([c.id for c in room.cells] + [None] if need.gpus else [None])
            ]
        )
    return any(not broken_rules(made, chosen) for chosen in product(*ways))
