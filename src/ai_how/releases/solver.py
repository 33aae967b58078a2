"""The search: which versions hold together. Pure; knows no pins' wording and no explanation.

Every component's versions are the bits of an integer, newest first; bit 0 means that the component is not there. A need
is then a table of bit sets between two components, and narrowing all tables until nothing changes leaves so little
that a depth-first search finds the best set almost without turning back. Best is lexicographic: the newest version of
the first component that any set allows, then of the second, and so on.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from copy import copy

from ai_how.releases.pins import Constraint, Pin
from ai_how.releases.world import Component, World

ABSENT = 1
Domains = tuple[int, ...]
Table = tuple[tuple[int, int], ...]
"""Versions of one component that want the same, and what they want of the other."""


class Problem:
    """A world as bit sets. ``wanted`` components must be there; others only where a pin or a need asks for them."""

    def __init__(self, world: World, wanted: Iterable[str]) -> None:
        self.world = world
        self.names = tuple(world.components)
        self.index = {name: number for number, name in enumerate(self.names)}
        self.full = [(2 << len(component.releases)) - 1 for component in world.components.values()]
        self.bits = [
            {version: bit for bit, version in enumerate(component.versions, 1)}
            for component in world.components.values()
        ]
        self._masks: dict[tuple[int, str], int] = {}
        self.tables = self._tables()
        self.neighbours: list[list[int]] = [[] for _ in self.names]
        for i, j in self.tables:
            if j not in self.neighbours[i]:
                self.neighbours[i].append(j)
                self.neighbours[j].append(i)
        self.start = self._start(wanted)

    def wanting(self, wanted: Iterable[str]) -> Problem:
        """The same world with other components that must be there."""
        other = copy(self)
        other.start = other._start(wanted)
        return other

    def _start(self, wanted: Iterable[str]) -> Domains:
        """What is left without pins; all nothing, where the wanted components have no set at all."""
        there = set(wanted)
        start = [full & ~ABSENT if name in there else full for name, full in zip(self.names, self.full, strict=True)]
        return self.narrow(start, range(len(self.names))) or (0,) * len(self.names)

    def component(self, i: int) -> Component:
        """The component of a place."""
        return self.world.components[self.names[i]]

    def versions(self, i: int, domain: int) -> list[str]:
        """The versions that a bit set means, newest first."""
        return [version for bit, version in enumerate(self.component(i).versions, 1) if domain >> bit & 1]

    def mask(self, pin: Pin) -> tuple[int, int]:
        """The place of a pin's component and the versions that the pin takes."""
        i = self.index[pin.component]
        return i, self._matching(i, pin.constraint)

    def with_pins(self, pins: Iterable[Pin]) -> Domains | None:
        """What is left of every component when these pins hold; None where narrowing alone shows that they cannot."""
        domains = list(self.start)
        changed = []
        for pin in pins:
            i, mask = self.mask(pin)
            domains[i] &= mask
            changed.append(i)
        return self.narrow(domains, changed)

    def narrow(self, start: Sequence[int], changed: Iterable[int]) -> Domains | None:
        """Remove every version that no version of some other component goes with; None where nothing is left."""
        domains = list(start)
        queue = deque(dict.fromkeys(changed))
        if not all(domains):
            return None
        while queue:
            i = queue.popleft()
            for j in self.neighbours[i]:
                left = domains[j] & self.image(domains[i], i, j)
                if not left:
                    return None
                if left != domains[j]:
                    domains[j] = left
                    if j not in queue:
                        queue.append(j)
        return tuple(domains)

    def image(self, domain: int, i: int, j: int) -> int:
        """The versions of component j that go with at least one of these of component i."""
        allowed = self.full[j]
        if (i, j) in self.tables:
            allowed = 0
            for holders, support in self.tables[i, j]:
                if holders & domain:
                    allowed |= support
        if (j, i) in self.tables:
            allowed &= sum(holders for holders, support in self.tables[j, i] if support & domain)
        return allowed

    def search(self, domains: Domains | None, order: Sequence[Sequence[tuple[int, int]]] = ()) -> Domains | None:
        """The best whole set within the domains; ``order`` overrides what is preferred: places and bits, best first."""
        if domains is None:
            return None
        for choices in order:
            return self._first(domains, choices, order[1:])
        for i, domain in enumerate(domains):
            if domain & (domain - 1):
                bits = [(i, 1 << bit) for bit in range(domain.bit_length()) if domain >> bit & 1]
                return self._first(domains, bits, ())
        return domains

    def _first(
        self, domains: Domains, choices: Sequence[tuple[int, int]], order: Sequence[Sequence[tuple[int, int]]]
    ) -> Domains | None:
        for i, bits in choices:
            if domains[i] & bits:
                tried = [*domains[:i], domains[i] & bits, *domains[i + 1 :]]
                found = self.search(self.narrow(tried, [i]), order)
                if found is not None:
                    return found
        return None

    def answer(self, domains: Domains) -> dict[str, str]:
        """The versions of a whole set, by component; components that are not there are left out."""
        return {
            name: self.versions(i, domains[i])[0] for i, name in enumerate(self.names) if domains[i] and domains[i] != 1
        }

    def _tables(self) -> dict[tuple[int, int], Table]:
        tables: dict[tuple[int, int], Table] = {}
        for i, component in enumerate(self.world.components.values()):
            for j, supports in self._supports(component).items():
                groups: dict[int, int] = defaultdict(int)
                for bit in range(len(component.releases) + 1):
                    groups[supports.get(bit, self.full[j])] |= 1 << bit
                tables[i, j] = tuple((holders, support) for support, holders in groups.items())
        return tables

    def _supports(self, component: Component) -> Mapping[int, dict[int, int]]:
        """Other component's place -> bit of a version -> what that version takes of the other."""
        supports: dict[int, dict[int, int]] = defaultdict(dict)
        for bit, release in enumerate(component.releases, 1):
            for need in release.needs:
                j = self.index[need.component]
                if need.versions is not None:
                    mask = sum(1 << self.bits[j][version] for version in need.versions)
                else:
                    mask = self._matching(j, need.constraint)
                supports[j][bit] = supports[j].get(bit, self.full[j]) & mask
        return supports

    def _matching(self, i: int, constraint: Constraint | None) -> int:
        """The versions of a component that a constraint takes; None takes all that are there."""
        key = i, constraint.text if constraint else ""
        if key not in self._masks:
            bits = self.bits[i].items()
            self._masks[key] = sum(1 << bit for version, bit in bits if not constraint or constraint.matches(version))
        return self._masks[key]
