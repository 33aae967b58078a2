"""Types of Kubernetes kinds, read from the extracts in ``data/schemas``.

Owns the extracts' format: a line a type; a type names others by their line. ``scripts/kubernetes_schemas.py`` makes
them. Has all of an OpenAPI schema but its descriptions, defaults and CEL rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

CONSTRAINTS = (
    "type",
    "format",
    "nullable",
    "required",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
"""What of an OpenAPI schema is taken over as it is."""

LINKS = ("properties", "items", "additionalProperties")
"""What names other types by their line."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Schema:
    """One type. Its parts are looked up when asked for, as types may hold themselves."""

    facts: Mapping[str, Any]
    table: tuple[Mapping[str, Any], ...]

    def field(self, name: str) -> Schema | None:
        """The type of a field; None where there is no such field."""
        at = self.facts.get("properties", {}).get(name)
        return None if at is None else self._at(at)

    @property
    def field_names(self) -> Iterable[str]:
        return list(self.facts.get("properties", {}))

    @property
    def items(self) -> Schema | None:
        at = self.facts.get("items")
        return None if at is None else self._at(at)

    @property
    def values(self) -> Schema | None:
        """The type of a map's values; None where it is no map or anything may stand there."""
        at = self.facts.get("additionalProperties")
        return self._at(at) if isinstance(at, int) and not isinstance(at, bool) else None

    @property
    def is_open(self) -> bool:
        """Whether fields that are not named here are kept."""
        return (
            bool(self.facts.get("x-kubernetes-preserve-unknown-fields"))
            or self.facts.get("additionalProperties") is True
        )

    def _at(self, line: int) -> Schema:
        return Schema(facts=self.table[line], table=self.table)


@dataclass(frozen=True, kw_only=True)
class Extract:
    """The kinds of one project at one version, by (apiVersion, kind)."""

    project: str
    version: str
    source: str
    kinds: Mapping[tuple[str, str], Schema]
    namespaced: Mapping[tuple[str, str], bool]


def read_extract(text: str) -> Extract:
    """An extract from its text; ValueError where it is none."""
    document = json.loads(text)
    table = tuple(document["types"])
    kinds, namespaced = {}, {}
    for api_version, kind, is_namespaced, line in document["kinds"]:
        kinds[api_version, kind] = Schema(facts=table[line], table=table)
        namespaced[api_version, kind] = bool(is_namespaced)
    return Extract(
        project=document["project"],
        version=document["version"],
        source=document["source"],
        kinds=kinds,
        namespaced=namespaced,
    )


@cache
def load_extracts() -> tuple[Extract, ...]:
    """Every extract that this package brings, by file name."""
    folder = files("ai_how.stack").joinpath("data").joinpath("schemas")
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return tuple(read_extract(file.read_text(encoding="utf-8")) for file in found)


@cache
def load_kinds() -> Mapping[tuple[str, str], Schema]:
    """All kinds of all extracts, by (apiVersion, kind)."""
    return {key: schema for extract in load_extracts() for key, schema in extract.kinds.items()}


@cache
def load_scopes() -> Mapping[tuple[str, str], bool]:
    """Whether objects of a kind lie in a namespace, for all kinds of all extracts."""
    return {key: inside for extract in load_extracts() for key, inside in extract.namespaced.items()}


def write_extract(
    project: str,
    version: str,
    source: str,
    kinds: Iterable[tuple[str, str, bool, Mapping[str, Any]]],
    definitions: Mapping[str, Any] | None = None,
) -> str:
    """The text of an extract: kinds as (apiVersion, kind, namespaced, OpenAPI schema); equal types become one.

    ``definitions`` are what ``$ref`` in the schemas names, by the last part of the reference.
    """
    table = _Table(definitions or {})
    lines = [(api, kind, namespaced, table.add(schema)) for api, kind, namespaced, schema in sorted(kinds, key=_name)]
    head = {"project": project, "version": version, "source": source}
    text = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    text.append('"kinds": [\n' + ",\n".join(json.dumps(line) for line in lines) + "\n]")
    text.append('"types": [\n' + ",\n".join(table.lines) + "\n]")
    return "{\n" + ",\n".join(text) + "\n}\n"


def _name(kind: tuple[str, str, bool, Mapping[str, Any]]) -> tuple[str, str]:
    return kind[0], kind[1]


class _Table:
    """Types by their content. A type that holds itself gets its line before its content is known."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._by_content: dict[str, int] = {}
        self._by_reference: dict[str, int] = {}
        self._open: set[str] = set()
        self.lines: list[str] = []

    def add(self, schema: Mapping[str, Any]) -> int:
        reference = str(schema.get("$ref", "")).rpartition("/")[2]
        if not reference:
            return self._by_text(self._text(schema))
        if reference in self._by_reference:
            return self._by_reference[reference]
        if reference in self._open:
            # it holds itself: it needs a line of its own now
            self.lines.append("")
            self._by_reference[reference] = len(self.lines) - 1
            return self._by_reference[reference]
        self._open.add(reference)
        text = self._text(self._definitions[reference])
        self._open.discard(reference)
        if reference in self._by_reference:
            self.lines[self._by_reference[reference]] = text
        else:
            self._by_reference[reference] = self._by_text(text)
        return self._by_reference[reference]

    def _by_text(self, text: str) -> int:
        if text not in self._by_content:
            self.lines.append(text)
            self._by_content[text] = len(self.lines) - 1
        return self._by_content[text]

    def _text(self, schema: Mapping[str, Any]) -> str:
        facts = {key: schema[key] for key in CONSTRAINTS if schema.get(key) not in (None, False)}
        properties = schema.get("properties")
        if properties:
            facts["properties"] = {name: self.add(part) for name, part in sorted(properties.items())}
        if isinstance(schema.get("items"), Mapping):
            facts["items"] = self.add(schema["items"])
        others = schema.get("additionalProperties")
        if isinstance(others, Mapping):
            facts["additionalProperties"] = self.add(others) if others else True
        elif others is True:
            facts["additionalProperties"] = True
        return json.dumps(facts, sort_keys=True, separators=(",", ":"))
