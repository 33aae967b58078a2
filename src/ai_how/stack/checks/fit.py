"""Does an object fit its kind? Unknown fields, wrong types and values that may not be are mistakes, as they are for an
API server with strict field validation.

Pure. Checks what a schema says; rules in CEL and what admission decides are the server's alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ai_how.stack.checks.schemas import Schema, load_kinds, load_scopes

_HAS_METADATA = ("v1", "ConfigMap")
_EMBEDDED = frozenset({"apiVersion", "kind", "metadata"})
_TYPES: Mapping[str, Any] = {
    "object": Mapping,
    "array": (list, tuple),
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
_NAMES = {list: "a list", tuple: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """One mistake of an object; ``path`` such as ``spec.template.spec.containers[0].imgae``."""

    thing: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.thing}: {self.path}: {self.message}"


def check_objects(
    things: Iterable[Mapping[str, Any]], kinds: Mapping[tuple[str, str], Schema] | None = None
) -> list[Misfit]:
    """The mistakes of all objects; a kind that is not known here is one."""
    known = load_kinds() if kinds is None else kinds
    return [misfit for thing in things for misfit in _check(thing, known)]


def check_value(value: Any, schema: Schema, path: str = "") -> Iterator[tuple[str, str]]:
    """The mistakes of a value against its type, as (path, message)."""
    if value is None:
        if not _may_be_null(schema):
            yield path, "null may not stand here"
        return
    if not schema.facts:
        return
    problem = _type_problem(value, schema.facts)
    if problem:
        yield path, problem
        return
    yield from ((path, message) for message in _limits(value, schema.facts))
    if isinstance(value, Mapping):
        yield from _check_fields(value, schema, path)
    elif isinstance(value, list | tuple):
        yield from _check_items(value, schema, path)


def _check(thing: Mapping[str, Any], known: Mapping[tuple[str, str], Schema]) -> Iterator[Misfit]:
    metadata = thing.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    kind = (str(thing.get("apiVersion")), str(thing.get("kind")))
    title = f"{kind[1]} {name}"
    if not name:
        yield Misfit(thing=title, path="metadata.name", message="is missing")
    schema = known.get(kind)
    if schema is None:
        versions = sorted(api for api, other in known if other == kind[1])
        hint = f"it is known as {', '.join(versions)}" if versions else "no extract of schemas has it"
        yield Misfit(thing=title, path="apiVersion", message=f"no kind {kind[1]} of {kind[0]} is known; {hint}")
        return
    mistakes = [*check_value(thing, schema), *_scope(kind, metadata)]
    own = schema.field("metadata")
    if own is None or not list(own.field_names):
        # a CustomResourceDefinition says of metadata at most that it is an object: all kinds share one
        shared = known.get(_HAS_METADATA)
        metadata_type = shared.field("metadata") if shared is not None else None
        if metadata_type is not None and isinstance(metadata, Mapping):
            mistakes += check_value(metadata, metadata_type, "metadata")
    yield from (Misfit(thing=title, path=path or "(whole object)", message=message) for path, message in mistakes)


def _scope(kind: tuple[str, str], metadata: Any) -> Iterator[tuple[str, str]]:
    inside = load_scopes().get(kind)
    named = isinstance(metadata, Mapping) and bool(metadata.get("namespace"))
    if inside is not None and inside != named:
        words = "is missing" if inside else f"a {kind[1]} lies in no namespace"
        yield "metadata.namespace", words


def _check_fields(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    facts = schema.facts
    for name in facts.get("required", ()):
        if name not in value:
            yield _join(path, name), "is missing"
    for name, part in value.items():
        inner = schema.field(name) or schema.values
        if inner is not None:
            yield from check_value(part, inner, _join(path, name))
        elif not _is_kept(name, schema, path):
            near = get_close_matches(name, list(schema.field_names), n=1)
            yield _join(path, name), "no such field" + (f"; did you mean {near[0]}?" if near else "")


def _is_kept(name: str, schema: Schema, path: str) -> bool:
    if schema.is_open:
        return True
    if not path and name in _EMBEDDED:
        return True
    if name in _EMBEDDED and schema.facts.get("x-kubernetes-embedded-resource"):
        return True
    # "type: object" alone, as a CRD has for metadata: whatever is inside is the server's own business
    return path == "metadata" and "properties" not in schema.facts


def _check_items(value: Iterable[Any], schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    inner = schema.items
    seen: dict[Any, int] = {}
    keys = schema.facts.get("x-kubernetes-list-map-keys")
    for index, part in enumerate(value):
        at = f"{path}[{index}]"
        if inner is not None:
            yield from check_value(part, inner, at)
        if keys and isinstance(part, Mapping):
            # a key that is left out has a default, which is not known here
            own = tuple(str(part.get(key, "")) for key in keys)
            if own in seen:
                yield at, f"has the same {', '.join(keys)} as {path}[{seen[own]}]"
            seen.setdefault(own, index)


def _may_be_null(schema: Schema) -> bool:
    kinds = schema.facts.get("type")
    return bool(schema.facts.get("nullable")) or not schema.facts or (isinstance(kinds, list) and "null" in kinds)


def _type_problem(value: Any, facts: Mapping[str, Any]) -> str:
    if facts.get("x-kubernetes-int-or-string") or facts.get("format") == "int-or-string":
        fits = isinstance(value, int | str) and not isinstance(value, bool)
        return "" if fits else f"is {_named(value)}, and must be a number or a text"
    kinds = facts.get("type")
    if kinds is None:
        return ""
    wanted = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    if any(_is(value, kind) for kind in wanted):
        return ""
    return f"is {_named(value)}, and must be {' or '.join(_WORDS[kind] for kind in wanted)}"


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _named(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    return _NAMES.get(type(value), type(value).__name__)


def _limits(value: Any, facts: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in facts and value not in facts["enum"]:
        yield f"is {value!r}, and must be one of {', '.join(map(str, facts['enum']))}"
    if isinstance(value, str):
        yield from _text_limits(value, facts)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if "minimum" in facts and value < facts["minimum"]:
            yield f"is {value}, and must be at least {facts['minimum']}"
        if "maximum" in facts and value > facts["maximum"]:
            yield f"is {value}, and must be at most {facts['maximum']}"
    elif isinstance(value, list | tuple):
        if len(value) < facts.get("minItems", 0):
            yield f"has {len(value)} items, and must have at least {facts['minItems']}"
        if "maxItems" in facts and len(value) > facts["maxItems"]:
            yield f"has {len(value)} items, and may have {facts['maxItems']}"


def _text_limits(value: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if len(value) < facts.get("minLength", 0):
        yield f"has {len(value)} characters, and must have at least {facts['minLength']}"
    if "maxLength" in facts and len(value) > facts["maxLength"]:
        yield f"has {len(value)} characters, and may have {facts['maxLength']}"
    pattern = facts.get("pattern")
    # Go's \z is Python's \Z; the rest of what these schemas use is the same in both
    if pattern and not re.search(pattern.replace(r"\z", r"\Z"), value):
        yield f"is {value!r}, which does not match {pattern}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
