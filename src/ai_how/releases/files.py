"""Loads the data files: TOML -> ``World``, or one error that names the file and every mistake in it.

Owns how files become facts: versions that Kubespray releases offer, needs that rules add, the order of versions.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ai_how.errors import SpecError
from ai_how.releases.pins import Version, parse_constraint, parse_version
from ai_how.releases.schema import ComponentFile, KubesprayFile, VersionEntry
from ai_how.releases.world import Component, Lifecycle, Need, Release, Unmaintained, World

KUBESPRAY = "kubespray"
Model = TypeVar("Model", bound=BaseModel)


def data_folder() -> Traversable:
    """The folder of the facts that this package brings."""
    return files("ai_how.releases").joinpath("data")


@cache
def load_world() -> World:
    """The facts that this package brings."""
    return read_world(data_folder())


def read_world(folder: Traversable) -> World:
    """Read a folder of facts: ``kubespray/*.toml``, one file a release, and ``components/*.toml``.

    Raises:
        SpecError: a file has mistakes; the evidence lists them all.
    """
    kubespray = [read_file(path, KubesprayFile) for path in toml_files(folder.joinpath(KUBESPRAY))]
    parsed = {path.name.removesuffix(".toml"): read_file(path, ComponentFile) for path in _component_files(folder)}
    offered = _offered(kubespray)
    _refuse_unknown(parsed, kubespray, offered)
    components = {
        name: _component(name, file, kubespray if name == KUBESPRAY else [], offered.get(name, {}))
        for name, file in sorted(parsed.items(), key=lambda item: (item[1].order, item[0]))
    }
    return World(components=components)


def read_file(path: Traversable, model: type[Model]) -> Model:
    """Read one data file.

    Raises:
        SpecError: it is no TOML, or not of the model's form.
    """
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path.name} is no TOML file", evidence=str(error)) from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc'])) or path.name}: {each['msg']}" for each in error.errors()]
        raise SpecError(
            f"{path.name} is not a file of facts as it should be",
            evidence="\n".join(lines),
            next_step="compare it with a file beside it; docs/how-to/choose-versions.md",
        ) from error


def toml_files(folder: Traversable) -> list[Traversable]:
    """The TOML files of a folder, by name."""
    found = [path for path in folder.iterdir() if path.name.endswith(".toml")]
    return sorted(found, key=lambda path: path.name)


def _component_files(folder: Traversable) -> list[Traversable]:
    return toml_files(folder.joinpath("components"))


def _offered(kubespray: list[KubesprayFile]) -> dict[str, dict[str, str]]:
    """component -> version -> the newest release that offers it."""
    offered: dict[str, dict[str, str]] = defaultdict(dict)
    for file in sorted(kubespray, key=lambda file: parse_version(file.version)):
        for component, offer in file.offers.items():
            offered[component].update(dict.fromkeys(offer.versions, file.source))
    return offered


def _refuse_unknown(
    parsed: Mapping[str, ComponentFile], kubespray: list[KubesprayFile], offered: Mapping[str, object]
) -> None:
    named = set(offered) | {name for file in kubespray for name in file.needs}
    for component in parsed.values():
        named |= {name for rule in component.rule for name in rule.needs}
        named |= {name for entry in component.version for name in (*entry.needs, *entry.tested_with)}
    unknown = sorted(named - set(parsed))
    if unknown:
        raise SpecError(
            f"the facts speak of components that have no file: {', '.join(unknown)}",
            next_step="add them to components/, or correct the names",
        )


def _component(name: str, file: ComponentFile, kubespray: list[KubesprayFile], offered: Mapping[str, str]) -> Component:
    entries = {parse_version(entry.version): entry for entry in file.version}
    releases = [_kubespray_release(release) for release in kubespray]
    releases += [_release(file, entry, offered) for entry in file.version]
    releases += [
        _release(file, VersionEntry(version=version, source=source), offered)
        for version, source in offered.items()
        if parse_version(version) not in entries
    ]
    listed = [parse_version(release.version) for release in releases]
    twice = {version for version in listed if listed.count(version) > 1} if len(set(listed)) < len(listed) else set()
    if twice or not releases:
        what = f"has {releases[listed.index(next(iter(twice)))].version} twice" if twice else "has no version"
        raise SpecError(f"component {name} {what}", next_step=f"correct components/{name}.toml")
    return Component(
        name=name,
        title=file.title,
        group=file.group,
        order=file.order,
        aliases=tuple(file.aliases),
        releases=tuple(sorted(releases, key=lambda release: _rank(release.version, file.families), reverse=True)),
        lifecycles=tuple(_lifecycles(file)),
        unmaintained=Unmaintained(**dict(file.unmaintained)) if file.unmaintained else None,
        notes=tuple(file.notes),
    )


def _rank(version: str, families: list[str]) -> tuple[int, Version]:
    """Where a version stands among the others: earlier families first, then the numbers."""
    parsed = parse_version(version)
    place = families.index(parsed.family) if parsed.family in families else len(families)
    return -place, parsed


def _lifecycles(file: ComponentFile) -> Iterator[Lifecycle]:
    for entry in file.lifecycle:
        source = file.lifecycle_source or file.source
        yield Lifecycle(constraint=parse_constraint(entry.versions), end=entry.end, source=source, note=entry.note)


def _kubespray_release(file: KubesprayFile) -> Release:
    offers = [
        Need(
            component=component,
            kind="offers",
            text=f"{len(offer.versions)} versions",
            versions=frozenset(offer.versions),
            source=f"{file.source}, {offer.file}",
        )
        for component, offer in file.offers.items()
    ]
    needs = [_need(component, need.constraint, f"{file.source}, {need.file}") for component, need in file.needs.items()]
    defaults = tuple((component, offer.default) for component, offer in file.offers.items() if offer.default)
    return Release(
        version=file.version,
        released=file.released,
        read=file.read,
        source=file.source,
        needs=(*offers, *needs),
        defaults=defaults,
        commit=file.commit or "",
    )


def _release(file: ComponentFile, entry: VersionEntry, offered: Mapping[str, str]) -> Release:
    source = entry.source or file.source
    needs = [_need(component, text, source) for component, text in entry.needs.items()]
    for rule in file.rule:
        if parse_constraint(rule.versions).matches(entry.version):
            needs += [_need(component, text, rule.source) for component, text in rule.needs.items()]
    if entry.version in offered:
        # what one installer brings, nobody else installs here
        needs.append(Need(component=KUBESPRAY, kind="needs", text="a release that offers it", source=source))
    return Release(
        version=entry.version,
        released=entry.released,
        read=file.read,
        source=source,
        needs=tuple(needs),
        tested_with=tuple(entry.tested_with.items()),
        notes=tuple(entry.notes),
    )


def _need(component: str, text: str, source: str) -> Need:
    return Need(component=component, kind="needs", text=text, constraint=parse_constraint(text), source=source)
