"""What differs between an object as it is and as it would be. Pure. Values of secrets are never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_how.kubernetes_api.marks import FIELD_MANAGER
from ai_how.kubernetes_api.objects import ApiObject

_THE_SERVERS = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_SECRET_FIELDS = ("data", "stringData")
_LONGEST_VALUE = 40
OWNERSHIP = "metadata.managedFields"


@dataclass(frozen=True, kw_only=True)
class FieldChange:
    """A field that changes; ``old`` and ``new`` are short texts, empty where it is not there or not to be shown."""

    path: str
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        if not self.old and not self.new:
            return self.path
        return f"{self.path}: {self.old or 'unset'} -> {self.new or 'unset'}"


def differences(live: ApiObject, wanted: ApiObject) -> tuple[FieldChange, ...]:
    """The fields that an apply would change, leaving out what the server keeps by itself and the status."""
    hidden = live.get("kind") == "Secret"
    found = [
        FieldChange(path=path) if _is_hidden(path, hidden=hidden) else FieldChange(path=path, old=old, new=new)
        for path, old, new in _walk(_own(live), _own(wanted), "")
    ]
    if not found and _fields_of(live) != _fields_of(wanted):
        # no value changes, but which of them are ours to remove one day
        found = [FieldChange(path=OWNERSHIP)]
    return tuple(found)


def _is_hidden(path: str, *, hidden: bool) -> bool:
    return hidden and path.partition(".")[0] in _SECRET_FIELDS


def _own(thing: ApiObject) -> dict[str, Any]:
    metadata = {key: value for key, value in thing.get("metadata", {}).items() if key not in _THE_SERVERS}
    return {**{key: value for key, value in thing.items() if key != "status"}, "metadata": metadata}


def _fields_of(thing: ApiObject) -> Any:
    for entry in thing.get("metadata", {}).get("managedFields") or []:
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            return entry.get("fieldsV1")
    return None


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, str, str]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _walk(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        yield from _walk_lists(old, new, path)
    elif old != new:
        yield path, _short(old), _short(new)


def _walk_lists(old: Sequence[Any], new: Sequence[Any], path: str) -> Iterator[tuple[str, str, str]]:
    if _named(old) and _named(new):
        before = {item["name"]: item for item in old}
        after = {item["name"]: item for item in new}
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _walk(before.get(name), after.get(name), f"{path}[{name}]")
        if list(before) != list(after) and before.keys() == after.keys():
            yield path, "order", "another order"
        return
    for index in range(max(len(old), len(new))):
        one = old[index] if index < len(old) else None
        other = new[index] if index < len(new) else None
        yield from _walk(one, other, f"{path}[{index}]")


def _named(items: Sequence[Any]) -> bool:
    names = [item.get("name") if isinstance(item, Mapping) else None for item in items]
    return None not in names and len(set(names)) == len(names)


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "{" + ", ".join(sorted(map(str, value))) + "}"[: _LONGEST_VALUE + 2]
    if isinstance(value, bool):
        return "true" if value else "false"
    text = " ".join(str(value).split()) if not isinstance(value, list) else f"{len(value)} items"
    text = text or '""'
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
