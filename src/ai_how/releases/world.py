"""The world of versions: components, their versions, what each version needs of others. Pure data, no search."""

from __future__ import annotations

import datetime
import difflib
from dataclasses import dataclass, field
from typing import Literal

from ai_how.errors import NotFoundError, SpecError
from ai_how.releases.pins import Constraint, Pin, parse_version


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one version wants of another component. ``offers``: it brings exactly these; ``needs``: it works with them.

    ``matches`` decides; ``text`` is how people write it.
    """

    component: str
    kind: Literal["offers", "needs"]
    text: str
    source: str
    versions: frozenset[str] | None = None
    constraint: Constraint | None = None

    def matches(self, version: str) -> bool:
        """Whether a version of the other component will do."""
        if self.versions is not None:
            return version in self.versions
        return self.constraint is None or self.constraint.matches(version)


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version of a component, with its facts. ``commit`` is its tag's; empty where it is not known."""

    version: str
    source: str
    read: datetime.date
    released: datetime.date | None = None
    needs: tuple[Need, ...] = ()
    tested_with: tuple[tuple[str, str], ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    commit: str = ""


@dataclass(frozen=True, kw_only=True)
class Lifecycle:
    """Until when its authors care for some versions."""

    constraint: Constraint
    end: datetime.date
    source: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Unmaintained:
    """Since when nobody cares for a component at all."""

    since: datetime.date
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """A thing that has versions; ``releases`` newest first."""

    name: str
    title: str
    group: str
    order: int
    releases: tuple[Release, ...]
    aliases: tuple[str, ...] = ()
    lifecycles: tuple[Lifecycle, ...] = ()
    unmaintained: Unmaintained | None = None
    notes: tuple[str, ...] = ()

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(release.version for release in self.releases)

    def release(self, version: str) -> Release:
        """The facts of a version.

        Raises:
            NotFoundError: no file knows it.
        """
        wanted = parse_version(version)
        for release in self.releases:
            if parse_version(release.version) == wanted:
                return release
        raise NotFoundError(
            f"{self.title} {version} is not among the facts",
            evidence=f"known: {', '.join(self.versions)}",
            next_step=f"ai-how versions explain {self.name}",
        )


@dataclass(frozen=True, kw_only=True)
class World:
    """All components by name, in the order in which the newest version is preferred."""

    components: dict[str, Component] = field(hash=False)

    def find(self, name: str) -> Component:
        """The component of a name or an alias.

        Raises:
            NotFoundError: there is none; the evidence names the nearest.
        """
        if name in self.components:
            return self.components[name]
        names = {alias: known.name for known in self.components.values() for alias in (known.name, *known.aliases)}
        if name in names:
            return self.components[names[name]]
        near = dict.fromkeys(names[match] for match in difflib.get_close_matches(name, names, n=3))
        raise NotFoundError(
            f"{name!r} is no component whose versions are known",
            evidence=f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(self.components)}",
            next_step="see them all: ai-how versions show current",
        )

    def resolve(self, pin: Pin) -> Pin:
        """The pin with the component's own name in place of an alias.

        Raises:
            NotFoundError: as ``find``.
            SpecError: it compares versions of another kind (``guest>=13`` for ``debian-13``).
        """
        component = self.find(pin.component)
        families = {parse_version(version).family for version in component.versions}
        for clause in (clause for clauses in pin.constraint.alternatives for clause in clauses):
            if clause.version.family not in families:
                raise SpecError(
                    f"{pin} compares with a version of another kind",
                    evidence=f"versions of {component.name}: {', '.join(component.versions[:5])}, ...",
                    next_step=f"write it like {component.name}={component.versions[0]}",
                )
        return Pin(component.name, pin.constraint, pin.origin)
