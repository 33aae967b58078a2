"""Small worlds of versions for tests, and an answer by trying every combination."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from hypothesis import strategies as st

from ai_how.releases.pins import Pin, make_pin, parse_constraint
from ai_how.releases.world import Component, Need, Release, World

DAY = datetime.date(2026, 1, 1)
NAMES = ("alpha", "beta", "gamma", "delta")
VERSIONS = ("1.0", "1.1", "2.0", "2.1", "3.0")
CONSTRAINTS = ("", "=1", "=2.0", ">=1.1", ">=2", "<2", "<=2.0", "!=2", ">1.0,<3", "=1.0|>=2.1")

# component -> version -> (component, constraint) it needs
Facts = Mapping[str, Mapping[str, tuple[tuple[str, str], ...]]]


def make_world(facts: Facts) -> World:
    """A world from component -> version -> needs; the versions newest first."""
    return World(
        components={
            name: Component(
                name=name,
                title=name.title(),
                group="test",
                order=place,
                releases=tuple(
                    Release(
                        version=version,
                        source=f"{name} {version}",
                        read=DAY,
                        needs=tuple(
                            Need(
                                component=other,
                                kind="needs",
                                text=text,
                                constraint=parse_constraint(text),
                                source=f"{name} {version} about {other}",
                            )
                            for other, text in needs
                        ),
                    )
                    for version, needs in sorted(versions.items(), reverse=True)
                ),
            )
            for place, (name, versions) in enumerate(facts.items())
        }
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Random worlds of two to four components."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    facts: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {}
    for name in names:
        others = st.sampled_from([other for other in names if other != name])
        needs = st.lists(st.tuples(others, st.sampled_from(CONSTRAINTS)), max_size=2).map(tuple)
        facts[name] = draw(st.dictionaries(st.sampled_from(VERSIONS), needs, min_size=1, max_size=4))
    return make_world(facts)


@st.composite
def questions(draw: st.DrawFn) -> tuple[World, tuple[str, ...], list[Pin]]:
    """A world, the components that must be there, and pins."""
    world = draw(worlds())
    names = list(world.components)
    wanted = tuple(draw(st.lists(st.sampled_from(names), unique=True)))
    pins = st.builds(make_pin, st.sampled_from(names), st.sampled_from(CONSTRAINTS))
    return world, wanted, draw(st.lists(pins, max_size=5))


def is_whole(world: World, versions: Mapping[str, str], wanted: Iterable[str], pins: Iterable[Pin]) -> bool:
    """Whether versions satisfy the facts, the pins and what is wanted."""
    needs = [
        (need.component, need) for name, version in versions.items() for need in world.find(name).release(version).needs
    ]
    return (
        all(name in versions for name in wanted)
        and all(other in versions and need.matches(versions[other]) for other, need in needs)
        and all(pin.component in versions and pin.constraint.matches(versions[pin.component]) for pin in pins)
    )


def every_set(world: World) -> Iterator[dict[str, str]]:
    """All combinations, the most preferred first: nothing before the newest before the oldest."""
    choices = [[None, *component.versions] for component in world.components.values()]
    for combination in product(*choices):
        yield {name: version for name, version in zip(world.components, combination, strict=True) if version}


def by_trying(world: World, wanted: Iterable[str], pins: Iterable[Pin]) -> dict[str, str] | None:
    """The best set, found the slow way."""
    wanted, pins = tuple(wanted), tuple(pins)
    return next((versions for versions in every_set(world) if is_whole(world, versions, wanted, pins)), None)
