"""Taking fields out of an object by the paths that the API names in conflicts. Pure.

A path such as ``.spec.template.spec.containers[name="server"].image``: names that themselves hold dots are not quoted
(Kubernetes' structured-merge-diff, fieldpath), so the longest name that the object has counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_SELECTOR = re.compile(r"\[(?P<inner>(?:\"(?:[^\"\\]|\\.)*\"|[^\]\"])*)\]")


def without_fields(thing: Mapping[str, Any], paths: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """A copy of the object without those fields, and the paths that were not found in it."""
    copy: dict[str, Any] = json.loads(json.dumps(thing))
    return copy, [path for path in paths if not _remove(copy, path)]


def _remove(node: Any, path: str) -> bool:
    if isinstance(node, dict) and path.startswith("."):
        for name in _names(node, path[1:]):
            rest = path[1 + len(name) :]
            if not rest:
                del node[name]
                return True
            if _remove(node[name], rest):
                if node[name] in ({}, []):
                    del node[name]
                return True
        return False
    selector = _SELECTOR.match(path)
    if isinstance(node, list) and selector is not None:
        return _remove_item(node, selector["inner"], path[selector.end() :])
    return False


def _names(node: Mapping[str, Any], path: str) -> list[str]:
    """Keys that the path may begin with, the longest first."""
    fitting = [name for name in node if path == name or path.startswith((f"{name}.", f"{name}["))]
    return sorted(fitting, key=len, reverse=True)


def _remove_item(items: list[Any], inner: str, rest: str) -> bool:
    for index, item in enumerate(items):
        if not _is_meant(item, index, inner):
            continue
        if not rest:
            del items[index]
            return True
        return _remove(item, rest)
    return False


def _is_meant(item: Any, index: int, inner: str) -> bool:
    """``0`` is a place, ``="x"`` a value, ``name="x",protocol="TCP"`` keys of an object."""
    if inner.isdigit():
        return index == int(inner)
    if inner.startswith("="):
        return bool(item == _value(inner[1:]))
    pairs = re.findall(r"([^,=]+)=(\"(?:[^\"\\]|\\.)*\"|[^,]*)", inner)
    # a key that the object leaves out is the server's default, which any value of the path may be
    return isinstance(item, Mapping) and all(item.get(key, _value(text)) == _value(text) for key, text in pairs)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
