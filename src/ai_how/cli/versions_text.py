"""The words and tables of ``ai-how versions``: answers of the library as data, data as text in 80 columns."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from ai_how.cli.output import print_table, wrap
from ai_how.releases.ageing import Notice, notices, supported_until
from ai_how.releases.conflict import Conflict, Solution
from ai_how.releases.explain import explain
from ai_how.releases.files import load_world
from ai_how.releases.sets import ReleaseSet, departures, load_document, needed_by
from ai_how.releases.world import Component, Need


def wrapped(text: str, indent: str = "", first: str | None = None) -> None:
    """Print a paragraph in 80 columns."""
    for line in wrap(text, first=indent if first is None else first, hanging=indent):
        click.echo(line)


def set_data(release_set: ReleaseSet, on: datetime.date) -> dict[str, Any]:
    """A release set as data, with its warnings on a date."""
    return {
        "name": release_set.name,
        "title": release_set.title,
        "summary": release_set.summary,
        "checked": str(release_set.checked),
        "versions": dict(release_set.versions),
        "supported_until": _supported_until(release_set.versions),
        "gives_way": [{"pin": pin, "takes": takes, "why": why} for pin, takes, why in release_set.gives_way],
        "departs_from_upstream": [asdict(each) for each in departures(load_world(), release_set.versions)],
        "notes": list(release_set.notes),
        "notices": [_notice_data(notice) for notice in notices(load_world(), release_set.versions, on)],
    }


def _supported_until(versions: Mapping[str, str]) -> dict[str, str | None]:
    world = load_world()
    ends = {name: supported_until(world.find(name), version) for name, version in versions.items()}
    return {name: str(end) if end else None for name, end in ends.items()}


def _notice_data(notice: Notice) -> dict[str, str]:
    return {
        "component": notice.component,
        "version": notice.version,
        "since": str(notice.since),
        "text": notice.text,
        "source": notice.source,
    }


def solution_data(solution: Solution, found: Sequence[Notice]) -> dict[str, Any]:
    """A set that holds, as data."""
    return {
        "pins": [str(pin) for pin in solution.pins],
        "versions": dict(solution.versions),
        "supported_until": _supported_until(solution.versions),
        "notices": [_notice_data(notice) for notice in found],
    }


def conflict_data(conflict: Conflict) -> dict[str, Any]:
    """Pins that clash, as data."""
    return {
        "pins": [str(pin) for pin in conflict.pins],
        "conflicts": [
            {
                "pins": [str(pin) for pin in core],
                "demanded_by": {str(pin): pin.origin for pin in core if pin.origin},
                "because": [{"text": each.text, "sources": list(each.sources)} for each in statements],
            }
            for core, statements in zip(conflict.cores, explain(conflict), strict=True)
        ],
        "all_conflicts_listed": conflict.complete,
        "ways_out": [
            {
                "changes": [{"pin": str(pin), "component": pin.component, "to": to} for pin, to in way.changes],
                "versions": dict(way.versions),
            }
            for way in conflict.ways_out
        ],
    }


def component_data(component: Component, release_set: ReleaseSet) -> dict[str, Any]:
    """What is known of a component in a release set."""
    version = release_set.versions.get(component.name)
    release = component.release(version) if version else component.releases[0]
    world = load_world()
    end = supported_until(component, release.version)
    return {
        "component": component.name,
        "title": component.title,
        "release_set": release_set.name,
        "in_set": version is not None,
        "version": release.version,
        "released": str(release.released) if release.released else None,
        "supported_until": str(end) if end else None,
        "needs": [{"component": need.component, **_need_data(need)} for need in release.needs],
        "needed_by": [
            {"component": other, "version": theirs, **_need_data(need)}
            for other, theirs, need in needed_by(world, component.name, release_set.versions)
        ],
        "tested_with": dict(release.tested_with),
        "notes": [*release.notes, *component.notes],
        "source": release.source,
        "read": str(release.read),
        "known_versions": list(component.versions),
    }


def _need_data(need: Need) -> dict[str, str]:
    return {"kind": need.kind, "takes": need.text, "source": need.source}


def elsewhere() -> dict[str, str]:
    """What the resource requirements name that is no version here."""
    return dict(load_document().elsewhere)


def print_sets(sets: Sequence[ReleaseSet]) -> None:
    """Print the release sets, one a line."""
    print_table(("SET", "CHECKED", "SUMMARY"), [(each.name, each.checked, each.summary) for each in sets])


def print_set(release_set: ReleaseSet, on: datetime.date) -> None:
    """Print one release set: its versions, what gave way, its warnings."""
    data = set_data(release_set, on)
    click.echo(f"Release set {release_set.name}, checked {release_set.checked}")
    print_versions(data["versions"], data["supported_until"])
    if data["gives_way"]:
        click.echo("\nWhat had to give way:")
        for entry in data["gives_way"]:
            wrapped(f"{entry['pin']} -> {entry['takes']}: {entry['why']}", "    ", "  ")
    if data["departs_from_upstream"]:
        click.echo("\nOther versions than the authors' own tests use:")
        for entry in data["departs_from_upstream"]:
            wrapped(_departure(entry), "    ", "  ")
    for note in data["notes"]:
        click.echo()
        wrapped(note)
    _print_notices(data["notices"], str(on))


def _departure(entry: Mapping[str, Any]) -> str:
    world = load_world()
    title, other = (world.find(entry[key]).title for key in ("component", "other"))
    clashes = " and ".join(f"{world.find(name).title} {version}" for name, version in entry["clashes_with"].items())
    why = f", for {other} {entry['tested']} does not go with {clashes}" if clashes else ""
    return f"{title} is tested with {other} {entry['tested']}; the set has {entry['has']}{why}"


def print_versions(versions: Mapping[str, str], ends: Mapping[str, str | None]) -> None:
    """Print versions, one component a line."""
    rows = [(name, version, ends[name] or "unknown") for name, version in versions.items()]
    print_table(("COMPONENT", "VERSION", "SUPPORTED UNTIL"), rows)


def _print_notices(found: Sequence[Mapping[str, str]], on: str) -> None:
    if found:
        click.echo(f"\nWarnings on {on}:")
    for notice in found:
        wrapped(notice["text"], "    ", "  ")


def print_check(data: Mapping[str, Any], *, release: str | None) -> None:
    """Print the answer of a check."""
    if "conflicts" in data:
        _print_conflict(data)
        return
    what = f"The release set {release} fits together." if release else "The pins fit together. The newest set:"
    click.echo(what)
    print_versions(data["versions"], data["supported_until"])
    _print_notices(data["notices"], data["on"])


def _print_conflict(data: Mapping[str, Any]) -> None:
    count = len(data["conflicts"])
    total = len(data["pins"])
    what = "This pin does not fit" if total == 1 else f"These {total} pins do not fit together"
    click.echo(f"{what}: {count} conflict{'s' if count > 1 else ''}.")
    sources: dict[str, int] = {}
    for number, conflict in enumerate(data["conflicts"], 1):
        click.echo(f"\n{number}. {' and '.join(conflict['pins'])}")
        for statement in conflict["because"]:
            marks = [sources.setdefault(source, len(sources) + 1) for source in statement["sources"]]
            wrapped(statement["text"] + (f" {marks}" if marks else ""), "     ", "   ")
    if not data["all_conflicts_listed"]:
        click.echo("\nThere are more conflicts; these are the first.")
    click.echo("\nWays out, the smallest change first:")
    for number, way in enumerate(data["ways_out"]):
        _print_way_out(way, "abcdefgh"[number])
    click.echo("\nSources:")
    for source, number in sources.items():
        wrapped(source, "      ", f"  [{number}] ")


def _print_way_out(way: Mapping[str, Any], letter: str) -> None:
    changes = [f"{change['pin']} -> {change['to'] or 'left out'}" for change in way["changes"]]
    click.echo()
    wrapped(", ".join(changes), "   ", f"{letter}. ")
    changed = {change["component"] for change in way["changes"]}
    world = load_world()
    shown = [
        f"{world.find(name).title} {version}"
        for name, version in way["versions"].items()
        if world.find(name).group == "cluster" and name not in changed
    ]
    wrapped("with " + ", ".join(shown), "   ")
    if way["command"]:
        wrapped(way["command"], "     ", "   ")


def print_component(data: Mapping[str, Any]) -> None:
    """Print what is known of a component."""
    where = f"in release set {data['release_set']}" if data["in_set"] else f"not in release set {data['release_set']}"
    click.echo(f"{data['title']} {data['version']} ({where})")
    rows = [
        ("released", data["released"] or "unknown"),
        ("supported until", data["supported_until"] or "unknown"),
    ]
    for label, value in rows:
        click.echo(f"  {label:<16} {value}")
    for label, key in (("Needs", "needs"), ("Needed by", "needed_by")):
        if data[key]:
            click.echo(f"\n{label}:")
        for entry in data[key]:
            version = f" {entry['version']}" if "version" in entry else ""
            wrapped(f"{entry['component']}{version}: {entry['kind']} {entry['takes']}", "    ", "  ")
            wrapped(entry["source"], "      ", "    ")
    if data["tested_with"]:
        tested = ", ".join(f"{name} {version}" for name, version in data["tested_with"].items())
        click.echo()
        wrapped(f"Its authors test it with {tested}.")
    for note in data["notes"]:
        click.echo()
        wrapped(note)
    click.echo()
    wrapped(f"Source: {data['source']} (read {data['read']})", "  ", "")
    wrapped("Known versions: " + ", ".join(data["known_versions"]), "  ", "")


def print_elsewhere() -> None:
    """Print what the resource requirements name that is no version here."""
    click.echo("\nNot a matter of versions here:")
    for what, why in elsewhere().items():
        wrapped(f"{what}: {why}", "    ", "  ")
