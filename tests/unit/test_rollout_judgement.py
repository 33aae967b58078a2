"""What a rollout decides from: targets, the old revision, noise, and answers that were checked."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.bench.result import Machine
from ai_how.bench.rollout.judgement import (
    Limits,
    Observed,
    Row,
    comparison_row,
    error_row,
    judge,
    latency_row,
    may_go_on,
    p95_ratio,
    restart_row,
    share_interval,
    verdict,
)
from ai_how.bench.rollout.measure import Load, observed
from ai_how.bench.rollout.report import Report, StepReport, render_text, to_json
from ai_how.bench.rollout.report_html import render_html
from ai_how.bench.samples import Phase, Sample
from ai_how.bench.workload import Workload

LIMITS = Limits(latency_p95_ms=500, error_percent=1, slower_percent=10)


def seen(middle_ms: float, *, rounds: int = 5, each: int = 20, failed: int = 0, seed: int = 0) -> Observed:
    """Answers around a middle, as a lognormal distribution has them: most near it, some far above."""
    dice = random.Random(seed)
    return Observed(
        rounds=tuple(tuple(middle_ms * dice.lognormvariate(0, 0.2) for _ in range(each)) for _ in range(rounds)),
        failed=failed,
        errors={"status 500": failed} if failed else {},
    )


def test_a_version_that_is_as_good_passes() -> None:
    rows = judge(seen(100, seed=1, each=100), seen(100, seed=2, each=100), LIMITS)
    assert [row.outcome for row in rows] == ["pass"] * 3
    assert may_go_on(rows)


def test_a_range_that_reaches_over_its_target_is_unclear_and_no_objection() -> None:
    rows = judge(seen(100, seed=1, each=6), seen(100, seed=2, each=6), LIMITS)
    assert [row.outcome for row in rows] == ["unclear"] * 3
    assert may_go_on(rows)
    failed = error_row(Observed(), seen(100, each=4, failed=1), 1)
    assert failed.outcome == "unclear"
    assert not may_go_on([failed]), "an error was seen, more than the target allows"
    assert not may_go_on([restart_row(1)])
    assert not may_go_on([Row(metric="x", target="", unit="")])


def test_the_same_speed_hardly_ever_fails_and_twice_as_slow_always_does() -> None:
    same = [comparison_row(seen(100, seed=seed), seen(100, seed=seed + 500), 10).outcome for seed in range(60)]
    assert same.count("fail") <= 4
    slow = [comparison_row(seen(100, seed=seed), seen(200, seed=seed + 500), 10).outcome for seed in range(60)]
    assert set(slow) == {"fail"}


def test_rounds_that_differ_from_each_other_are_noise() -> None:
    """Each round a little slower than the last, whoever is asked: no difference between the two."""
    dice = random.Random(3)
    old = tuple(tuple(100 * one * dice.lognormvariate(0, 0.1) for _ in range(20)) for one in (1, 1.5, 2, 2.5, 3))
    new = tuple(tuple(100 * one * dice.lognormvariate(0, 0.1) for _ in range(20)) for one in (1.1, 1.6, 2, 2.6, 3.2))
    row = comparison_row(Observed(rounds=old), Observed(rounds=new), 10)
    assert row.outcome == "unclear"
    assert row.no_objection


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_share_s_interval_holds_the_share(hits: int, more: int) -> None:
    interval = share_interval(hits, hits + more)
    if interval is None:
        assert hits + more == 0
        return
    assert 0 <= interval[0] <= 100 * hits / (hits + more) + 1e-9
    assert 100 * hits / (hits + more) - 1e-9 <= interval[1] <= 100


def test_published_values_of_wilson_s_interval() -> None:
    """0 of 10 and 5 of 10, as any table of the method gives them."""
    low, high = share_interval(0, 10) or (1.0, 0.0)
    assert (low, round(high, 2)) == (0.0, 27.75)
    low, high = share_interval(5, 10) or (1.0, 0.0)
    assert (round(low, 2), round(high, 2)) == (23.66, 76.34)


@given(st.integers(0, 200), st.integers(0, 60), st.floats(0, 50))
def test_more_errors_are_never_judged_better(answered: int, failed: int, limit: float) -> None:
    rank = ["pass", "not measured", "unclear", "fail"]
    now = error_row(Observed(), Observed(rounds=((1.0,) * answered,), failed=failed), limit)
    worse = error_row(Observed(), Observed(rounds=((1.0,) * answered,), failed=failed + 1), limit)
    measured = answered + failed >= 20
    assert not measured or rank.index(worse.outcome) >= rank.index(now.outcome)


@pytest.mark.parametrize(
    ("answered", "failed", "outcome"),
    [
        (19, 0, "not measured"),
        (20, 0, "unclear"),
        (380, 0, "unclear"),
        (381, 0, "pass"),
        (200, 2, "unclear"),
        (2000, 8, "pass"),
        (19, 1, "unclear"),
        (3, 4, "fail"),
        (0, 3, "fail"),
        (90, 10, "fail"),
        (0, 0, "not measured"),
    ],
)
def test_errors_against_the_target(answered: int, failed: int, outcome: str) -> None:
    row = error_row(Observed(), Observed(rounds=((1.0,) * answered,), failed=failed), 1)
    assert row.outcome == outcome, row


def test_errors_are_told_by_kind_and_with_what_was_said() -> None:
    new = Observed(rounds=((1.0,) * 10,), failed=10, errors={"status 500": 9, "timeout": 1}, said="exploded")
    note = error_row(Observed(), new, 1).note
    assert note == "10 of 20 requests: 9x status 500, 1x timeout (exploded)"


def test_the_latency_target_and_the_old_revision() -> None:
    assert latency_row(seen(100), seen(400, each=40), LIMITS).outcome == "fail"
    assert latency_row(seen(100), seen(200, seed=4), LIMITS).outcome == "pass"
    assert latency_row(seen(100), seen(100, rounds=1, each=19), LIMITS).outcome == "not measured"
    both = latency_row(seen(900), seen(900), LIMITS)
    assert both.outcome == "pass"
    assert "judged by comparison" in both.note
    strict = Limits(latency_p95_ms=500, error_percent=1, slower_percent=10, strict=True)
    assert latency_row(seen(900), seen(900, each=40), strict).outcome == "fail"


def test_a_range_that_reaches_over_the_target_is_unclear() -> None:
    row = latency_row(seen(100), seen(360, each=10, seed=2), LIMITS)
    assert row.new is not None
    assert row.new >= 500
    assert row.outcome == "unclear"
    assert not row.no_objection


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (seen(100, rounds=2), seen(100, rounds=2)),
        (seen(100, each=3), seen(100)),
        (Observed(), seen(100)),
        (Observed(rounds=((0.0,) * 20,) * 5), seen(100)),
    ],
)
def test_too_little_is_not_measured(old: Observed, new: Observed) -> None:
    assert p95_ratio(old.rounds, new.rounds) == (None, None)
    assert comparison_row(old, new, 10).outcome == "not measured"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(1, 1e4))
def test_the_ratio_lies_in_its_range_and_is_the_same_again(seed: int, middle: float) -> None:
    old, new = seen(middle, seed=seed), seen(middle, seed=seed + 1)
    ratio, interval = p95_ratio(old.rounds, new.rounds)
    assert ratio is not None
    assert interval is not None
    assert interval[0] <= interval[1]
    assert 0 < ratio < interval[1] * 1.5
    assert p95_ratio(old.rounds, new.rounds) == (ratio, interval)


@given(st.lists(st.sampled_from(["pass", "fail", "unclear", "not measured"]), max_size=6))
def test_the_verdict_is_the_worst_row(outcomes: list[str]) -> None:
    rows = [Row(metric="x", target="", unit="", outcome=outcome) for outcome in outcomes]  # type: ignore[arg-type]
    found = verdict(rows)
    assert ("fail" in outcomes) == (found == "fail")
    assert (set(outcomes) <= {"pass"}) == (found == "pass")


def test_samples_become_what_is_judged() -> None:
    good = Sample(latency_s=0.1, ended_at=1)
    bad = Sample(latency_s=9, ended_at=2, error="status 500", detail="exploded")
    phases = [Phase(concurrency=1, duration_s=1, samples=(good, bad)), Phase(concurrency=1, duration_s=1, samples=())]
    found = observed(phases)
    assert found == Observed(rounds=((100.0,), ()), failed=1, errors={"status 500": 1}, said="exploded")
    assert found.asked == 2


def test_the_report_says_what_failed_with_its_figures() -> None:
    rows = judge(seen(100), seen(900, each=40), LIMITS)
    step = StepReport(share_percent=10, seconds=30, old_answers=100, new_answers=200, rows=rows)
    report = Report(
        endpoint="m",
        old="revision 1 (m/1)",
        new="revision 2 (m/2)",
        result="rolled back",
        why="latency P95 1290 ms, target < 500 ms at 10 %",
        started_at="",
        ended_at="",
        steps=(step,),
        planned=(10, 100),
        limits=LIMITS,
        load=Load(duration_s=30, concurrency=1),
        workload=Workload(),
        machine=Machine(cpu="a CPU", cores=2, memory_gib=4, load_average_before=0.5),
    )
    text = render_text(report)
    assert "m: revision 1 (m/1) -> revision 2 (m/2)" in text
    assert "10 %, latency P95: 200 answers" in text
    assert "200 answers of the new and 100 of the old revision" in text
    assert text.splitlines()[-1].startswith("rolled back: latency P95")
    assert max(map(len, text.splitlines())) <= 80
    too_few = replace(step, rows=(Row(metric="errors", target="<= 1 %", unit="%", note="0 of 8 requests"),))
    assert "a longer --duration brings more answers" in render_text(replace(report, steps=(too_few,)))
    beside = replace(report, new=f"revision 2 (m/2 with {', '.join(f'a{n}: m-a{n}/2' for n in range(9))})")
    assert max(map(len, render_text(beside).splitlines())) <= 80
    assert "a8: m-a8/2" in render_html(beside)
    assert to_json(report)["steps"][0]["rows"][1]["outcome"] == "fail"
    shown = render_html(replace(report, endpoint="<m>", check_row=Row(metric="answer checks", target="", unit="")))
    assert "<h1>&lt;m&gt;: revision 1 (m/1) to revision 2 (m/2)</h1>" in shown
    assert '<td class="fail">fail</td>' in shown
    assert '<td class="not">not measured</td>' in shown
    assert "P95 of a whole answer at each step" in shown
    assert "Nothing was measured." in render_html(replace(report, steps=()))
