"""Percentiles, their confidence intervals, and what may be said of how many samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PERCENTILES = (50, 95, 99)
BATCHES = 10
_TAIL = 0.025
"""What an interval of 95 % leaves out at each end."""
_STUDENT_975_OF_9 = 2.262
"""97.5 % quantile of Student's t with ``BATCHES`` - 1 degrees of freedom."""
_NORMAL_95, _NORMAL_975 = 1.645, 1.960
"""Quantiles of the normal distribution."""
_LEAST_FOR_CORRELATION = 20
_FAR = 12
"""So many standard deviations from its mean a binomial count has no probability that a float would show."""

Interval = tuple[float, float | None]
"""Lowest and highest value that are plausible with 95 % confidence; no highest where samples are too few for one."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A distribution in few numbers, in the unit of its samples. A percentile is None where samples are too few.

    Intervals are None where samples are too few, or where nobody asked for them. ``worth`` says how many independent
    samples would tell as much: less than ``count`` where samples in a row are alike.
    """

    count: int
    mean: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    p50_interval: Interval | None = None
    p95_interval: Interval | None = None
    worth: int | None = None


def samples_needed(percent: int) -> int:
    """The fewest samples of which one is expected beyond the percentile: 2 for P50, 20 for P95, 100 for P99."""
    return math.ceil(100 / (100 - percent))


def samples_for_interval(percent: int) -> int:
    """The fewest independent samples whose slowest one bounds the percentile from above: 6 for P50, 72 for P95."""
    return math.ceil(math.log(_TAIL) / math.log(percent / 100))


def percentile(samples: Sequence[float], percent: int) -> float | None:
    """Linear interpolation between the two nearest ranks (numpy's default); None where samples are too few."""
    if len(samples) < samples_needed(percent):
        return None
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def percentile_interval(samples: Sequence[float], percent: int, *, worth: int | None = None) -> Interval | None:
    """Two samples that the true percentile lies between, with 95 % confidence; None where not even a lowest is known.

    Order statistics with exact binomial probabilities: nothing is assumed of the distribution. ``worth`` independent
    samples are reckoned with, all of them by default.
    """
    count = len(samples)
    worth = count if worth is None else max(1, min(worth, count))
    low, high = _ranks(worth, percent / 100)
    if low < 1:
        return None
    ordered = sorted(samples)
    # a rank among fewer samples, as the one of all samples that is no nearer to the percentile
    lowest = ordered[(low - 1) * count // worth]
    return lowest, ordered[min(count, -(-high * count // worth)) - 1] if high <= worth else None


def _ranks(count: int, share: float) -> tuple[int, int]:
    """Ranks from 1 whose samples enclose the quantile ``share``; 0 and ``count`` + 1 where no sample does.

    How many samples lie below the quantile is binomial: the low rank has at most ``_TAIL`` of its probability below
    it, the high rank at least 1 - ``_TAIL``.
    """
    spread = math.sqrt(count * share * (1 - share))
    first, last = max(0, math.floor(count * share - _FAR * spread)), count
    low, high, below = first, count + 1, 0.0
    for hits in range(first, last):
        below += math.exp(
            math.lgamma(count + 1)
            - math.lgamma(hits + 1)
            - math.lgamma(count - hits + 1)
            + hits * math.log(share)
            + (count - hits) * math.log1p(-share)
        )
        if below <= _TAIL:
            low = hits + 1
        if below >= 1 - _TAIL:
            high = hits + 1
            break
    return low, high


def independent_worth(samples: Sequence[float]) -> int | None:
    """How many independent samples tell as much as these in their order; None where they are too few to say.

    The effective sample size, n / (1 + 2 * sum of autocorrelations). Samples are ranked, so that one slow answer does
    not hide that its neighbours are alike. Correlations of growing distance are added up until one is no more than
    chance makes; where the first is, all samples count.
    """
    import numpy as np

    count = len(samples)
    if count < _LEAST_FOR_CORRELATION:
        return None
    _, place, sizes = np.unique(np.asarray(samples), return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        return count
    # equal samples share the mean of their ranks, or their order in time would make a trend
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[place]
    spectrum = np.fft.rfft(ranks - ranks.mean(), 2 * count)
    products = np.fft.irfft(np.abs(spectrum) ** 2)[: count // 2]
    alike = 0.0
    for correlation in products[1:] / products[0]:
        if correlation <= _NORMAL_95 / math.sqrt(count):
            break
        alike += float(correlation)
    return max(1, math.floor(count / (1 + 2 * alike)))


def rate_interval(ended_at: Sequence[float], duration_s: float) -> tuple[float, float] | None:
    """Interval of events a second with 95 % confidence; None without an event.

    Batch means: from the rates of ten equal parts of the time. With fewer than two events a part, as of a Poisson
    process, which is less regular than clients that wait for their answers: rather too wide than too narrow.
    """
    count = len(ended_at)
    if not count or duration_s <= 0:
        return None
    if count < 2 * BATCHES:
        half = _NORMAL_975 / 2
        return max(0.0, math.sqrt(count) - half) ** 2 / duration_s, (math.sqrt(count + 1) + half) ** 2 / duration_s
    counts = [0] * BATCHES
    for moment in ended_at:
        counts[min(BATCHES - 1, max(0, int(moment / duration_s * BATCHES)))] += 1
    rates = [part * BATCHES / duration_s for part in counts]
    mean = sum(rates) / BATCHES
    deviation = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / (BATCHES - 1))
    half = _STUDENT_975_OF_9 * deviation / math.sqrt(BATCHES)
    return max(0.0, mean - half), mean + half


def summarize(samples: Sequence[float], *, intervals: bool = False) -> Summary:
    """The summary of any number of samples, none included.

    Args:
        intervals: Give them too; ``samples`` are then in the order in which they were seen.
    """
    if not samples:
        return Summary(count=0)
    worth = independent_worth(samples) if intervals else None
    return Summary(
        count=len(samples),
        mean=sum(samples) / len(samples),
        minimum=min(samples),
        maximum=max(samples),
        p50=percentile(samples, 50),
        p95=percentile(samples, 95),
        p99=percentile(samples, 99),
        p50_interval=percentile_interval(samples, 50, worth=worth) if intervals else None,
        p95_interval=percentile_interval(samples, 95, worth=worth) if intervals else None,
        worth=worth,
    )
