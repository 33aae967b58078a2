"""Places nodes on hosts: best fit, the scarcest first, then a bounded search. Pure and deterministic.

GPUs are the scarcest, so nodes with GPUs come first. Four orders are tried by best fit; when all of them fail, every
placement is tried up to a number of steps. Only a search that ran to its end proves that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ai_how.capacity.host_state import Choice, HostState, Signature
from ai_how.capacity.rooms import Demand, Room, demand_of
from ai_how.capacity.types import NodeNeed, PlacedNode, PlacementRules

# A search of so many nodes is beyond Python's call depth and would not end anyway.
_MOST_NODES_TO_SEARCH = 200
_STEPS = 3000


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``placed`` is None where no placement was found; ``proved``: because there is none.

    ``stuck`` is the first node that best fit could not place, ``left`` what each host had left for it then.
    """

    placed: tuple[PlacedNode, ...] | None
    proved: bool = False
    steps: int = 0
    stuck: NodeNeed | None = None
    left: tuple[HostState, ...] = ()


@dataclass(frozen=True)
class _Item:
    need: NodeNeed
    demand: Demand
    turn: int


Order = Callable[[_Item, Mapping[str, int]], int]

# how large a node is, by thousandths of what all hosts have; the first that works is taken
_ORDERS: tuple[Order, ...] = (
    lambda item, total: max(_shares(item, total)),
    lambda item, total: _shares(item, total)[1],
    lambda item, total: _shares(item, total)[0],
    lambda item, total: sum(_shares(item, total)),
)


def place(
    needs: Sequence[NodeNeed], rooms: Sequence[Room], rules: PlacementRules, *, turns: Mapping[str, int]
) -> Outcome:
    """Place every node, or say that it was not found or cannot be.

    Args:
        turns: Each cluster's turn, from 0; clusters of one turn run at the same time.
    """
    items = [_Item(need, demand_of(need, rules), turns[need.cluster]) for need in needs]
    hosts = sorted(rooms, key=lambda room: room.name)
    search = _Search(hosts, rules, max(turns.values(), default=0) + 1)
    outcome = Outcome(placed=None)
    for spread in (True, False) if _can_spread(needs, hosts) else (False,):
        for order in _ORDERS:
            outcome = search.best_fit(_in_order(items, hosts, order), spread=spread)
            if outcome.placed is not None:
                return outcome
    if len(items) > _MOST_NODES_TO_SEARCH:
        return outcome
    # a placement that is spread is wanted, but one that is not is better than none
    for spread in (True, False) if _can_spread(needs, hosts) else (False,):
        found = search.every_way(_in_order(items, hosts, _ORDERS[0]), spread=spread)
        if found.placed is not None or not spread:
            return Outcome(
                placed=found.placed, proved=found.proved, steps=found.steps, stuck=outcome.stuck, left=outcome.left
            )
    return outcome


def _can_spread(needs: Sequence[NodeNeed], hosts: Sequence[Room]) -> bool:
    return len(hosts) > 1 and sum(need.role == "control-plane" for need in needs) > 1


def _shares(item: _Item, total: Mapping[str, int]) -> tuple[int, int, int]:
    return (
        item.demand.threads_m * 1_000_000 // total["threads"],
        item.demand.memory_mib * 1_000_000 // total["memory"],
        item.demand.disk_mib * 1_000_000 // total["disk"],
    )


def _in_order(items: Sequence[_Item], hosts: Sequence[Room], order: Order) -> list[_Item]:
    """Nodes with named cards, pinned ones, then those with GPUs, the choosiest first, then by size.

    Names decide between equals.
    """
    total = {
        "threads": max(1, sum(host.threads_m for host in hosts)),
        "memory": max(1, sum(host.memory_mib for host in hosts)),
        "disk": max(1, sum(host.disk_mib for host in hosts)),
    }
    return sorted(
        items,
        key=lambda item: (
            # named cards are not interchangeable with others: they go before anyone else could take them
            not item.need.gpu_addresses,
            not item.need.host,
            -item.need.gpus,
            -item.need.gpu_memory_gib,
            not item.need.gpu_model,
            -order(item, total),
            item.need.name,
        ),
    )


class _Search:
    """One search over fixed hosts."""

    def __init__(self, rooms: Sequence[Room], rules: PlacementRules, turns: int) -> None:
        self.rooms = rooms
        self.rules = rules
        self.turns = turns
        self.steps = 0
        self.spread_limit: dict[str, int] = {}
        self.dead: set[tuple[int, tuple[Signature, ...]]] = set()

    def _hosts(self, items: Sequence[_Item], *, spread: bool) -> list[HostState]:
        counts: dict[str, int] = {}
        for item in items:
            if item.need.role == "control-plane":
                counts[item.need.cluster] = counts.get(item.need.cluster, 0) + 1
        self.spread_limit = {
            cluster: -(-count // len(self.rooms)) if spread and self.rooms else count
            for cluster, count in counts.items()
        }
        kinds: dict[Room, int] = {}
        return [
            HostState(room, index=index, kind=kinds.setdefault(replace(room, name=""), len(kinds)), turns=self.turns)
            for index, room in enumerate(self.rooms)
        ]

    def _possible(self, item: _Item, hosts: Sequence[HostState]) -> list[HostState]:
        """Hosts that may hold a node, the best fit first."""
        need, demand, turn = item.need, item.demand, item.turn
        limit = self.spread_limit.get(need.cluster, 0) if need.role == "control-plane" else None
        found = [
            host
            for host in hosts
            if host.holds(demand, turn)
            and (not need.host or host.room.name == need.host)
            and (limit is None or host.spread.get(need.cluster, 0) < limit)
        ]
        # nodes without GPUs keep away from free GPUs, which need threads and memory beside them
        return sorted(
            found,
            key=lambda host: (0 if need.gpus else len(host.free[turn]), host.slack(demand, turn), host.index),
        )

    def _choices(self, item: _Item, host: HostState) -> list[Choice]:
        return list(host.choices(item.need, item.demand, item.turn, locality=self.rules.numa_locality))

    def best_fit(self, items: Sequence[_Item], *, spread: bool) -> Outcome:
        """Each node to the host that it fits best, without a second thought."""
        hosts = self._hosts(items, spread=spread)
        placed = []
        for item in items:
            best = None
            for host in self._possible(item, hosts):
                choice = next(host.choices(item.need, item.demand, item.turn, locality=self.rules.numa_locality), None)
                if choice is not None:
                    best = (host, choice)
                    break
            if best is None:
                return Outcome(placed=None, stuck=item.need, left=tuple(hosts))
            best[0].take(item.need, item.demand, item.turn, best[1])
            placed.append(_placed(item, *best))
        return Outcome(placed=_by_name(placed))

    def every_way(self, items: Sequence[_Item], *, spread: bool) -> Outcome:
        """Try all placements up to a number of steps; interchangeable hosts and known dead ends are tried once."""
        self.steps = 0
        self.dead = set()
        hosts = self._hosts(items, spread=spread)
        placed: list[PlacedNode] = []
        found = self._deeper(items, 0, hosts, placed)
        return Outcome(
            placed=_by_name(placed) if found else None, proved=not found and self.steps < _STEPS, steps=self.steps
        )

    def _deeper(self, items: Sequence[_Item], at: int, hosts: list[HostState], placed: list[PlacedNode]) -> bool:
        if at == len(items):
            return True
        self.steps += 1
        if self.steps >= _STEPS:
            return False
        item = items[at]
        pinned = any(later.need.host for later in items[at:])
        state = tuple(host.signature() for host in hosts)
        mark = (at, state if pinned else tuple(sorted(state)))
        if mark in self.dead:
            return False
        tried = set()
        for host in self._possible(item, hosts):
            signature = (state[host.index], host.room.name if pinned else "")
            if signature in tried:
                continue
            tried.add(signature)
            for choice in self._choices(item, host):
                host.take(item.need, item.demand, item.turn, choice)
                placed.append(_placed(item, host, choice))
                if self._deeper(items, at + 1, hosts, placed):
                    return True
                placed.pop()
                host.give_back(item.need, item.demand, item.turn, choice)
        self.dead.add(mark)
        return False


def _placed(item: _Item, host: HostState, choice: Choice) -> PlacedNode:
    cell = None if choice.cell is None else host.room.cells[choice.cell].id
    return PlacedNode(need=item.need, host=host.room.name, gpus=tuple(sorted(choice.gpus)), numa_node=cell)


def _by_name(placed: Sequence[PlacedNode]) -> tuple[PlacedNode, ...]:
    return tuple(sorted(placed, key=lambda node: node.need.name))
