"""Named release sets: versions that were chosen together, read from ``data/sets``; and the document's pins."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ai_how.errors import NotFoundError
from ai_how.releases.files import data_folder, read_file, toml_files
from ai_how.releases.pins import Pin, make_pin, parse_pin
from ai_how.releases.schema import DocumentFile, SetFile

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
