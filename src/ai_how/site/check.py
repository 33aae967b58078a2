"""Checks a parsed file against its pydantic model: every mistake at once, each at its line, in one sentence.

pydantic says which keys are wrong; the words come from the key's value and schema, so that a key that takes a number
or ``auto`` gives one message and not one for each. Pure; knows no key of any file.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, ValidationError

from ai_how.site.mistakes import Key, Mistake, dotted
from ai_how.site.shapes import all_sections, field_shape, model_at, walk
from ai_how.site.words import (
    FORMS,
    SECTION,
    SECTIONS,
    SECTIONS_BY_NAME,
    TEXTS_BY_NAME,
    VALUES_BY_NAME,
    Schema,
    either,
    expected,
    fixed_values,
    nearest,
    number_meant,
    takes_text,
    unit,
)
from ai_how.site.yaml_lines import Document

Model = TypeVar("Model", bound=BaseModel)
Remarks = Mapping[tuple[str, str | None], tuple[str, str]]
"""(dotted key, value) -> (what is wrong, what would be right), where the schema cannot say it; None: no value."""

_UNKNOWN = "extra_forbidden"  # pydantic's name for it
_BAD_NAME = "bad name"


@dataclass(frozen=True, kw_only=True)
class Checked(Generic[Model]):
    """What a check found. ``value`` is made of what is right, and is None where a mistake is left.

    ``unknown_keys`` are apart, because not every file refuses them; ``value`` does not have them. ``rest`` is made of
    what is right whatever else is wrong, with defaults in the place of what is ``wrong``; None where that makes none.
    """

    value: Model | None
    rest: Model | None
    wrong: tuple[Key, ...]
    mistakes: list[Mistake]
    unknown_keys: list[Mistake]


def check(model: type[Model], document: Document, *, remarks: Remarks | None = None) -> Checked[Model]:
    """Check a document's data. Types are exact: a quoted number is text, as editors see it by the schema."""
    data = copy.deepcopy(document.data)
    faults: dict[Key, tuple[str, str]] = {}
    value = None
    # what spans several keys of a section is only looked at when each of them is right: hence once more without these
    for _ in range(2):
        try:
            value = model.model_validate(data, strict=True)
            break
        except ValidationError as error:
            found = _faults(model, error)
        for key, (kind, message) in found.items():
            if key not in faults and not (kind == "value_error" and _may_be_echo(model, key, message, faults)):
                faults[key] = (kind, message)
        # what lies deepest first: a section may be wrong by its name and by what is in it
        for key in sorted(found, key=len, reverse=True):
            _remove(data, key)
    words = _Words(model, document, remarks or {})
    unknown = [key for key, (kind, _) in faults.items() if kind == _UNKNOWN]
    misspelt = {(*key[:-1], near) for key in unknown for near in words.meant(key)}
    return Checked(
        value=value if len(unknown) == len(faults) else None,
        rest=value,
        wrong=tuple(key for key in faults if key not in unknown),
        # a key that is there but misspelt is not missing too
        mistakes=[
            words.mistake(key, kind, message)
            for key, (kind, message) in faults.items()
            if kind != _UNKNOWN and not (kind == "missing" and key in misspelt) and key not in document.unread
        ],
        unknown_keys=[words.unknown_key(key) for key in sorted(unknown, key=words.place)],
    )


def _faults(model: type[BaseModel], error: ValidationError) -> dict[Key, tuple[str, str]]:
    """Kind and message by key; the branches of a union are one fault."""
    faults: dict[Key, tuple[str, str]] = {}
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        location, kind = detail["loc"], detail["type"]
        if location[-1:] == ("[key]",) and kind != _UNKNOWN:
            # pydantic's way to say that the name itself is wrong, not what it stands for
            location, kind = location[:-1], _BAD_NAME
        faults.setdefault(walk(model, location)[0], (kind, detail["msg"]))
    return faults


def section_model(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The model of a section, or None where ``key`` is none."""
    found = field_shape(model, key)
    return found.model if found and found.kind == "section" else None


def _may_be_echo(model: type[BaseModel], section: Key, message: str, faults: Mapping[Key, object]) -> bool:
    """Whether a section's complaint may only come from a key in it that has been reported already."""
    found = model_at(model, section)
    named = set(re.findall(r"\w+", message)).intersection(found.model_fields if found else ())
    return any(nearest(str(key[-1]), named) for key in faults if key and key[:-1] == section)


def _remove(data: Any, key: Key) -> None:
    """Take the value at ``key`` out; an item of a list is emptied, so that the others keep their numbers."""
    *outer, last = key or ("",)
    for part in outer:
        data = data[part]
    if isinstance(data, list):
        data[cast("int", last)] = ""
    else:
        data.pop(last, None)


def sections(model: type[BaseModel]) -> Iterator[tuple[str, list[str]]]:
    """Each section's name and keys; the top level is the section without a name."""
    yield "", list(model.model_fields)
    for name in model.model_fields:
        inner = section_model(model, name)
        if inner is not None:
            yield name, list(inner.model_fields)


@cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


class _Words:
    """Puts faults into words."""

    def __init__(self, model: type[BaseModel], document: Document, remarks: Remarks) -> None:
        self.model = model
        self.document = document
        self.remarks = remarks
        self.schema = _schema(model)
        # sections whose keys were listed: once is enough
        self.told: set[Key] = set()

    def _homes(self, key: Key) -> str:
        """Where keys of this very name belong, in words; empty where there is none."""
        places = [place for place, section in all_sections(self.model) if key[-1] in section.model_fields]
        if places == [""]:
            return "at the top level"
        return f"under {either(place or 'the top level' for place in places)}" if places else ""

    def _keys(self, section: Key) -> list[str]:
        found = model_at(self.model, section)
        return list(found.model_fields) if found else []

    def meant(self, key: Key) -> list[str]:
        """The keys of its section that an unknown key may be a slip of."""
        return nearest(str(key[-1]), self._keys(key[:-1]))

    def place(self, key: Key) -> tuple[int, int]:
        """Line and column of a key."""
        place = self.document.place(key)
        return place.line, place.column

    def unknown_key(self, key: Key) -> Mistake:
        home, near = self._homes(key), self.meant(key)
        if near:
            remedy = f"did you mean {either(near)}?" + (f" {key[-1]} belongs {home}" if home else "")
        elif home:
            remedy = f"it belongs {home}"
        elif key[:-1] in self.told:
            remedy = "the keys here are those named above"
        else:
            self.told.add(key[:-1])
            remedy = f"the keys here are {', '.join(self._keys(key[:-1]))}"
        return self.document.at_key(key, "unknown key", remedy)

    def mistake(self, key: Key, kind: str, message: str) -> Mistake:
        if kind == "value_error":
            return self.document.at_key(key, message.removeprefix("Value error, "))
        if kind == _BAD_NAME:
            pattern = next(iter(self.schema_of(key[:-1]).get("patternProperties", {})), "")
            return self.document.at_key(key, "cannot be a name here", f"write {FORMS.get(pattern, 'text')}")
        value = self.document.get(key)
        remark = self.remarks.get((dotted(key), value)) if value is None or isinstance(value, str) else None
        if kind == "missing":
            problem, remedy = "missing", f"write {key[-1]}: and {expected(self.schema_of(key))}"
            return self.document.at_key(key, problem, remark[1] if remark else remedy)
        problem, remedy = remark or self._wrong_value(key, value)
        return self.document.at_value(key, problem, remedy)

    def _wrong_value(self, key: Key, value: Any) -> tuple[str, str]:
        schema = self.schema_of(key)
        takes = expected(schema)
        below = {
            SECTION: "write its keys below it",
            SECTIONS: "write its items below it, each behind a dash",
            SECTIONS_BY_NAME: "write names below it, and their keys below each",
            TEXTS_BY_NAME: "write names below it, each with a value behind it",
            VALUES_BY_NAME: "write names and their values below it",
        }.get(takes)
        if value is None or (value == [] and takes == SECTIONS):
            problem = "has no value" if value is None else "is empty"
            return problem, f"{below or f'write {takes}'}, or remove the line"
        if below:
            return f"is not {takes}", below + (", one a line" if takes == SECTION else "")
        if isinstance(value, dict | list):
            return f"is a {'section' if isinstance(value, dict) else 'list'}", f"write {takes}"
        written = shown(self.document.place(key).text or str(value))
        if isinstance(value, str):
            return self._wrong_text(key, value, written)
        if takes_text(schema, written):
            return f"{written} is not text", f'write it in quotes: "{written}"'
        unit_words = f" ({unit(str(key[-1]))})" if unit(str(key[-1])) else ""
        return f"{written} is not allowed", f"write {takes}{unit_words}"

    def _wrong_text(self, key: Key, value: str, written: str) -> tuple[str, str]:
        schema, name = self.schema_of(key), str(key[-1])
        number = number_meant(value, name, schema)
        if number and number == value.strip():
            return f"'{written}' is text", f"write {number} without quotes"
        if number and unit(name):
            return f"'{written}' is not a number", f"write {number}: {unit(name)}, without a unit"
        near = nearest(value, fixed_values(schema))
        meant = f"did you mean {either(near)}? It takes " if near else "write "
        return f"'{written}' is not allowed", meant + expected(schema)

    def schema_of(self, key: Key) -> Schema:
        """The schema of the field at ``key``; empty where there is none."""
        current: Any = self.schema
        for part in key:
            current = self._resolved(_below(current, part))
        return current  # type: ignore[no-any-return]

    def _resolved(self, schema: Any) -> Any:
        """A schema without its reference, or without the ``null`` beside it."""
        choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
        if len(choices) == 1 and "$ref" in choices[0]:
            schema = choices[0]
        return self.schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _below(schema: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return schema.get("items", {})
    found = schema.get("properties", {}).get(part)
    if found is not None:
        return found
    return next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties") or {})


def shown(text: str) -> str:
    """A value as a message shows it: short, printable, without the password of an address."""
    text = re.sub(r"(://[^\s/@:]*):[^\s@]*@", r"\1:***@", text)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 60 else text[:57] + "..."
