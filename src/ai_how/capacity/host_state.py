"""One host while nodes are being placed on it: what is left, which GPUs a node could take, take and give back.

Clusters that run in turns have a turn each: threads, memory and GPUs are free again in every turn, the disk is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ai_how.capacity.rooms import Demand, Room, gpu_serves
from ai_how.capacity.types import NodeNeed

Signature = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to put a node on a host: its GPUs, and the cell (index) that it is bound to, if any."""

    gpus: tuple[int, ...] = ()
    cell: int | None = None


class HostState:
    """What is left of one host. Not shared between searches."""

    __slots__ = (
        "cells",
        "disk_mib",
        "free",
        "index",
        "kind",
        "kinds",
        "memory_mib",
        "nodes",
        "order",
        "room",
        "spread",
        "threads_m",
    )

    def __init__(self, room: Room, *, index: int, kind: int, turns: int) -> None:
        self.room = room
        self.index = index
        self.kind = kind  # equal for hosts that had the same to give
        self.threads_m = [room.threads_m] * turns
        self.memory_mib = [room.memory_mib] * turns
        self.disk_mib = room.disk_mib
        self.free = [set(room.free_gpus) for _ in range(turns)]
        self.cells = [[[cell.threads_m, cell.memory_mib] for cell in room.cells] for _ in range(turns)]
        self.nodes = [0] * turns
        self.spread: dict[str, int] = {}
        # the cards that suit least else come first: small ones, then by name, then by NUMA node
        cell_of = {gpu: number for number, cell in enumerate(room.cells) for gpu in cell.gpus}
        self.kinds = [(gpu.memory_gib, gpu.name, cell_of.get(index, -1)) for index, gpu in enumerate(room.gpus)]
        self.order = sorted(range(len(room.gpus)), key=lambda gpu: (self.kinds[gpu], gpu))

    def holds(self, demand: Demand, turn: int) -> bool:
        """Whether threads, memory, disk and the number of nodes allow one more; GPUs are not looked at."""
        return (
            demand.memory_mib <= self.memory_mib[turn]
            and demand.threads_m <= self.threads_m[turn]
            and demand.disk_mib <= self.disk_mib
            and (self.room.nodes is None or self.nodes[turn] < self.room.nodes)
        )

    def choices(self, need: NodeNeed, demand: Demand, turn: int, *, locality: str) -> Iterator[Choice]:
        """Every way to give the node its GPUs that differs from the others, the best first."""
        if not need.gpus:
            yield Choice()
            return
        free = [gpu for gpu in self.order if gpu in self.free[turn] and gpu_serves(self.room.gpus[gpu], need)]
        if len(self.free) > 1:
            # of a kind, those first that no cluster uses in another turn
            free.sort(key=lambda gpu: (*self._kind(gpu), self._shared(gpu)))
        if len(free) < need.gpus:
            return
        if locality != "ignore":
            yield from self._local(free, need.gpus, demand, turn)
        if locality != "require":
            for picked in _picks([list(same) for _, same in groupby(free, key=self._kind)], need.gpus):
                yield Choice(picked)

    def _local(self, free: Sequence[int], count: int, demand: Demand, turn: int) -> Iterator[Choice]:
        found = []
        for number, cell in enumerate(self.room.cells):
            threads_m, memory_mib = self.cells[turn][number]
            if demand.threads_m <= threads_m and demand.memory_mib <= memory_mib:
                here = [gpu for gpu in free if gpu in cell.gpus]
                for picked in _picks([list(same) for _, same in groupby(here, key=self._kind)], count):
                    found.append(Choice(picked, number))
        # the sort is stable: equals stay in the order of their NUMA nodes
        yield from sorted(found, key=lambda choice: (self._memory_gib(choice), sum(map(self._shared, choice.gpus))))

    def _memory_gib(self, choice: Choice) -> float:
        return sum(self.room.gpus[gpu].memory_gib for gpu in choice.gpus)

    def _shared(self, gpu: int) -> bool:
        return any(gpu not in free for free in self.free)

    def _kind(self, gpu: int) -> tuple[float, str, int]:
        """GPUs of one kind are interchangeable."""
        return self.kinds[gpu]

    def take(self, need: NodeNeed, demand: Demand, turn: int, choice: Choice) -> None:
        """Put a node here."""
        self._change(need, demand, turn, choice, sign=1)
        self.free[turn].difference_update(choice.gpus)

    def give_back(self, need: NodeNeed, demand: Demand, turn: int, choice: Choice) -> None:
        """Undo ``take``."""
        self._change(need, demand, turn, choice, sign=-1)
        self.free[turn].update(choice.gpus)

    def _change(self, need: NodeNeed, demand: Demand, turn: int, choice: Choice, *, sign: int) -> None:
        self.threads_m[turn] -= sign * demand.threads_m
        self.memory_mib[turn] -= sign * demand.memory_mib
        self.disk_mib -= sign * demand.disk_mib
        self.nodes[turn] += sign
        if choice.cell is not None:
            cell = self.cells[turn][choice.cell]
            cell[0] -= sign * demand.threads_m
            cell[1] -= sign * demand.memory_mib
        if need.role == "control-plane":
            self.spread[need.cluster] = self.spread.get(need.cluster, 0) + sign

    def signature(self) -> Signature:
        """Equal for hosts that are interchangeable for what is still to be placed, pins apart."""
        return (
            self.kind,
            tuple(self.threads_m),
            tuple(self.memory_mib),
            self.disk_mib,
            tuple(tuple(sorted(free)) for free in self.free),
            tuple(tuple(map(tuple, turn)) for turn in self.cells),
            tuple(self.nodes),
            tuple(sorted(item for item in self.spread.items() if item[1])),
        )

    def slack(self, demand: Demand, turn: int) -> int:
        """How much would be left if the node came here, in thousandths of each resource: small is a good fit."""
        room = self.room
        return (
            (self.threads_m[turn] - demand.threads_m) * 1000 // max(1, room.threads_m)
            + (self.memory_mib[turn] - demand.memory_mib) * 1000 // max(1, room.memory_mib)
            + (self.disk_mib - demand.disk_mib) * 1000 // max(1, room.disk_mib)
        )


def _picks(kinds: Sequence[Sequence[int]], count: int) -> Iterator[tuple[int, ...]]:
    """Every mix of ``count`` GPUs by kind, the first of each kind first."""
    if count == 0:
        yield ()
        return
    if not kinds or sum(map(len, kinds)) < count:
        return
    first, rest = kinds[0], kinds[1:]
    for taken in range(min(count, len(first)), -1, -1):
        for others in _picks(rest, count - taken):
            yield (*first[:taken], *others)
