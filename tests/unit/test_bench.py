"""Figures, verdicts and reports of the benchmark, from fixed samples."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.bench.cautions import cautions
from ai_how.bench.compare import compare_results, different_conditions
from ai_how.bench.load import goal_within_reach
from ai_how.bench.machine import Gpu
from ai_how.bench.probes import busiest
from ai_how.bench.report_html import render_html
from ai_how.bench.report_text import render_text
from ai_how.bench.result import Machine, Measured, Probe, Result, Row, from_json, level_of, to_json
from ai_how.bench.run import _no_utilization
from ai_how.bench.samples import Phase, Sample
from ai_how.bench.verdict import verdict
from ai_how.bench.workload import Workload, prompt, request_body, words_for
from ai_how.errors import SpecError
from ai_how.site.spec import Targets


def test_prompts_are_reproducible_and_never_share_a_beginning() -> None:
    workload = Workload(prompt_words=20)
    prompts = [prompt(workload, number) for number in range(50)]
    assert prompts == [prompt(workload, number) for number in range(50)]
    assert prompts != [prompt(replace(workload, seed=1), number) for number in range(50)]
    assert len({text.split(":")[0] for text in prompts}) == 50
    assert all(len(text.split()) == 20 for text in prompts)
    assert request_body(workload, "m", 1)[0] == "/v1/chat/completions"
    path, body = request_body(replace(workload, chat=False), "m", 1)
    assert path == "/v1/completions"
    assert body["max_tokens"] == 16


def test_more_tokens_make_more_words() -> None:
    assert [words_for(tokens) for tokens in (1, 4, 32, 1000)] == [2, 3, 24, 750]


def phase(concurrency: int, count: int, *, latency_s: float = 0.4, spread_s: float = 0.1, failed: int = 0) -> Phase:
    """Answers that take from ``latency_s`` to ``spread_s`` more, in no order."""
    drawn = random.Random(concurrency)
    good = [
        Sample(
            latency_s=latency_s + spread_s * drawn.random(),
            ended_at=10 * (i + 0.5) / count,
            first_token_s=0.1,
            gaps_s=(0.02,) * 15,
            prompt_tokens=30,
            output_tokens=16,
        )
        for i in range(count)
    ]
    bad = [
        Sample(latency_s=9.0, ended_at=1.0, error="status 500", detail="out <of> memory" if i else "other")
        for i in range(failed)
    ]
    return Phase(concurrency=concurrency, duration_s=10.0, samples=tuple(good + bad))


def result(*phases: Phase) -> Result:
    return Result(
        endpoint=Measured(name="tiny", model="tiny/1", engine="llamacpp", hardware="1x cpu"),
        machine=Machine(cpu="A CPU", cores=2, memory_gib=8.0, load_average_before=0.1),
        software={"ai-how": "1.2.3"},
        workload=Workload(seed=77),
        started_at="2026-01-02T03:04:05+00:00",
        planned=tuple(one.concurrency for one in phases),
        levels=tuple(level_of(one, replicas=(1, 1)) for one in phases),
        cold_start_s=Probe(value=2.0, note="how", stages={"load": 1.5}),
        scale_out_s=Probe(note="skipped as asked"),
        gpu_utilization_percent=Probe(note="no GPU"),
    )


def rows(measured: Result, *, gpus: int = 0) -> dict[str, Row]:
    return {row.metric: row for row in verdict(measured, Targets(), gpus_per_replica=gpus)}


def outcomes(measured: Result, *, gpus: int = 0) -> dict[str, str]:
    return {metric: row.outcome for metric, row in rows(measured, gpus=gpus).items()}


def test_a_level_counts_failures_and_keeps_them_out_of_the_latency() -> None:
    level = level_of(phase(2, 30, failed=3))
    assert (level.answered, level.errors, level.said) == (30, {"status 500": 3}, {"status 500": "out <of> memory"})
    assert level.requests_per_s == pytest.approx(3.0)
    assert level.output_tokens_per_s == pytest.approx(48.0)
    assert level.latency_ms.maximum is not None
    assert level.latency_ms.maximum < 1000
    assert level.inter_token_ms.p50 == pytest.approx(20)


def test_a_level_says_its_noise_but_not_that_of_gaps_within_an_answer() -> None:
    level = level_of(phase(2, 100))
    assert level.latency_ms.p95_interval is not None
    low, high = level.latency_ms.p95_interval
    assert level.latency_ms.p95 is not None
    assert high is not None
    assert low <= level.latency_ms.p95 <= high
    assert level.latency_ms.worth == 100
    assert level.requests_per_s_interval == pytest.approx((10, 10))
    assert level.first_token_ms.p50_interval == pytest.approx((100, 100))
    assert level.inter_token_ms.p50_interval is None


def test_the_verdict_passes_and_fails_by_the_targets() -> None:
    assert outcomes(result(phase(1, 100, spread_s=0.05), phase(8, 30))) == {
        "cold start": "pass",
        "latency P95": "pass",
        "throughput": "not measured",
        "GPU utilization": "not measured",
        "scale-out time": "not measured",
    }
    assert outcomes(result(phase(1, 100, latency_s=0.6)))["latency P95"] == "fail"
    assert outcomes(result(phase(8, 1000)), gpus=1)["throughput"] == "pass"
    assert outcomes(result(phase(8, 1000)), gpus=4)["throughput"] == "fail"
    slow = replace(result(), cold_start_s=Probe(value=12.0), gpu_utilization_percent=Probe(value=50.0))
    assert outcomes(slow)["cold start"] == "fail"
    assert outcomes(slow)["GPU utilization"] == "fail"


def test_noise_over_a_target_is_neither_pass_nor_fail() -> None:
    close = rows(result(phase(1, 200, latency_s=0.41, spread_s=0.095)))["latency P95"]
    assert close.outcome == "unclear"
    assert close.interval is not None
    assert close.interval[1] is not None
    assert close.interval[0] < 500 <= close.interval[1]
    assert "--duration" in close.note
    # 1000 answers in 10 s are 50 a second for each of two GPUs
    assert outcomes(result(phase(8, 1000)), gpus=2)["throughput"] == "fail"
    uneven = replace(
        phase(8, 1000), samples=tuple(replace(s, ended_at=s.ended_at**1.1) for s in phase(8, 1000).samples)
    )
    assert outcomes(result(uneven), gpus=2)["throughput"] == "unclear"


def test_few_answers_fail_where_all_are_too_slow_but_do_not_pass() -> None:
    assert outcomes(result(phase(1, 30, latency_s=0.6)))["latency P95"] == "fail"
    few = rows(result(phase(1, 30, latency_s=0.1)))["latency P95"]
    assert few.outcome == "unclear"
    assert few.interval is not None
    assert few.interval[1] is None
    assert "72" in few.note
    drifting = phase(1, 100, latency_s=0.1)
    drifting = replace(
        drifting, samples=tuple(replace(s, latency_s=0.1 + i / 1000) for i, s in enumerate(drifting.samples))
    )
    alike = rows(result(drifting))["latency P95"]
    assert alike.outcome == "unclear"
    assert "independent" in alike.note


def test_throughput_is_that_of_each_gpu_of_all_replicas() -> None:
    measured = result(phase(8, 1000))
    two = replace(measured, levels=(replace(measured.levels[0], replicas=(1, 2)),))
    row = rows(two, gpus=1)["throughput"]
    assert (row.outcome, row.measured) == ("fail", pytest.approx(50.0))
    assert "2 GPU" in row.note


def test_an_interrupted_run_misses_no_target_that_it_did_not_reach() -> None:
    measured = replace(result(phase(1, 100)), planned=(1, 8), interrupted=True)
    row = rows(measured, gpus=1)["throughput"]
    assert row.outcome == "not measured"
    assert "8 at once was not finished" in row.note
    assert outcomes(replace(result(phase(1, 1000)), planned=(1, 8)), gpus=1)["throughput"] == "pass"


@settings(deadline=None)
@given(st.integers(0, 19), st.integers(0, 4), st.sampled_from([None, 1.0, 1e9]))
def test_what_was_not_measured_never_passes(answers: int, gpus: int, cold_s: float | None) -> None:
    measured = replace(result(phase(1, answers)), cold_start_s=Probe(value=cold_s))
    for row in rows(measured, gpus=gpus).values():
        assert (row.outcome == "not measured") == (row.measured is None)
    assert outcomes(measured)["latency P95"] == "not measured"


@pytest.mark.parametrize(
    ("percents", "gpus", "value"),
    [
        ([[80.0], [90.0]], 1, 85.0),
        # the second GPU does nothing, and serves nothing
        ([[80.0, 0.0], [90.0, 2.0]], 1, 85.0),
        ([[80.0, 40.0]], 2, 60.0),
        ([[None]], 1, None),
        ([[None, 50.0]], 2, None),
        ([], 1, None),
        ([[]], 1, None),
    ],
)
def test_utilization_is_of_the_gpus_that_work(
    percents: list[list[float | None]], gpus: int, value: float | None
) -> None:
    seen = [[Gpu(name="A", utilization_percent=percent) for percent in sample] for sample in percents]
    assert busiest(seen, gpus=gpus).value == value


def judged() -> Result:
    measured = result(phase(1, 100), phase(8, 120, latency_s=1.0, failed=3))
    return replace(measured, verdict=verdict(measured, Targets(), gpus_per_replica=0))


def test_a_result_survives_its_file() -> None:
    text = json.dumps(to_json(judged()))
    assert from_json(text) == from_json(json.dumps(to_json(from_json(text))))
    assert json.loads(json.dumps(to_json(from_json(text)))) == json.loads(text)


NEW = {
    "result": ("planned", "software"),
    "level": (
        *("requests_per_s_interval", "said", "unfinished", "interrupted"),
        *("client_cpu_share", "tokens_counted", "replicas"),
    ),
    "summary": ("p50_interval", "p95_interval", "worth"),
}


def of_version_1() -> dict[str, Any]:
    """A result as it was written before there were intervals."""
    data = json.loads(json.dumps(to_json(judged()))) | {"format": "ai-how/bench/v1"}
    for key in NEW["result"]:
        del data[key]
    for level in data["levels"]:
        for key in NEW["level"]:
            del level[key]
        for figure in ("latency_ms", "first_token_ms", "inter_token_ms"):
            for key in NEW["summary"]:
                del level[figure][key]
    for row in data["verdict"]:
        del row["interval"]
    return data


def test_a_result_of_the_first_version_is_read_shown_and_compared() -> None:
    old = from_json(json.dumps(of_version_1()))
    assert old.levels[0].latency_ms.p95_interval is None
    assert "A CPU" in render_text(old)
    assert render_html(old)
    changes = {row.figure: row.change for row in compare_results(old, judged()) if row.concurrency == 1}
    assert changes["latency P50 ms"] == "within noise"
    assert changes["requests/s"] == "noise unknown"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{}", "format"),
        ("[]", "format"),
        ('{"format": "other"}', "format"),
        ('{"format": 3}', "format"),
        ('{"format": "ai-how/bench/v2"}', "endpoint"),
        (json.dumps(of_version_1() | {"levels": [1]}), "levels.0"),
        (json.dumps(of_version_1() | {"machine": {"cpu": "A"}}), "machine.cores"),
        ('{"format": "ai-how/bench/v99"}', "v99"),
    ],
)
def test_another_file_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_json(text)
    assert said in caught.value.evidence
    assert caught.value.next_step


def test_the_text_fits_a_terminal_and_tells_all() -> None:
    text = render_text(judged())
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in (
        *("llamacpp on 1x cpu", "30 prompt + 16 output tokens", "closed loop, seed 77", "A CPU", "ai-how 1.2.3"),
        *("not measured", "3x status 500: out <of> memory", "independent", "10..10"),
    ):
        assert word in text
    assert "partial" in render_text(replace(judged(), interrupted=True))
    assert render_text(replace(result(), verdict=()))


def test_long_times_and_names_fit_a_terminal_too() -> None:
    slow = result(phase(256, 200, latency_s=120.0, spread_s=60.0))
    slow = replace(
        slow,
        machine=replace(slow.machine, cpu="AMD EPYC 9654 96-Core Processor", gpus=("NVIDIA H100 80GB HBM3",) * 8),
        software={"ai-how": "0.1.0", "vllm": "0.23.1rc1.dev12+g0123456789.cu129", "xllamacpp": "2026.10.11549"},
    )
    text = render_text(replace(slow, verdict=verdict(slow, Targets(), gpus_per_replica=8)))
    assert max(len(line) for line in text.splitlines()) <= 80


def test_what_spoils_figures_is_said_once_and_else_nothing() -> None:
    assert cautions(result(phase(1, 30))) == []
    measured = result(phase(4, 30))
    level = replace(
        measured.levels[0],
        client_cpu_share=0.97,
        replicas=(1, 2),
        tokens_counted=False,
        interrupted=True,
        unfinished=3,
    )
    spoilt = replace(
        measured, levels=(level,), machine=replace(measured.machine, load_average_before=2.5), interrupted=True
    )
    said = cautions(spoilt)
    assert len(said) == 5
    for words in ("load average 2.5", "97%", "from 1 to 2", "did not count tokens", "in no figure: 3"):
        assert sum(words in sentence for sentence in said) == 1
    text, page = render_text(spoilt), render_html(spoilt)
    assert "97% of a core" in text
    assert all(sentence.replace("'", "&#x27;") in page for sentence in said)


class Page(HTMLParser):
    """Collects what a page would fetch, and its plots."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.plots = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.plots += tag == "svg"
        self.fetched += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "data") and value and not value.startswith("#")
        ]


def test_the_page_needs_nothing_from_outside() -> None:
    text = render_html(replace(judged(), endpoint=replace(judged().endpoint, name="<b>odd</b>")))
    page = Page()
    page.feed(text)
    assert page.plots == 3
    assert page.fetched == []
    assert "<script" not in text
    assert "<b>odd</b>" not in text
    assert "out &lt;of&gt; memory" in text
    assert "seed 77" in text
    assert render_html(result())
    # a range without an upper end, and one level alone
    assert render_html(result(phase(1, 30)))


def test_two_results_are_compared_with_their_noise() -> None:
    before = result(phase(1, 100))
    same = compare_results(before, result(phase(1, 100, latency_s=0.401), phase(2, 10)))
    assert {row.concurrency for row in same} == {1}
    assert {row.change for row in same} == {"within noise"}
    after = {row.figure: row for row in compare_results(before, result(phase(1, 300, latency_s=0.1)))}
    assert {row.change for name, row in after.items() if name != "TTFT P50 ms"} == {"better"}
    assert after["latency P50 ms"].ratio < 0.5
    back = {row.figure: row.change for row in compare_results(result(phase(1, 300, latency_s=0.1)), before)}
    assert back["latency P95 ms"] == back["requests/s"] == "worse"


def test_what_else_changed_between_two_results_is_said() -> None:
    before = result(phase(1, 30))
    assert different_conditions(before, before) == []
    after = replace(before, workload=replace(before.workload, output_tokens=64, seed=1), software={"ai-how": "2.0.0"})
    assert [(one.what, one.before, one.after) for one in different_conditions(before, after)] == [
        ("output tokens", "16", "64"),
        ("version of ai-how", "1.2.3", "2.0.0"),
    ]


@given(st.integers(0, 500), st.floats(0.1, 100), st.floats(0.1, 400), st.lists(st.integers(1, 200), max_size=4))
def test_a_level_goes_on_only_for_what_it_can_reach(
    answers: int, elapsed_s: float, longest_s: float, goals: list[int]
) -> None:
    goal = goal_within_reach(goals, answers=answers, elapsed_s=elapsed_s, longest_s=longest_s)
    expected = answers / elapsed_s * longest_s
    assert goal in (0, *goals)
    assert goal <= expected
    assert not [other for other in goals if goal < other <= expected]


def test_the_lower_goal_where_the_higher_one_is_out_of_reach() -> None:
    assert goal_within_reach((20, 72), answers=8, elapsed_s=4, longest_s=16) == 20
    assert goal_within_reach((20, 72), answers=18, elapsed_s=4, longest_s=16) == 72
    assert goal_within_reach((20, 72), answers=4, elapsed_s=4, longest_s=16) == 0
    assert goal_within_reach((20, 72), answers=0, elapsed_s=4, longest_s=16) == 0


@pytest.mark.parametrize(
    ("accelerator", "here", "words"),
    [
        ("cpu", True, "no GPU serves this endpoint"),
        ("nvidia_t4", True, "was not finished"),
        ("nvidia_t4", False, "ai-how bench cluster"),
    ],
)
def test_gpus_of_a_cluster_are_not_looked_for_on_this_machine(accelerator: str, here: bool, words: str) -> None:
    run = SimpleNamespace(gpus_per_replica=0 if accelerator == "cpu" else 1, here=here)
    assert words in _no_utilization(run)  # type: ignore[arg-type]
