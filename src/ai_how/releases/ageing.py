"""What of a set has reached its end of life, or has been given up, on a date. Pure: the date is an argument."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from ai_how.releases.world import Component, World


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One warning about one version."""

    component: str
    version: str
    since: datetime.date
    text: str
    source: str


def supported_until(component: Component, version: str) -> datetime.date | None:
    """The last day of care for a version; None where no source says."""
    ends = [cycle.end for cycle in component.lifecycles if cycle.constraint.matches(version)]
    given_up = [component.unmaintained.since] if component.unmaintained else []
    return min([*ends, *given_up], default=None)


def notices(world: World, versions: Mapping[str, str], on: datetime.date) -> tuple[Notice, ...]:
    """What of these versions has no care any more on a date, the longest overdue first."""
    found = [notice for name, version in versions.items() for notice in _of(world.find(name), version, on)]
    return tuple(sorted(found, key=lambda notice: (notice.since, notice.component)))


def _of(component: Component, version: str, on: datetime.date) -> list[Notice]:
    found = []
    given_up = component.unmaintained
    if given_up and given_up.since <= on:
        text = f"{component.title} is unmaintained since {given_up.since}: {given_up.reason}"
        found.append((given_up.since, text, given_up.source))
    for cycle in component.lifecycles:
        if cycle.constraint.matches(version) and cycle.end <= on:
            note = f" ({cycle.note})" if cycle.note else ""
            text = f"{component.title} {version} reached its end of life on {cycle.end}{note}"
            found.append((cycle.end, text, cycle.source))
    return [
        Notice(component=component.name, version=version, since=since, text=text, source=source)
        for since, text, source in found
    ]
