"""Percentiles and intervals: exact where the answer is known, and right as often as they say on simulated data."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.bench.statistics import (
    PERCENTILES,
    independent_worth,
    percentile,
    percentile_interval,
    rate_interval,
    samples_for_interval,
    samples_needed,
    summarize,
)

RUNS = 400
finite = st.floats(0, 1e6)


@settings(deadline=None)
@given(st.lists(finite, min_size=100, max_size=300), st.sampled_from(PERCENTILES))
def test_percentiles_are_numpys(samples: list[float], percent: int) -> None:
    assert percentile(samples, percent) == pytest.approx(float(np.percentile(samples, percent)), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(st.lists(finite, max_size=130))
def test_nothing_is_said_of_too_few_samples(samples: list[float]) -> None:
    summary = summarize(samples)
    assert summary.count == len(samples)
    for percent, value in ((50, summary.p50), (95, summary.p95), (99, summary.p99)):
        assert (value is None) == (len(samples) < samples_needed(percent))
    assert summary.p50_interval is summary.p95_interval is summary.worth is None


def test_how_many_samples_a_percentile_and_its_interval_need() -> None:
    assert [samples_needed(percent) for percent in PERCENTILES] == [2, 20, 100]
    assert [samples_for_interval(percent) for percent in (50, 95)] == [6, 72]


@pytest.mark.parametrize(
    ("count", "percent", "ranks"),
    [
        # five samples all lie on one side of the median with a probability of 1/16: too often
        (5, 50, None),
        # six: 1/32
        (6, 50, (1, 6)),
        # the binomial table for 10 and 20: P(X <= 1) = 0.0107, P(X <= 2) = 0.0547; P(X <= 5) = 0.0207
        (10, 50, (2, 9)),
        (20, 50, (6, 15)),
        # 0.95 ** 71 > 0.025 > 0.95 ** 72
        (71, 95, (63, None)),
        (72, 95, (64, 72)),
        (1, 95, None),
    ],
)
def test_an_interval_has_the_ranks_of_the_binomial_table(
    count: int, percent: int, ranks: tuple[int, int | None] | None
) -> None:
    samples = [float(rank) for rank in range(count, 0, -1)]
    assert percentile_interval(samples, percent) == ranks


@settings(deadline=None)
@given(st.lists(finite, min_size=1, max_size=200), st.sampled_from((50, 95)), st.integers(1, 250))
def test_fewer_independent_samples_never_make_an_interval_narrower(
    samples: list[float], percent: int, worth: int
) -> None:
    full, wider = percentile_interval(samples, percent), percentile_interval(samples, percent, worth=worth)
    if wider is None:
        return
    assert full is not None
    assert wider[0] <= full[0]
    assert wider[1] is None or (full[1] is not None and full[1] <= wider[1])


def series(random: np.random.Generator, count: int, *, alike: float) -> list[float]:
    """Standard normal values of which neighbours have the correlation ``alike``."""
    noise = random.standard_normal(count)
    values = [float(noise[0])]
    for step in noise[1:]:
        values.append(alike * values[-1] + (1 - alike**2) ** 0.5 * float(step))
    return values


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("percent", [50, 95])
def test_an_interval_holds_the_true_percentile_as_often_as_it_says(percent: int, alike: float) -> None:
    random = np.random.default_rng(7)
    truth = NormalDist().inv_cdf(percent / 100)
    held = 0
    for _ in range(RUNS):
        summary = summarize(series(random, 120, alike=alike), intervals=True)
        interval = summary.p50_interval if percent == 50 else summary.p95_interval
        if interval is None:
            held += 1
            continue
        low, high = interval
        held += low <= truth and (high is None or truth <= high)
    # 0.95 less three standard deviations of such a count
    assert held / RUNS >= 0.95 - 3 * (0.95 * 0.05 / RUNS) ** 0.5


def test_without_regard_to_alike_neighbours_an_interval_would_be_wrong_too_often() -> None:
    random = np.random.default_rng(7)
    naive = [percentile_interval(series(random, 120, alike=0.8), 50) for _ in range(RUNS)]
    assert sum(one is not None and one[1] is not None and one[0] <= 0 <= one[1] for one in naive) / RUNS < 0.8


def test_samples_are_told_to_be_independent_or_not() -> None:
    random = np.random.default_rng(7)
    assert independent_worth([1.0] * 19) is None
    assert independent_worth([1.0] * 50) == 50
    worth = [independent_worth(series(random, 200, alike=0.0)) or 0 for _ in range(50)]
    assert np.median(worth) == 200
    worth = [independent_worth(series(random, 200, alike=0.8)) or 0 for _ in range(50)]
    # in the long run (1 - 0.8) / (1 + 0.8) of them
    assert 10 <= np.median(worth) <= 50
    assert (independent_worth([float(number) for number in range(200)]) or 200) < 20


@settings(deadline=None)
@given(st.lists(finite, max_size=150))
def test_samples_are_never_worth_more_than_they_are(samples: list[float]) -> None:
    worth = independent_worth(samples)
    assert worth is None or 1 <= worth <= len(samples)


def answers(random: np.random.Generator, *, clients: int, spread: float, until_s: float) -> tuple[list[float], float]:
    """Ends of answers of clients that ask again at once; an answer takes a second on average."""
    ends, last = [], 0.0
    for _ in range(clients):
        now = 0.0
        while now < until_s:
            now += float(random.gamma(1 / spread**2, spread**2))
            ends.append(now)
        last = max(last, now)
    return ends, last


@pytest.mark.parametrize("clients", [1, 4])
@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("until_s", [5, 60])
def test_a_rates_interval_holds_the_true_rate(clients: int, spread: float, until_s: float) -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(RUNS):
        interval = rate_interval(*answers(random, clients=clients, spread=spread, until_s=until_s))
        assert interval is not None
        held += interval[0] <= clients <= interval[1]
    # waiting for the last answers lowers the rate of a short level; the definition says so
    assert held / RUNS >= (0.85 if until_s == 5 else 0.9)


def test_rates_of_nothing_and_of_little() -> None:
    assert rate_interval([], 1) is None
    assert rate_interval([0.1], 0) is None
    low, high = rate_interval([0.5], 1) or (1, 1)
    assert low < 1 < high
    steady = [0.05 + 0.1 * number for number in range(100)]
    assert rate_interval(steady, 10) == pytest.approx((10, 10))
