"""A figure that is known to lie between two others. Pure arithmetic; the unit is the caller's."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ai_how.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Range:
    """``low <= mid <= high``, finite, none below zero. ``mid`` is the best guess: half way where nobody knows better.

    Raises:
        SpecError: they are not.
    """

    low: float
    mid: float
    high: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.low, self.mid, self.high)):
            raise SpecError("a range needs finite numbers", evidence=f"{self.low}, {self.mid}, {self.high}")
        if not 0 <= self.low <= self.mid <= self.high:
            problem = "a range must rise from low over mid to high, from 0 on"
            raise SpecError(problem, evidence=f"low {self.low:g}, mid {self.mid:g}, high {self.high:g}")

    def __add__(self, other: Range) -> Range:
        return Range(low=self.low + other.low, mid=self.mid + other.mid, high=self.high + other.high)

    def __mul__(self, factor: float | Range) -> Range:
        """Low with low, high with high: right for what is never below zero."""
        by = factor if isinstance(factor, Range) else exactly(factor)
        return Range(low=self.low * by.low, mid=self.mid * by.mid, high=self.high * by.high)

    @property
    def is_exact(self) -> bool:
        return self.low == self.high


def between(low: float, high: float, mid: float | None = None) -> Range:
    """A range; its best guess is half way unless it is given."""
    return Range(low=low, mid=low + (high - low) / 2 if mid is None else mid, high=high)


def exactly(value: float) -> Range:
    """A figure without doubt."""
    return Range(low=value, mid=value, high=value)


def total(ranges: Iterable[Range]) -> Range:
    """The sum; nothing adds up to zero."""
    return sum(ranges, start=exactly(0))


def span(one: float, other: float) -> Range:
    """From the smaller to the larger of two figures."""
    return between(min(one, other), max(one, other))
