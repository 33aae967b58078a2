"""Numbers out of a ``config.json`` that may hold anything: each is sound, or there is one clear error. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ai_how.errors import SpecError

Config = Mapping[str, Any]

_LARGEST = 2**40
"""No size of a model comes near; a larger one is damage, and would only make the arithmetic slow."""


MOST_LAYERS = 10_000


def size(config: Config, key: str, *, default: int | None = None, largest: int = _LARGEST) -> int:
    """A positive whole number up to ``largest``.

    Raises:
        SpecError: it is missing without a default, or it is something else.
    """
    value = config.get(key)
    if value is None:
        if default is None:
            raise _wrong(f"config.json has no {key}")
        return default
    if type(value) is not int or not 0 < value <= largest:
        raise _wrong(f"config.json: {key} is {value!r}, not a size")
    return value


def whole_number(config: Config, key: str) -> int:
    """A whole number that may be 0; 0 where it is missing."""
    value = config.get(key)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise _wrong(f"config.json: {key} is {value!r}, not a number of them")
    return value


def flag(config: Config, key: str, *, default: bool) -> bool:
    """True or false."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise _wrong(f"config.json: {key} is {value!r}, not true or false")
    return value


def sizes_of(config: Config, key: str) -> frozenset[int]:
    """A list of numbers; empty where it is missing."""
    value = config.get(key)
    if value is None:
        return frozenset()
    if not isinstance(value, list) or any(type(item) is not int for item in value):
        raise _wrong(f"config.json: {key} is {value!r}, not a list of numbers")
    return frozenset(value)


def mapping(config: Config, key: str) -> Config:
    """A part of the configuration that is an object itself."""
    value = config.get(key)
    if not isinstance(value, Mapping):
        raise _wrong(f"config.json: {key} is no object")
    return value


def _wrong(what: str) -> SpecError:
    return SpecError(what, next_step="copy config.json again from where the model was published")
