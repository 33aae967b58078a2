"""The catalogue of accelerators: read from ``catalogue.toml``, found by any name that people use for a card. Pure."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ai_how.errors import NotFoundError


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
    text = files("ai_how.accelerators").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return tuple(_accelerator(entry) for entry in tomllib.loads(text)["accelerator"])


def _accelerator(entry: dict[str, Any]) -> Accelerator:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Accelerator(**values)


def by_pci_id(device_id: str) -> Accelerator | None:
    """The accelerator with a PCI device id of vendor 10de (``20b5``, any case), or None."""
    return next((found for found in load_catalogue() if device_id.lower() in found.pci_ids), None)


def by_name(name: str) -> Accelerator | None:
    """The accelerator that a name means (``T4``, ``Tesla T4``, ``nvidia_a100_80gb``), or None."""
    wanted = _plain(name)
    return next((found for found in load_catalogue() if wanted in _names(found)), None)


def find(name: str) -> Accelerator:
    """As ``by_name``.

    Raises:
        NotFoundError: no accelerator has that name; the evidence names the nearest.
    """
    found = by_name(name)
    if found is not None:
        return found
    names = {plain: known.name for known in load_catalogue() for plain in _names(known)}
    near = dict.fromkeys(names[match] for match in difflib.get_close_matches(_plain(name), names, n=3))
    raise NotFoundError(
        f"{name!r} is no accelerator in the catalogue",
        evidence="did you mean " + " or ".join(near) + "?" if near else "",
        next_step="ai-how model fit --list-gpus",
    )


def _names(accelerator: Accelerator) -> set[str]:
    return {_plain(name) for name in (accelerator.name, *accelerator.aliases, *accelerator.oumi_names)}


def _plain(name: str) -> str:
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).split()
    return "".join(word for word in words if word not in ("nvidia", "tesla", "quadro", "geforce"))
