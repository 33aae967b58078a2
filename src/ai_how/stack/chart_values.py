"""Which values a Helm chart knows, and whether what it is told is among them.

A misspelt value is silently nothing to Helm. Known is what a chart's own ``values.yaml`` names or its templates ask
for, and those of its subcharts under their names. The keys of the release sets' charts are kept here as data, so that
the check always runs; those of any other version are read from the chart itself, once it is at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from ai_how.errors import SpecError
from ai_how.site.words import either, nearest
from ai_how.stack.objects import Chart

Keys = dict[str, "Keys | None"]
"""A mapping's keys; None: whatever is below is the program's own, and the chart does not name it."""
KeyPath = tuple[str, ...]
_ASKED = re.compile(r"\.Values\.([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)")


FREE: Mapping[str, tuple[KeyPath, ...]] = {
    "kube-prometheus-stack": (("alertmanager", "config"), ("grafana", "grafana.ini")),
}
"""Values that a chart hands on to a program as they are, though it has some of its own, by chart."""


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """A value that a chart does not know, and those that it may be a slip of."""

    path: KeyPath
    near: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join(self.path) + (f": unknown, did you mean {either(self.near)}?" if self.near else ": unknown")


def unknown_values(values: Mapping[str, Any], known: Keys, *, chart: str = "") -> tuple[Unknown, ...]:
    """Those of the values that are not known, each with the nearest. Pure."""
    return tuple(_unknown(values, known, (), FREE.get(chart, ())))


def _unknown(values: Mapping[str, Any], known: Keys, at: KeyPath, free: tuple[KeyPath, ...]) -> Iterator[Unknown]:
    for key, value in values.items():
        path = (*at, key)
        if key not in known:
            yield Unknown(path=path, near=tuple(nearest(key, known)[:3]))
            continue
        below = known[key]
        if isinstance(value, Mapping) and value and below is not None and path not in free:
            yield from _unknown(value, below, path, free)


def check_values(chart: Chart, known: Keys) -> None:
    """Refuse to tell a chart what it would not hear.

    Raises:
        SpecError: a value is unknown to it; the evidence lists each with the nearest.
    """
    wrong = unknown_values(chart.values, known, chart=chart.release)
    if wrong:
        names = ", ".join(".".join(each.path) for each in wrong)
        raise SpecError(
            f"chart {chart.name} {chart.version} has no {'value' if len(wrong) == 1 else 'values'} {names}",
            evidence="\n".join(map(str, wrong)),
            next_step=f"correct stack.values.{chart.release} in the site file; see the chart's values.yaml",
        )


def check_known_values(charts: Iterable[Chart]) -> None:
    """As ``check_values``, for those whose keys are kept here; the others are checked once they are at hand.

    Raises:
        SpecError: a value is unknown to its chart.
    """
    for chart in charts:
        known = known_keys(chart)
        if known is not None:
            check_values(chart, known)


def known_keys(chart: Chart) -> Keys | None:
    """The keys of a chart's version that are kept here; None where that version was not read."""
    file = files("ai_how.stack").joinpath("data", "values", f"{chart.name}-{chart.version}.txt")
    return parse_keys(file.read_text(encoding="utf-8")) if file.is_file() else None


def chart_keys(folder: Traversable) -> Keys:
    """The keys of an unpacked chart, its subcharts' under their names.

    Raises:
        SpecError: the folder holds no chart.
    """
    text = folder.joinpath("values.yaml")
    if not text.is_file():
        raise SpecError(
            f"{folder} is no unpacked chart", evidence="it has no values.yaml", next_step="helm pull --untar"
        )
    keys = keys_of(_yaml(text.read_text(encoding="utf-8")))
    for template in _files(folder.joinpath("templates")):
        if template.name.endswith((".yaml", ".yml", ".tpl")):
            for asked in _ASKED.findall(template.read_bytes().decode("utf-8", errors="replace")):
                _add(keys, asked.split("."))
    for sub in _sorted(folder.joinpath("charts")):
        if sub.joinpath("values.yaml").is_file():
            mine = keys.get(sub.name)
            keys[sub.name] = _merged(chart_keys(sub), mine if mine is not None else {})
    return keys


def _sorted(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda entry: entry.name) if folder.is_dir() else []


def _files(folder: Traversable) -> Iterator[Traversable]:
    for entry in _sorted(folder):
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def _add(keys: Keys, path: list[str]) -> None:
    """Take in a value that a template asks for; what is below it is not known."""
    here: Keys | None = keys
    for key in path[:-1]:
        if here is None or key not in here:
            break
        here = here[key]
    else:
        if here is not None:
            here.setdefault(path[-1], None)


def _yaml(text: str) -> Mapping[str, Any]:
    from ruamel.yaml import YAML

    found: Mapping[str, Any] = YAML(typ="safe", pure=True).load(text) or {}
    return found


def keys_of(values: Mapping[str, Any]) -> Keys:
    """The keys of a chart's own values: below an empty mapping, or nothing at all, anything may stand."""
    return {str(key): _below(value) for key, value in values.items()}


def _below(value: Any) -> Keys | None:
    if isinstance(value, Mapping):
        return keys_of(value) if value else None
    return None if value is None else {}


def _merged(one: Keys, other: Keys) -> Keys:
    result = dict(one)
    for key, below in other.items():
        mine = result.get(key, below)
        result[key] = None if mine is None or below is None else _merged(mine, below)
    return result


def keys_text(keys: Keys) -> str:
    """Keys as text: one a line, a space deeper for each level, a star where anything may stand below."""
    return "".join(f"{line}\n" for line in _lines(keys, 0))


def _lines(keys: Keys, depth: int) -> Iterator[str]:
    for key in sorted(keys):
        below = keys[key]
        yield " " * depth + key + (" *" if below is None else "")
        yield from _lines(below or {}, depth + 1)


def parse_keys(text: str) -> Keys:
    """Keys from text; lines that begin with # are comments."""
    root: Keys = {}
    open_: list[Keys] = [root]
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        depth = len(line) - len(line.lstrip(" "))
        key, _, star = line.strip().partition(" ")
        below: Keys = {}
        open_[depth][key] = None if star else below
        del open_[depth + 1 :]
        open_.append(below)
    return root
