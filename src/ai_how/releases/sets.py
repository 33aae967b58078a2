"""Named release sets: versions that were chosen together, read from ``data/sets``; and the document's pins."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ai_how.errors import NotFoundError
from ai_how.releases.files import data_folder, read_file, toml_files
from ai_how.releases.pins import Pin, make_pin, parse_pin
from ai_how.releases.schema import DocumentFile, SetFile
from ai_how.releases.world import Component, Need, World

DEFAULT_SET = "current"


@dataclass(frozen=True, kw_only=True)
class ReleaseSet:
    """Versions by component, and what had to give way for them: (pin, version taken, why)."""

    name: str
    title: str
    summary: str
    checked: datetime.date
    versions: Mapping[str, str]
    gives_way: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def pins(self) -> tuple[Pin, ...]:
        """The set as pins, so that the solver can check it."""
        return tuple(make_pin(name, version, f"release set {self.name}") for name, version in self.versions.items())


@dataclass(frozen=True, kw_only=True)
class Document:
    """What the resource requirements pin: (pin, table), and what of them other commands check."""

    title: str
    dated: datetime.date
    pins: tuple[tuple[Pin, str], ...]
    elsewhere: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A component whose authors test with another version than the set has, and what of the set that clashes with."""

    component: str
    other: str
    tested: str
    has: str
    clashes_with: Mapping[str, str]


def set_names() -> tuple[str, ...]:
    """The names of the release sets, the default first."""
    names = [path.name.removesuffix(".toml") for path in toml_files(data_folder().joinpath("sets"))]
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_SET, name)))


@cache
def load_set(name: str = DEFAULT_SET) -> ReleaseSet:
    """A release set by its name.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in set_names():
        raise NotFoundError(
            f"there is no release set {name!r}",
            evidence=f"there are: {', '.join(set_names())}",
            next_step="ai-how versions",
        )
    file = read_file(data_folder().joinpath("sets", f"{name}.toml"), SetFile)
    return ReleaseSet(
        name=name,
        title=file.title,
        summary=file.summary,
        checked=file.checked,
        versions=file.versions,
        gives_way=tuple((entry.pin, entry.takes, entry.why) for entry in file.gives_way),
        notes=tuple(file.notes),
    )


@cache
def load_document() -> Document:
    """The pins that the resource requirements name."""
    file = read_file(data_folder().joinpath("document.toml"), DocumentFile)
    return Document(
        title=file.title,
        dated=file.dated,
        pins=tuple((parse_pin(entry.pin, f"resource requirements, {entry.table}"), entry.table) for entry in file.pin),
        elsewhere=file.elsewhere,
    )


def filled(pins: Sequence[Pin], layer: Sequence[Pin]) -> list[Pin]:
    """The pins, then those of a layer below for components that are not named yet."""
    named = {pin.component for pin in pins}
    return [*pins, *(pin for pin in layer if pin.component not in named)]


def departures(world: World, versions: Mapping[str, str]) -> tuple[Departure, ...]:
    """Where a set has other versions than upstream's own tests."""
    return tuple(
        Departure(
            component=name,
            other=other,
            tested=tested,
            has=versions[other],
            clashes_with=_clashes(world.find(other), tested, versions),
        )
        for name, version in versions.items()
        for other, tested in world.find(name).release(version).tested_with
        if other in versions and versions[other] != tested
    )


def _clashes(component: Component, version: str, versions: Mapping[str, str]) -> dict[str, str]:
    if version not in component.versions:
        return {}
    needs = component.release(version).needs
    return {
        need.component: versions[need.component]
        for need in needs
        if need.component in versions and not need.matches(versions[need.component])
    }


def needed_by(world: World, name: str, versions: Mapping[str, str]) -> tuple[tuple[str, str, Need], ...]:
    """What the components of a set want of one of them: (component, its version, the need)."""
    return tuple(
        (other, version, need)
        for other, version in versions.items()
        for need in world.find(other).release(version).needs
        if need.component == name
    )
