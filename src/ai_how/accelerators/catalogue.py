"""The catalogue of accelerators: read from ``catalogue.toml``, found by any name that people use for a card. Pure."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ai_how.errors import NotFoundError, SpecError

_FACTS = {
    "memory_gib": "memory",
    "power_limit_w": "power limit",
    "compute_capability": "compute capability",
    "pci_ids": "PCI ids",
    "oumi_names": "Oumi's names",
}
"""Fields that need a source, in words."""
_KEYS = {"name", "aliases", "sources", *_FACTS}
_REQUIRED = ("name", "memory_gib", "compute_capability", "power_limit_w")


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One kind of card.

    ``memory_gib`` is what the card has, before the driver takes its part. ``pci_ids`` are device ids of vendor 10de in
    lower-case hex without ``0x``. ``oumi_names`` are the spellings of Oumi's ``hardware.accelerator``.
    """

    name: str
    memory_gib: float
    compute_capability: tuple[int, int]
    power_limit_w: int
    source: str
    pci_ids: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    oumi_names: tuple[str, ...] = ()

    @property
    def compute_capability_text(self) -> str:
        return "{}.{}".format(*self.compute_capability)


@cache
def load_catalogue() -> tuple[Accelerator, ...]:
    """All accelerators that are known, in the file's order."""
    return parse_catalogue(files("ai_how.accelerators").joinpath("catalogue.toml").read_text(encoding="utf-8"))


def parse_catalogue(text: str) -> tuple[Accelerator, ...]:
    """Read a catalogue's text.

    Raises:
        SpecError: the evidence lists every mistake, one a line: wrong keys and values, a figure without a source,
            a PCI id or a name that two entries claim.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError("the accelerator catalogue is not TOML", evidence=str(error)) from error
    entries, defaults, titles = (data.get(key) for key in ("accelerator", "default_sources", "sources"))
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SpecError("the accelerator catalogue has no [[accelerator]] entry")
    if not isinstance(defaults, dict) or not isinstance(titles, dict):
        raise SpecError("the accelerator catalogue has no [sources] or no [default_sources]")
    mistakes = [mistake for entry in entries for mistake in _entry_mistakes(entry, defaults, titles)]
    mistakes = mistakes or _claimed_twice(entries)
    if mistakes:
        raise SpecError("the accelerator catalogue has mistakes", evidence="\n".join(mistakes))
    return tuple(_accelerator(entry, defaults, titles) for entry in entries)


def _entry_mistakes(entry: Mapping[str, Any], defaults: Mapping[str, str], titles: Mapping[str, str]) -> Iterator[str]:
    name = entry.get("name", "an entry without a name")
    yield from (f"{name}: {key} is missing" for key in _REQUIRED if key not in entry)
    yield from (f"{name}: {key} is no key" for key in entry if key not in _KEYS)
    for key in ("memory_gib", "power_limit_w"):
        value = entry.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10_000:
            yield f"{name}: {key} is {value!r}, not a number above 0"
    capability = entry.get("compute_capability", [1, 0])
    if not (isinstance(capability, list) and len(capability) == 2 and all(type(part) is int for part in capability)):
        yield f"{name}: compute_capability is {capability!r}, not [major, minor]"
    for key in ("pci_ids", "aliases", "oumi_names"):
        values = entry.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            yield f"{name}: {key} is {values!r}, not a list of words"
        elif key == "pci_ids":
            wrong = [value for value in values if not re.fullmatch(r"[0-9a-f]{4}", value)]
            yield from (f"{name}: PCI id {value!r} is not four lower-case hex digits" for value in wrong)
    sources = {**defaults, **entry.get("sources", {})}
    for key in _FACTS:
        if key in entry and sources.get(key) not in titles:
            yield f"{name}: {key} has no source in [sources]"


def _claimed_twice(entries: list[dict[str, Any]]) -> list[str]:
    ids = Counter(pci_id for entry in entries for pci_id in entry.get("pci_ids", []))
    names = Counter(plain for entry in entries for plain in _names(entry))
    return [
        *(f"PCI id {pci_id} stands in {count} entries" for pci_id, count in ids.items() if count > 1),
        *(f"the name {plain} means {count} entries" for plain, count in names.items() if count > 1),
    ]


def _accelerator(entry: Mapping[str, Any], defaults: Mapping[str, str], titles: Mapping[str, str]) -> Accelerator:
    sources = {**defaults, **entry.get("sources", {})}
    by_title: dict[str, list[str]] = {}
    for key, words in _FACTS.items():
        if key in entry:
            by_title.setdefault(titles[sources[key]], []).append(words)
    return Accelerator(
        name=entry["name"],
        memory_gib=entry["memory_gib"],
        compute_capability=(entry["compute_capability"][0], entry["compute_capability"][1]),
        power_limit_w=entry["power_limit_w"],
        source="; ".join(f"{' and '.join(words)}: {title}" for title, words in by_title.items()),
        pci_ids=tuple(entry.get("pci_ids", ())),
        aliases=tuple(entry.get("aliases", ())),
        oumi_names=tuple(entry.get("oumi_names", ())),
    )


def by_pci_id(device_id: str) -> Accelerator | None:
    """The accelerator with a PCI device id of vendor 10de (``20b5``, ``0x20B5``), or None."""
    wanted = device_id.lower().removeprefix("0x")
    return next((found for found in load_catalogue() if wanted in found.pci_ids), None)


def by_name(name: str) -> Accelerator | None:
    """The accelerator that a name means (``T4``, ``Tesla T4``, ``nvidia_a100_80gb``), or None."""
    return _by_plain_name().get(_plain(name))


def find(name: str) -> Accelerator:
    """As ``by_name``.

    Raises:
        NotFoundError: no accelerator has that name; the evidence names the nearest.
    """
    found = by_name(name)
    if found is not None:
        return found
    names = {plain: known.name for plain, known in _by_plain_name().items()}
    wanted = _plain(name)
    # what a name begins with says more of a card than how many letters agree: a6000 is near rtxa6000
    within = sorted((plain for plain in names if len(wanted) > 1 and wanted in plain), key=len)
    near = dict.fromkeys(names[match] for match in (*within, *difflib.get_close_matches(wanted, names, n=3)))
    raise NotFoundError(
        f"{name!r} is no accelerator in the catalogue",
        evidence="did you mean " + " or ".join(list(near)[:3]) + "?" if near else "",
        next_step="ai-how model fit --list-gpus",
    )


@cache
def _by_plain_name() -> dict[str, Accelerator]:
    return {
        plain: known
        for known in load_catalogue()
        for plain in _names({"name": known.name, "aliases": known.aliases, "oumi_names": known.oumi_names})
    }


def _names(entry: Mapping[str, Any]) -> set[str]:
    return {_plain(name) for name in (entry["name"], *entry.get("aliases", ()), *entry.get("oumi_names", ()))}


def _plain(name: str) -> str:
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    return "".join(word for word in words if word not in ("nvidia", "tesla", "quadro", "geforce"))
