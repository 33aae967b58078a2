"""Whether a new revision may go on: its figures against the targets and against the old revision's. Pure.

Nothing fails on noise, and nothing passes by it: a range that reaches over its target is unclear, and what was not
measured says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ai_how.bench.statistics import (
    Interval,
    independent_worth,
    percentile,
    percentile_interval,
    samples_needed,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Outcome = Literal["pass", "fail", "unclear", "not measured"]

LATENCY = "latency P95"
BOOTSTRAPS = 1000
_BATCH = 100
LEAST_ROUNDS = 3
_NORMAL_975 = 1.960


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a revision did at one step. ``rounds`` holds the latencies of answers, milliseconds, round by round.

    Rounds of the old and the new revision with the same number were measured one after the other.
    """

    rounds: tuple[tuple[float, ...], ...] = ()
    failed: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    said: str = ""

    @property
    def latencies_ms(self) -> tuple[float, ...]:
        return tuple(latency for one in self.rounds for latency in one)

    @property
    def asked(self) -> int:
        return len(self.latencies_ms) + self.failed


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What decides. ``slower_percent``: by how much P95 may be above the old revision's, beyond noise.

    ``strict``: a latency target that the old revision misses too fails the new one all the same.
    """

    latency_p95_ms: float
    error_percent: float
    slower_percent: float
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the new revision, and the old one's beside it. ``interval`` is the new one's, 95 % sure.

    ``no_objection``: it is unclear, and nothing speaks against going on but that the range reaches over the target.
    """

    metric: str
    target: str
    unit: str
    new: float | None = None
    old: float | None = None
    interval: Interval | None = None
    outcome: Outcome = "not measured"
    note: str = ""
    no_objection: bool = False


def judge(old: Observed, new: Observed, limits: Limits) -> tuple[Row, ...]:
    """One row a question: errors, latency against the target, latency against the old revision."""
    return (
        error_row(old, new, limits.error_percent),
        latency_row(old, new, limits),
        comparison_row(old, new, limits.slower_percent),
    )


def verdict(rows: Sequence[Row]) -> Outcome:
    """What the rows come to: the worst of them."""
    for outcome in ("fail", "not measured", "unclear"):
        if any(row.outcome == outcome for row in rows):
            return outcome
    return "pass"


def may_go_on(rows: Sequence[Row]) -> bool:
    """Whether each row passes, or is unclear and nothing but its range speaks against it."""
    return all(row.outcome == "pass" or row.no_objection for row in rows)


def restart_row(restarts: int) -> Row:
    """Engines of the new revision died and were started again, which clients may not have noticed: no pass."""
    note = "its engine died and was started again; why says its log: ai-how deploy logs"
    return Row(metric="restarts", target="0", unit="times", new=restarts, outcome="unclear", note=note)


def error_row(old: Observed, new: Observed, limit_percent: float) -> Row:
    """Fails where more requests fail than the target allows, chance considered; any count can show that.

    It passes where chance cannot hide more than the target: one in a hundred takes 381 requests without an error.
    """
    interval = share_interval(new.failed, new.asked)
    share = 100 * new.failed / new.asked if new.asked else None
    kinds = ", ".join(f"{count}x {kind}" for kind, count in sorted(new.errors.items()))
    note = f"{new.failed} of {new.asked} requests" + (f": {kinds}" if kinds else "")
    outcome: Outcome = "unclear"
    no_objection = False
    if interval is not None and interval[0] > limit_percent:
        outcome = "fail"
    elif new.asked < samples_needed(95):
        outcome = "not measured"
        note += f"; it takes {samples_needed(95)}"
    elif interval is not None and interval[1] <= limit_percent:
        outcome = "pass"
    elif share is not None and share <= limit_percent:
        no_objection = True
    else:
        note += "; too few requests to tell this from chance"
    if outcome == "fail" and new.said:
        note += f" ({new.said})"
    return Row(
        metric="errors",
        target=f"<= {limit_percent:g} %",
        unit="%",
        new=share,
        old=100 * old.failed / old.asked if old.asked else None,
        interval=interval,
        outcome=outcome,
        note=note,
        no_objection=no_objection,
    )


def latency_row(old: Observed, new: Observed, limits: Limits) -> Row:
    """Fails where P95 lies above the target, noise considered, unless the old revision's does too."""
    limit, samples = limits.latency_p95_ms, new.latencies_ms
    value, before = percentile(samples, 95), percentile(old.latencies_ms, 95)
    interval = percentile_interval(samples, 95, worth=independent_worth(samples)) if value is not None else None
    low, high = interval or (None, None)
    outcome: Outcome = "unclear"
    no_objection = False
    note = f"{len(samples)} answers"
    if value is None:
        outcome, note = "not measured", f"only {len(samples)} answers: P95 needs {samples_needed(95)}"
    elif value < limit and high is not None and high < limit:
        outcome = "pass"
    elif value < limit:
        no_objection = True
    elif not limits.strict and before is not None and before >= limit:
        outcome = "pass"
        note += "; the old revision misses it too: judged by comparison (--strict forbids this)"
    elif low is not None and low >= limit:
        outcome = "fail"
    else:
        note += "; its 95 % range reaches over the target"
    return Row(
        metric=LATENCY,
        target=f"< {limit:g} ms",
        unit="ms",
        new=value,
        old=before,
        interval=interval,
        outcome=outcome,
        note=note,
        no_objection=no_objection,
    )


def comparison_row(old: Observed, new: Observed, slower_percent: float) -> Row:
    """Fails where P95 has grown by more than is allowed, noise considered; what noise may explain is unclear."""
    limit = 1 + slower_percent / 100
    ratio, interval = p95_ratio(old.rounds, new.rounds)
    outcome: Outcome = "pass"
    note = "new to old, P95"
    if ratio is None or interval is None:
        outcome = "not measured"
        note = f"it takes {LEAST_ROUNDS} rounds of both, and {samples_needed(95)} answers of each"
    elif interval[0] > limit:
        outcome = "fail"
    elif interval[1] > limit:
        outcome = "unclear"
        note += "; within noise" if ratio > limit else ""
    return Row(
        metric="latency to old",
        target=f"<= {limit:.2f}",
        unit="x",
        new=ratio,
        interval=interval,
        outcome=outcome,
        note=note,
        no_objection=outcome == "unclear",
    )


def share_interval(hits: int, count: int) -> tuple[float, float] | None:
    """Lowest and highest share, percent, that are plausible with 95 % confidence (Wilson's interval); None of nothing.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, 1927.
    """
    if count == 0:
        return None
    share, square = hits / count, _NORMAL_975**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _NORMAL_975 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    # at the ends exactly: the difference of two floats that should be alike is none of the method's
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    return 100 * low, 100.0 if hits == count else 100 * min(1.0, middle + half)


def p95_ratio(
    old: Sequence[Sequence[float]], new: Sequence[Sequence[float]]
) -> tuple[float | None, tuple[float, float] | None]:
    """The new P95 as a multiple of the old one, and its 95 % interval; None where there is too little to say.

    Bootstrap in two levels, rounds and then answers within each, since the answers of one round are alike. The drawing
    is the same each time, so that the same figures give the same judgement.
    """
    import numpy as np

    pairs = [(one, other) for one, other in zip(old, new, strict=False) if one and other]
    needed = samples_needed(95)
    if len(pairs) < LEAST_ROUNDS or min(sum(map(len, side)) for side in zip(*pairs, strict=True)) < needed:
        return None, None
    olds, news = (tuple(side) for side in zip(*pairs, strict=True))
    before = percentile([latency for one in olds for latency in one], 95)
    after = percentile([latency for one in news for latency in one], 95)
    if not before or after is None:
        return None, None
    random = np.random.default_rng(0)
    ratios: list[float] = []
    for _ in range(BOOTSTRAPS // _BATCH):
        times = random.multinomial(len(pairs), [1 / len(pairs)] * len(pairs), size=_BATCH)
        ratios += list(_drawn_p95(news, times, random) / _drawn_p95(olds, times, random))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return after / before, (float(low), float(high))


def _drawn_p95(
    rounds: Sequence[Sequence[float]], times: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.float64]:
    """P95 of each draw. ``times``: how often each round was drawn, a row each draw.

    An answer is drawn Poisson-many times, on average as often as its round was: so all draws are made at once.
    """
    import numpy as np

    samples = np.concatenate([np.asarray(one, dtype=float) for one in rounds])
    order = np.argsort(samples)
    weights = random.poisson(np.repeat(times, [len(one) for one in rounds], axis=1))[:, order].cumsum(axis=1)
    reached = weights >= 0.95 * weights[:, -1:]
    found: NDArray[np.float64] = samples[order][reached.argmax(axis=1)]
    return found
