"""Percentiles and what may be said of how many samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A distribution in few numbers, in the unit of its samples. A percentile is None where samples are too few."""

    count: int
    mean: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


def samples_needed(percent: int) -> int:
    """The fewest samples of which one is expected beyond the percentile: 2 for P50, 20 for P95, 100 for P99."""
    return math.ceil(100 / (100 - percent))


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """Linear interpolation between the two nearest ranks (numpy's default); None where samples are too few."""
    if len(samples) < samples_needed(percent):
        return None
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def summarize(samples: Sequence[float]) -> Summary:
    """The summary of any number of samples, none included."""
    if not samples:
        return Summary(count=0)
    return Summary(
        count=len(samples),
        mean=sum(samples) / len(samples),
        minimum=min(samples),
        maximum=max(samples),
        p50=percentile(samples, 50),
        p95=percentile(samples, 95),
        p99=percentile(samples, 99),
    )
