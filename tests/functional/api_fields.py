"""Field sets and merging as server-side apply has them, for the API server's stand-in. Pure.

A path is a tuple of steps: ``f:name`` for a field, ``k:{...}`` for a list's item by its keys, ``v:...`` for a set's
value. The rules are those of Kubernetes' structured-merge-diff, as far as this project's objects need them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ai_how.stack.checks.schemas import Schema

Path = tuple[str, ...]
KEY_DEFAULTS = {"protocol": "TCP"}
NOT_OWNED = {("f:apiVersion",), ("f:kind",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace")}
SERVERS_OWN = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")


def field_set(thing: Mapping[str, Any], schema: Schema | None) -> set[Path]:
    """The fields that an applied object claims."""
    return set(_claimed(thing, schema, ())) - NOT_OWNED


def leaves(thing: Mapping[str, Any], schema: Schema | None) -> dict[Path, Any]:
    """Every claimed field with its value; what has parts counts by being there."""
    claimed = field_set(thing, schema)
    whole = {path[:length] for path in claimed for length in range(1, len(path))}
    return {path: None if path in whole else value_at(thing, path)[1] for path in claimed}


def _claimed(value: Any, schema: Schema | None, path: Path) -> Iterator[Path]:
    if isinstance(value, Mapping) and value and not _is_atomic(schema, "x-kubernetes-map-type"):
        for name, part in value.items():
            if len(path) == 1 and path[0] == "f:metadata" and name in SERVERS_OWN:
                continue
            inner = _part(schema, name)
            if schema is not None and schema.field(name) is None and isinstance(part, Mapping) and part:
                yield (*path, f"f:{name}")
            yield from _claimed(part, inner, (*path, f"f:{name}"))
    elif isinstance(value, list) and list_kind(schema) != "atomic":
        for item in value:
            step = step_of(item, schema)
            yield (*path, step)
            if step.startswith("k:"):
                yield from _claimed(item, schema.items if schema else None, (*path, step))
    else:
        yield path


def merge(live: Any, applied: Any, schema: Schema | None) -> Any:
    """The live value with the applied one laid over it."""
    if isinstance(live, Mapping) and isinstance(applied, Mapping):
        if _is_atomic(schema, "x-kubernetes-map-type"):
            return copy.deepcopy(applied)
        names = [*live, *(name for name in applied if name not in live)]
        return {
            name: merge(live.get(name), applied[name], _part(schema, name))
            if name in applied
            else copy.deepcopy(live[name])
            for name in names
        }
    if isinstance(live, list) and isinstance(applied, list) and list_kind(schema) != "atomic":
        before = {step_of(item, schema): item for item in live}
        after = {step_of(item, schema): item for item in applied}
        inner = schema.items if schema else None
        kept = [
            merge(item, after[step], inner) if step in after else copy.deepcopy(item) for step, item in before.items()
        ]
        return kept + [copy.deepcopy(item) for step, item in after.items() if step not in before]
    return copy.deepcopy(applied)


def remove(thing: Any, path: Path) -> None:
    """Take a field out of the object; what becomes empty by it stays, as it does there."""
    node = thing
    for step in path[:-1]:
        node = _down(node, step)
        if node is None:
            return
    last = path[-1]
    if isinstance(node, dict):
        node.pop(last[2:], None)
    elif isinstance(node, list):
        found = _index(node, last)
        if found is not None:
            del node[found]


def value_at(thing: Any, path: Path) -> tuple[bool, Any]:
    """Whether the field is there, and its value."""
    node = thing
    for step in path:
        if isinstance(node, Mapping) and step[2:] in node and step.startswith("f:"):
            node = node[step[2:]]
        elif isinstance(node, list) and _index(node, step) is not None:
            node = node[_index(node, step) or 0]
        else:
            return False, None
    return True, node


def path_text(path: Path) -> str:
    """The path as the API writes it in causes: ``.spec.containers[name="x"].image``."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        elif step.startswith("v:"):
            text += f"[={step[2:]}]"
        else:
            pairs = sorted(json.loads(step[2:]).items())
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs) + "]"
    return text


def to_fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """The set in the form that managedFields have."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _slim(tree)


def _slim(tree: dict[str, Any]) -> dict[str, Any]:
    return {} if set(tree) == {"."} else {step: part if step == "." else _slim(part) for step, part in tree.items()}


def from_fields_v1(tree: Mapping[str, Any], path: Path = ()) -> set[Path]:
    """Back from the form that managedFields have."""
    found: set[Path] = set()
    for step, part in tree.items():
        if step == ".":
            found.add(path)
        elif not part:
            found.add((*path, step))
        else:
            found |= from_fields_v1(part, (*path, step))
    return found


def list_kind(schema: Schema | None) -> str:
    """atomic, set or map."""
    return str(schema.facts.get("x-kubernetes-list-type", "atomic")) if schema else "atomic"


def step_of(item: Any, schema: Schema | None) -> str:
    """What names an item of a set or a map list."""
    keys = schema.facts.get("x-kubernetes-list-map-keys") if schema else None
    if not keys or not isinstance(item, Mapping):
        return f"v:{json.dumps(item)}"
    return "k:" + json.dumps({key: item.get(key, KEY_DEFAULTS.get(key)) for key in sorted(keys)})


def _part(schema: Schema | None, name: str) -> Schema | None:
    return (schema.field(name) or schema.values) if schema else None


def _is_atomic(schema: Schema | None, fact: str) -> bool:
    return bool(schema and schema.facts.get(fact) == "atomic")


def _down(node: Any, step: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(step[2:])
    at = _index(node, step) if isinstance(node, list) else None
    return None if at is None else node[at]


def _index(items: list[Any], step: str) -> int | None:
    for index, item in enumerate(items):
        if step.startswith("v:") and item == json.loads(step[2:]):
            return index
        if step.startswith("k:") and isinstance(item, Mapping):
            keys = json.loads(step[2:])
            if all(item.get(key, KEY_DEFAULTS.get(key)) == value for key, value in keys.items()):
                return index
    return None
