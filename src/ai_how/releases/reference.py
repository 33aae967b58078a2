"""Writes the reference page of the release sets from the data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ai_how.releases.sets import ReleaseSet
from ai_how.releases.world import Component, Release, World

_INTRODUCTION = """\
# Release sets and version facts

What `ai-how versions` knows. This page is written from `src/ai_how/releases/data`:
`UPDATE_GOLDEN=1 pytest tests/golden`. How to use it: [choose versions](../how-to/choose-versions.md).

Every fact stands in a data file with its source and the date on which it was read. `ai-how versions explain COMPONENT`
prints both. "-" means that no source says.
"""


def render_reference(world: World, sets: Sequence[ReleaseSet]) -> str:
    """The reference page, in Markdown."""
    parts = [
        _INTRODUCTION,
        "## Release sets\n",
        _sets(world, sets),
        "\n## Kubespray releases\n",
        "A range is what the release has checksums for, so can install; in brackets, what it installs by itself.\n",
        _kubespray(world.components["kubespray"]),
        "\n## Components\n",
        _components(world),
        "\n## Ends of life\n",
        _lifecycles(world),
    ]
    return "\n".join(parts) + "\n"


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *rest = rows
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (head, ("---",) * len(head), *rest))


def _cell(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def _sets(world: World, sets: Sequence[ReleaseSet]) -> str:
    names = [name for name in world.components if any(name in each.versions for each in sets)]
    rows = [("component", *(each.name for each in sets))]
    rows += [(f"`{name}`", *(each.versions.get(name, "-") for each in sets)) for name in names]
    given = [
        f"\n`{each.name}` cannot keep `{pin}` and takes {takes}: {why}"
        for each in sets
        for pin, takes, why in each.gives_way
    ]
    return "\n".join([_table(rows), *given])


def _kubespray(component: Component) -> str:
    rows: list[tuple[str, ...]] = [
        ("release", "date", "Kubernetes", "containerd", "Calico", "guests", "ansible-core", "Python")
    ]
    rows += [
        (
            release.version,
            str(release.released),
            *(_range(release, name) for name in ("kubernetes", "containerd", "calico")),
            _guests(release),
            *(_constraint(release, name) for name in ("ansible-core", "python")),
        )
        for release in component.releases
    ]
    return _table(rows)


def _offered(release: Release, name: str) -> frozenset[str]:
    return next((need.versions for need in release.needs if need.component == name and need.versions), frozenset())


def _range(release: Release, name: str) -> str:
    from ai_how.releases.pins import parse_version

    versions = sorted(_offered(release, name), key=parse_version)
    default = dict(release.defaults).get(name, "-")
    return f"{versions[0]} to {versions[-1]} ({default})" if versions else "-"


def _guests(release: Release) -> str:
    return ", ".join(sorted(_offered(release, "guest"), reverse=True))


def _constraint(release: Release, name: str) -> str:
    return next((need.text for need in release.needs if need.component == name), "-")


def _components(world: World) -> str:
    rows = [("component", "what", "versions", "what it needs")]
    offered = {need.component for release in world.components["kubespray"].releases for need in release.needs}
    for name, component in world.components.items():
        if name == "kubespray" or (name in offered and len(component.releases) > 10):
            continue
        for release in component.releases:
            needs = "; ".join(f"{need.component} {need.text}" for need in release.needs if need.constraint)
            rows.append((f"`{name}`", component.title, release.version, needs or "-"))
    return _table(rows)


def _lifecycles(world: World) -> str:
    rows = [("component", "versions", "end of life", "source")]
    for name, component in world.components.items():
        if component.unmaintained:
            gone = component.unmaintained
            rows.append((f"`{name}`", "all", f"{gone.since}, {gone.reason}", gone.source))
        for cycle in component.lifecycles:
            note = f" ({cycle.note})" if cycle.note else ""
            rows.append((f"`{name}`", cycle.constraint.text.removeprefix("="), f"{cycle.end}{note}", cycle.source))
    return _table(rows)
