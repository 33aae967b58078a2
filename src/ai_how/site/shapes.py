"""Which keys of a file's model are sections, lists of sections or sections by name. Pure; knows no key of any file."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from ai_how.site.mistakes import Key


@dataclass(frozen=True)
class Shape:
    """What lies below a key: one section, a list of them, or a mapping from names to them."""

    model: type[BaseModel]
    kind: Literal["section", "list", "mapping"]


def field_shape(model: type[BaseModel], key: str) -> Shape | None:
    """The shape of a key of ``model``; None where it takes a plain value."""
    field = model.model_fields.get(key)
    return _shape(field.annotation) if field else None


def _shape(annotation: Any) -> Shape | None:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _shape(inner[0])
    if origin in (Union, types.UnionType):
        return next((found for choice in inner if (found := _shape(choice))), None)
    if origin is list:
        found = _shape(inner[0])
        return Shape(found.model, "list") if found else None
    if origin is dict:
        found = _shape(inner[1])
        return Shape(found.model, "mapping") if found else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Shape(annotation, "section")
    return None


def walk(model: type[BaseModel], location: Key) -> tuple[Key, Shape | None]:
    """Follow a location as far as it leads through sections: the part that was followed, and where it ended.

    The part after the last section is a plain key, and list indices or a name below it.
    """
    path: list[str | int] = []
    current: Shape | None = Shape(model, "section")
    by_name = False
    for part in location:
        if current is None and isinstance(part, str) and not by_name:
            break
        path.append(part)
        if current is None:
            by_name = False
            continue
        if current.kind == "section":
            by_name = _is_mapping(current.model, str(part))
            current = field_shape(current.model, str(part))
        elif isinstance(part, int) == (current.kind == "list"):
            current = Shape(current.model, "section")
        else:
            current = None
    return tuple(path), current


def _is_mapping(model: type[BaseModel], key: str) -> bool:
    field = model.model_fields.get(key)
    return field is not None and get_origin(field.annotation) is dict


def model_at(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """The model of the section at ``key``, or None where there is no section."""
    path, found = walk(model, key)
    return found.model if found and found.kind == "section" and len(path) == len(key) else None


def all_sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section with its place as people write it: ``gateway``, ``hosts[]``, ``clusters.<name>.nodes[]``.

    The top level comes first, its place is empty.
    """
    yield prefix, model
    for key in model.model_fields:
        found = field_shape(model, key)
        if found:
            suffix = {"section": "", "list": "[]", "mapping": ".<name>"}[found.kind]
            yield from all_sections(found.model, f"{prefix}.{key}{suffix}".lstrip("."))
