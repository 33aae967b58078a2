"""Figures, verdicts and reports of the benchmark, from fixed samples."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.bench.compare import compare_results
from ai_how.bench.load import Phase, Sample
from ai_how.bench.report_html import render_html
from ai_how.bench.report_text import render_text
from ai_how.bench.result import Probe, Result, from_json, level_of, to_json
from ai_how.bench.statistics import PERCENTILES, percentile, samples_needed, summarize
from ai_how.bench.verdict import verdict
from ai_how.bench.workload import Workload, prompt, request_body
from ai_how.errors import SpecError
from ai_how.site.spec import Targets

finite = st.floats(0, 1e6)


@given(st.lists(finite, min_size=100, max_size=300), st.sampled_from(PERCENTILES))
def test_percentiles_are_numpys(samples: list[float], percent: int) -> None:
    assert percentile(samples, percent) == pytest.approx(float(np.percentile(samples, percent)), rel=1e-9, abs=1e-9)


@given(st.lists(finite, max_size=130))
def test_nothing_is_said_of_too_few_samples(samples: list[float]) -> None:
    summary = summarize(samples)
    assert summary.count == len(samples)
    for percent, value in ((50, summary.p50), (95, summary.p95), (99, summary.p99)):
        assert (value is None) == (len(samples) < samples_needed(percent))


def test_how_many_samples_a_percentile_needs() -> None:
    assert [samples_needed(percent) for percent in PERCENTILES] == [2, 20, 100]


def test_prompts_are_reproducible_and_never_share_a_beginning() -> None:
    workload = Workload(prompt_words=20)
    prompts = [prompt(workload, number) for number in range(50)]
    assert prompts == [prompt(workload, number) for number in range(50)]
    assert len({text.split(":")[0] for text in prompts}) == 50
    assert all(len(text.split()) == 20 for text in prompts)
    assert request_body(workload, "m", 1)[0] == "/v1/chat/completions"
    path, body = request_body(replace(workload, chat=False), "m", 1)
    assert path == "/v1/completions"
    assert body["max_tokens"] == 16


def phase(concurrency: int, count: int, *, latency_s: float = 0.4, failed: int = 0) -> Phase:
    good = [
        Sample(
            latency_s=latency_s + i / 1000,
            ended_at=float(i),
            first_token_s=0.1,
            gaps_s=(0.02,) * 15,
            prompt_tokens=30,
            output_tokens=16,
        )
        for i in range(count)
    ]
    bad = [Sample(latency_s=9.0, ended_at=1.0, error="status 500") for _ in range(failed)]
    return Phase(concurrency=concurrency, duration_s=10.0, samples=tuple(good + bad))


def result(*phases: Phase) -> Result:
    return Result(
        endpoint={"name": "tiny", "model": "tiny/1", "engine": "llamacpp", "hardware": "1x cpu"},
        machine={"cpu": "A CPU", "cores": 2, "memory_gib": 8.0, "load_average_before": 0.1, "gpus": []},
        workload=Workload(),
        started_at="2026-01-02T03:04:05+00:00",
        levels=tuple(level_of(one) for one in phases),
        cold_start_s=Probe(value=2.0, note="how", stages={"load": 1.5}),
        scale_out_s=Probe(note="skipped as asked"),
        gpu_utilization_percent=Probe(note="no GPU"),
    )


def outcomes(measured: Result, *, gpus: int = 0) -> dict[str, str]:
    return {row.metric: row.outcome for row in verdict(measured, Targets(), gpus=gpus)}


def test_a_level_counts_failures_and_keeps_them_out_of_the_latency() -> None:
    level = level_of(phase(2, 30, failed=3))
    assert (level.answered, level.errors) == (30, {"status 500": 3})
    assert level.requests_per_s == pytest.approx(3.0)
    assert level.output_tokens_per_s == pytest.approx(48.0)
    assert level.latency_ms.maximum is not None
    assert level.latency_ms.maximum < 1000
    assert level.inter_token_ms.p50 == pytest.approx(20)


def test_the_verdict_passes_and_fails_by_the_targets() -> None:
    assert outcomes(result(phase(1, 30), phase(8, 30))) == {
        "cold start": "pass",
        "latency P95": "pass",
        "throughput": "not measured",
        "GPU utilization": "not measured",
        "scale-out time": "not measured",
    }
    assert outcomes(result(phase(1, 30, latency_s=0.6)))["latency P95"] == "fail"
    assert outcomes(result(phase(8, 1000)), gpus=1)["throughput"] == "pass"
    assert outcomes(result(phase(8, 1000)), gpus=2)["throughput"] == "fail"
    slow = replace(result(), cold_start_s=Probe(value=12.0), gpu_utilization_percent=Probe(value=50.0))
    assert outcomes(slow)["cold start"] == "fail"
    assert outcomes(slow)["GPU utilization"] == "fail"


@given(st.integers(0, 19), st.integers(0, 4), st.sampled_from([None, 1.0, 1e9]))
def test_what_was_not_measured_never_passes(answers: int, gpus: int, cold_s: float | None) -> None:
    measured = replace(result(phase(1, answers)), cold_start_s=Probe(value=cold_s))
    for row in verdict(measured, Targets(), gpus=gpus):
        assert (row.outcome == "not measured") == (row.measured is None)
    assert outcomes(measured)["latency P95"] == "not measured"


def judged() -> Result:
    measured = result(phase(1, 30), phase(8, 120, latency_s=1.0, failed=2))
    return replace(measured, verdict=verdict(measured, Targets(), gpus=0))


def test_a_result_survives_its_file() -> None:
    text = json.dumps(to_json(judged()))
    assert json.loads(json.dumps(to_json(from_json(text)))) == json.loads(text)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "other"}', '{"format": "ai-how/bench/v1"}'])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        from_json(text)


def test_the_text_fits_a_terminal_and_tells_all() -> None:
    text = render_text(judged())
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in ("llamacpp on 1x cpu", "30 prompt and 16 output tokens", "A CPU", "not measured", "2x status 500"):
        assert word in text
    assert "partial" in render_text(replace(judged(), interrupted=True))
    assert render_text(replace(result(), verdict=()))


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
    text = render_html(replace(judged(), endpoint={**judged().endpoint, "name": "<b>odd</b>"}))
    page = Page()
    page.feed(text)
    assert page.plots == 3
    assert page.fetched == []
    assert "<script" not in text
    assert "<b>odd</b>" not in text
    assert render_html(result())


def test_two_results_are_compared_with_their_noise() -> None:
    before = result(phase(1, 50))
    same = compare_results(before, result(phase(1, 50, latency_s=0.401), phase(2, 10)))
    assert {row.concurrency for row in same} == {1}
    assert {row.remark for row in same} == {"within noise"}
    faster = compare_results(before, result(phase(1, 50, latency_s=0.1)))
    assert {row.remark for row in faster} == {""}
    assert next(row for row in faster if row.figure == "latency P50 ms").ratio < 0.5
