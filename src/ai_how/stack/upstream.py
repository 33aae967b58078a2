"""Which chart, image and manifest each version of a component is. Reads its own data file, otherwise pure.

An image is named by tag and, where somebody has read it, by digest; a site's own image comes before ours.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ai_how.errors import SpecError
from ai_how.releases.pins import parse_version
from ai_how.stack.objects import Chart
from ai_how.stack.part import Manifest
from ai_how.stack.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program in an archive: ``member`` is its name there, ``since`` the oldest version that will do."""

    name: str
    version: str
    since: str
    url: str
    member: str
    sha256: str


@cache
def _data() -> dict[str, Any]:
    text = files("ai_how.stack").joinpath("data", "upstream.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def known(kind: str) -> tuple[str, ...]:
    """The names of ``charts``, ``images`` or ``manifests`` that there are facts of."""
    return tuple(_data()[kind])


def at_least(version: str, floor: str) -> bool:
    """Whether a version is a floor or newer."""
    return parse_version(version) >= parse_version(floor)


def chart(
    name: str, setting: Setting, *, namespace: str, values: Mapping[str, Any], needs: tuple[str, ...] = ()
) -> Chart:
    """A chart at the version that belongs to the setting's, with the site's own values over ours.

    Raises:
        SpecError: no chart of that component's version is known.
    """
    facts = _data()["charts"][name]
    version = setting.version(facts["component"])
    published = name
    for since, other in facts.get("named", {}).items():
        published = other if at_least(version, since) else published
    return Chart(
        name=published,
        release=name,
        namespace=namespace,
        repository=facts["repository"],
        version=_chart_version(name, facts, version),
        values=merged(values, setting.stack.values.get(name, {})),
        needs=needs,
    )


def _chart_version(name: str, facts: Mapping[str, Any], version: str) -> str:
    if "version" in facts:
        return str(facts["version"].format(version=version))
    if version not in facts["versions"]:
        raise SpecError(
            f"no chart of {name} {version} is known",
            evidence=f"known are: {', '.join(facts['versions'])}",
            next_step=f"pin one of these in the site file: pins: {{{facts['component']}: ...}}",
        )
    return str(facts["versions"][version])


def image(name: str, setting: Setting) -> str:
    """The image to run: the site's own, or that of the component's version, with its digest where it is known.

    Raises:
        SpecError: that version's image cannot be used.
    """
    if name in setting.stack.images:
        return setting.stack.images[name]
    facts = _data()["images"][name]
    version = setting.version(facts["component"], facts.get("default", "")) if "{version}" in facts["reference"] else ""
    if "since" in facts and not at_least(version, facts["since"]):
        raise SpecError(
            f"the image of {name} {version} cannot be used",
            evidence=facts["why"],
            next_step=f'write pins: {{{facts["component"]}: ">={facts["since"]}"}} or stack.images.{name}',
        )
    tag = facts.get("tags", {}).get(version, version)
    reference = str(facts["reference"].format(version=tag))
    digest = _data()["digests"].get(reference, "")
    return f"{reference}@{digest}" if digest else reference


def manifest(name: str, setting: Setting) -> Manifest:
    """The published file of a component's version."""
    facts = _data()["manifests"][name]
    version = setting.version(facts["component"])
    return Manifest(name=name, url=facts["url"].format(version=version), sha256=facts["sha256"].get(version, ""))


def tool(name: str, *, machine: str) -> Tool:
    """A program that installs the stack, for a kind of processor: ``amd64`` or ``arm64``."""
    facts = _data()["tools"][name]
    words = {"version": facts["version"], "machine": machine}
    return Tool(
        name=name,
        version=facts["version"],
        since=facts["since"],
        url=facts["url"].format(**words),
        member=facts["member"].format(**words),
        sha256=facts["sha256"][machine],
    )


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others over them, as Helm merges: mappings key by key, everything else as a whole."""
    result = dict(ours)
    for key, value in theirs.items():
        mine = result.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        result[key] = merged(mine, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return result
