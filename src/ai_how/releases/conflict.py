"""Pins in, an answer out: a set of versions, or which pins clash and what to change. Pure.

A core is a smallest set of pins that cannot hold together: each of its proper subsets can. The cores and the smallest
sets of pins to give up determine each other (each of the one meets each of the other), so one breadth-first search
yields both; the fewest pins to give up come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ai_how.errors import AiHowError
from ai_how.releases.pins import Pin, make_pin, parse_pin, parse_version
from ai_how.releases.solver import ABSENT, Domains, Problem
from ai_how.releases.world import World

MAX_WAYS = 64
MAX_WIDTH = 1000
"""Bounds of the search for ways out, and of one round of it; beyond them the answer says that there is more."""
MAX_COMPARED = 16
LEFT_OUT = 1000
"""The distance of doing without a component: more than any other."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Versions that hold together with all pins, by component in the world's order."""

    versions: Mapping[str, str]
    pins: tuple[Pin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WayOut:
    """The set that comes nearest when some pins give way: old pin -> what it becomes; None: left out.

    ``distance`` counts the series of versions between what was asked for and what it becomes, over all pins.
    """

    changes: tuple[tuple[Pin, str | None], ...]
    versions: Mapping[str, str]
    distance: int


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Pins that cannot all hold. ``complete``: there are no other cores."""

    pins: tuple[Pin, ...]
    cores: tuple[tuple[Pin, ...], ...]
    ways_out: tuple[WayOut, ...]
    complete: bool
    problem: Problem
    wanted: tuple[str, ...]


Pins = Mapping[str, str] | Iterable[Pin | str]


def solve(pins: Pins, *, world: World | None = None, wanted: Iterable[str] | None = None) -> Solution | Conflict:
    """The newest versions that satisfy all pins, or why there are none.

    Args:
        pins: ``{"kubernetes": "1.34"}``, or texts such as ``containerd>=1.7.23``. The order does not matter.
        world: The facts; default those of this package.
        wanted: Components that must be there; default those of the release set ``current``.

    Raises:
        SpecError: a pin is not of the form of ``parse_pin``.
        NotFoundError: a pin names a component that no file knows.
    """
    if world is None or wanted is None:
        from ai_how.releases.files import load_world
        from ai_how.releases.sets import load_set

        world = load_world() if world is None else world
        wanted = load_set("current").versions if wanted is None else wanted
    wanted = tuple(wanted)
    problem = Problem(world, wanted)
    resolved = read_pins(pins, world)
    found = problem.search(problem.with_pins(resolved))
    if found is not None:
        return Solution(versions=problem.answer(found), pins=resolved)
    return _conflict(problem, resolved, wanted)


def read_pins(pins: Pins, world: World) -> tuple[Pin, ...]:
    """The pins in the world's order, each once, aliases resolved.

    Raises:
        SpecError, NotFoundError: as ``solve``.
    """
    if isinstance(pins, Mapping):
        pins = [make_pin(component, text) for component, text in pins.items()]
    read = [world.resolve(parse_pin(pin) if isinstance(pin, str) else pin) for pin in pins]
    places = {name: place for place, name in enumerate(world.components)}
    once = {(pin.component, pin.constraint.text): pin for pin in reversed(read)}
    return tuple(sorted(once.values(), key=lambda pin: (places[pin.component], pin.constraint.text)))


def _conflict(problem: Problem, pins: tuple[Pin, ...], wanted: tuple[str, ...]) -> Conflict:
    if not holds(problem, pins, ()):
        raise AiHowError(
            "the facts leave no set at all, whatever the pins", evidence=f"wanted together: {', '.join(wanted)}"
        )
    ways, complete = _ways_to_give_up(problem, pins)
    cores = _hitting_sets(ways) if complete else _shrunk_cores(problem, pins, ways)
    found = [way_out(problem, pins, way) for way in ways[:MAX_COMPARED]]
    found.sort(key=lambda way: (len(way.changes), way.distance))
    same = sum(len(way.changes) == len(found[0].changes) for way in found)
    return Conflict(
        pins=pins,
        cores=tuple(tuple(pins[i] for i in core) for core in cores),
        ways_out=tuple(found[: max(3, min(same, 5))]),
        complete=complete,
        problem=problem,
        wanted=wanted,
    )


Places = tuple[int, ...]


def holds(problem: Problem, pins: Sequence[Pin], places: Iterable[int]) -> bool:
    """Whether the pins at these places hold together."""
    return problem.search(problem.with_pins(pins[i] for i in places)) is not None


def shrink(problem: Problem, pins: Sequence[Pin], places: Places) -> Places:
    """A core within pins that clash: drop every pin without which the others still clash."""
    core = list(places)
    for place in places:
        rest = [i for i in core if i != place]
        if not holds(problem, pins, rest):
            core = rest
    return tuple(core)


def _ways_to_give_up(problem: Problem, pins: Sequence[Pin]) -> tuple[list[Places], bool]:
    """All smallest sets of pins without which the rest holds, fewest first; whether there are no more."""
    cores: list[Places] = []
    ways: list[Places] = []
    level: list[Places] = [()]
    while level and (not ways or (len(ways) < MAX_WAYS and len(level) < MAX_WIDTH)):
        following: dict[Places, None] = {}
        for given_up in level:
            if any(set(way) <= set(given_up) for way in ways):
                continue
            core = next((known for known in cores if not set(known) & set(given_up)), None)
            if core is None:
                rest = tuple(i for i in range(len(pins)) if i not in given_up)
                if holds(problem, pins, rest):
                    ways.append(given_up)
                    continue
                core = shrink(problem, pins, rest)
                cores.append(core)
            following.update(dict.fromkeys(tuple(sorted((*given_up, i))) for i in core))
        level = list(following)
    return ways, not level


def _hitting_sets(ways: Sequence[Places]) -> list[Places]:
    """The cores: the smallest sets that share a pin with every way out, fewest pins first."""
    found: list[Places] = [()]
    for way in ways:
        extended = {tuple(sorted({*core, i})) for core in found for i in way if not set(core) & set(way)}
        extended |= {core for core in found if set(core) & set(way)}
        found = [core for core in extended if not any(set(other) < set(core) for other in extended)]
    return sorted(found, key=lambda core: (len(core), core))


def _shrunk_cores(problem: Problem, pins: Sequence[Pin], ways: Sequence[Places]) -> list[Places]:
    """Some cores, where there are too many ways out to know all: one for each pin of the first ways."""
    cores = {
        shrink(problem, pins, tuple(i for i in range(len(pins)) if i not in set(way) - {kept}))
        for way in ways[:3]
        for kept in way
    }
    return sorted(cores, key=lambda core: (len(core), core))


def way_out(problem: Problem, pins: Sequence[Pin], given_up: Places) -> WayOut:
    """The set nearest to the pins that give way: the nearest series of versions, the newest in it; then the newest."""
    kept = problem.with_pins(pins[i] for i in range(len(pins)) if i not in given_up)
    if kept is None:
        raise ValueError("the other pins clash still")
    orders = [_by_nearness(problem, pins[i], kept) for i in given_up]
    best: list[tuple[int, Domains]] = []
    _nearest(problem, kept, orders, 0, best)
    versions = problem.answer(best[0][1])
    changes = tuple((pins[i], versions.get(pins[i].component)) for i in given_up)
    return WayOut(changes=changes, versions=versions, distance=best[0][0])


Choice = tuple[int, int, int]
"""How far from the pin, the component's place, the versions' bits."""


def _by_nearness(problem: Problem, pin: Pin, kept: Domains) -> list[Choice]:
    i, asked = problem.mask(pin)
    versions = problem.component(i).versions
    series = list(dict.fromkeys(parse_version(version).series for version in versions))
    place_of = {bit: series.index(parse_version(version).series) for bit, version in enumerate(versions, 1)}
    meant = {place for bit, place in place_of.items() if asked >> bit & 1} or {_place_of_unknown(pin, series)}
    choices = [
        (min(abs(at - place) for place in meant), i, 1 << bit) for bit, at in place_of.items() if kept[i] >> bit & 1
    ]
    # last of all, do without
    return [*sorted(choices, key=lambda choice: (choice[0], choice[2])), (LEFT_OUT, i, ABSENT)]


def _place_of_unknown(pin: Pin, series: list[tuple[str, tuple[int, ...]]]) -> int:
    """Where a version that no file knows would stand among the series."""
    asked = next(clause.version.series for clauses in pin.constraint.alternatives for clause in clauses)
    newer = [place for place, known in enumerate(series) if known[0] == asked[0] and known > asked]
    return newer[-1] if newer else 0


def _nearest(
    problem: Problem,
    domains: Domains,
    orders: Sequence[Sequence[Choice]],
    distance: int,
    best: list[tuple[int, Domains]],
) -> None:
    """Branch and bound over the pins that give way: the smallest sum of distances, the first found among equals.

    Each pin that is still to choose adds at least what its nearest version left adds, so most branches end at once.
    """
    if best and distance + _at_least(domains, orders) >= best[0][0]:
        return
    if not orders:
        found = problem.search(domains)
        if found is not None:
            best[:] = [(distance, found)]
        return
    for step, i, bits in orders[0]:
        if best and distance + step >= best[0][0]:
            return
        if domains[i] & bits:
            narrowed = problem.narrow([*domains[:i], domains[i] & bits, *domains[i + 1 :]], [i])
            if narrowed is not None:
                _nearest(problem, narrowed, orders[1:], distance + step, best)


def _at_least(domains: Domains, orders: Sequence[Sequence[Choice]]) -> int:
    return sum(next((step for step, i, bits in order if domains[i] & bits), LEFT_OUT) for order in orders)
