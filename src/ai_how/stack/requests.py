"""What containers ask for, in whole numbers. Pure.

Requests are chosen, not measured, unless a comment names a source; limits are set for memory only: a limit of processor
time slows a pod down even where the node is idle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_FACTORS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3, "Ti": 1024**4}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|Ki|Mi|Gi|Ti|)")


@dataclass(frozen=True, kw_only=True)
class Request:
    """Thousandths of a core and MiB; ``limit_mib`` is what ends the container, None: no limit."""

    cpu_m: int = 0
    memory_mib: int = 0
    limit_mib: int | None = None

    def __add__(self, other: Request) -> Request:
        limits = (self.limit_mib, other.limit_mib)
        limit = None if None in limits else sum(each for each in limits if each is not None)
        return Request(cpu_m=self.cpu_m + other.cpu_m, memory_mib=self.memory_mib + other.memory_mib, limit_mib=limit)

    def times(self, count: int) -> Request:
        """So many pods together; a sum has no limit."""
        return Request(cpu_m=self.cpu_m * count, memory_mib=self.memory_mib * count)

    def resources(self) -> dict[str, Any]:
        """As a container's ``resources``."""
        wanted: dict[str, Any] = {
            "requests": {"cpu": cpu_quantity(self.cpu_m), "memory": memory_quantity(self.memory_mib)}
        }
        return wanted if self.limit_mib is None else {**wanted, "limits": {"memory": memory_quantity(self.limit_mib)}}


def total(requests: Iterable[Request]) -> Request:
    """The sum, without a limit."""
    listed = list(requests)
    return Request(cpu_m=sum(each.cpu_m for each in listed), memory_mib=sum(each.memory_mib for each in listed))


def cpu_quantity(thousandths: int) -> str:
    """Processors in Kubernetes' own form: operators write what they read back in it, which must be no change."""
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def memory_quantity(mib: int) -> str:
    """MiB in Kubernetes' own form, with the largest unit that leaves a whole number."""
    for unit, size_mib in (("Ti", 1024**2), ("Gi", 1024)):
        if mib and mib % size_mib == 0:
            return f"{mib // size_mib}{unit}"
    return f"{mib}Mi" if mib else "0"


def cpu_m(quantity: object) -> int:
    """Thousandths of a core of a quantity as Kubernetes writes it: ``250m``, ``1``, ``0.5``; rounded up.

    Raises:
        ValueError: it is none.
    """
    number, suffix = _read(quantity)
    return math.ceil(number if suffix == "m" else number * 1000 * _FACTORS[suffix])


def memory_mib(quantity: object) -> int:
    """MiB of a quantity as Kubernetes writes it: ``512Mi``, ``1Gi``, ``64M``; rounded up.

    Raises:
        ValueError: it is none.
    """
    number, suffix = _read(quantity)
    size = number / 1000 if suffix == "m" else number * _FACTORS[suffix]
    return math.ceil(size / 1024**2)


def _read(quantity: object) -> tuple[float, str]:
    found = _QUANTITY.fullmatch(str(quantity))
    if not found:
        raise ValueError(f"{quantity!r} is no quantity")
    return float(found[1]), found[2]
