"""The verdict: measured figures against the site's targets. Pure.

What was not measured never passes, and a figure whose noise reaches over its target neither passes nor fails.
"""

from __future__ import annotations

from functools import partial

from ai_how.bench.result import Level, Outcome, Probe, Result, Row
from ai_how.bench.statistics import samples_for_interval, samples_needed
from ai_how.site.spec import Targets

_OVERLAP = "the 95 % range reaches over the target: a longer --duration narrows it"


def verdict(result: Result, targets: Targets, *, gpus_per_replica: int) -> tuple[Row, ...]:
    """One row a target. ``gpus_per_replica`` is 0 where the endpoint runs on the CPU.

    Latency is judged at the lowest load level: it is the model's, without the queue that a load test makes on
    purpose. Throughput is judged at the best level.
    """
    return (
        _probe_row("cold start", result.cold_start_s, targets.cold_start_s, unit="s"),
        _latency_row(result.levels, targets.latency_p95_ms),
        _throughput_row(result, targets.throughput_rps_per_gpu, gpus_per_replica=gpus_per_replica),
        _utilization_row(result.gpu_utilization_percent, targets.gpu_utilization_percent),
        _probe_row("scale-out time", result.scale_out_s, targets.scale_out_s, unit="s"),
    )


def _probe_row(metric: str, probe: Probe, limit: float, *, unit: str) -> Row:
    outcome: Outcome = "not measured" if probe.value is None else "pass" if probe.value < limit else "fail"
    return Row(
        metric=metric, target=f"< {limit:g} {unit}", measured=probe.value, unit=unit, outcome=outcome, note=probe.note
    )


def _latency_row(levels: tuple[Level, ...], limit_ms: float) -> Row:
    level = min(levels, key=lambda one: one.concurrency, default=None)
    row = partial(Row, metric="latency P95", target=f"< {limit_ms:g} ms", unit="ms")
    if level is None:
        return row(note="no load level was run")
    summary = level.latency_ms
    if summary.p95 is None:
        needed = f"P95 needs {samples_needed(95)}, and {samples_for_interval(95)} to pass"
        return row(note=f"only {level.answered} answers at {level.concurrency} at once; {needed}")
    low, high = summary.p95_interval or (None, None)
    outcome: Outcome = "unclear"
    if low is not None and low >= limit_ms:
        outcome = "fail"
    elif high is not None and high < limit_ms:
        outcome = "pass"
    tokens = f"{level.prompt_tokens:.0f} tokens in, {level.output_tokens:.0f} out"
    note = f"whole answer, {tokens}, {level.concurrency} at once, {level.answered} answers"
    if outcome == "unclear":
        note += f"; {_why_unclear(level, closed=high is not None)}"
    return row(note=note, measured=summary.p95, outcome=outcome, interval=summary.p95_interval)


def _why_unclear(level: Level, *, closed: bool) -> str:
    if closed:
        return _OVERLAP
    worth = level.latency_ms.worth
    alike = f", which tell no more than {worth} independent ones" if worth and worth < level.answered else ""
    return f"too few to bound P95 from above{alike}: it takes {samples_for_interval(95)}; give a longer --duration"


def _throughput_row(result: Result, limit: float, *, gpus_per_replica: int) -> Row:
    row = partial(Row, metric="throughput", target=f"> {limit:g} req/s/GPU", unit="req/s")
    best = max(result.levels, key=lambda one: one.requests_per_s / _gpus(one, gpus_per_replica), default=None)
    if best is None:
        return row(note="no load level was run")
    if gpus_per_replica == 0:
        seen = f"on the CPU {best.requests_per_s:.1f} req/s at {best.concurrency} at once"
        return row(note=f"no GPU serves this endpoint; {seen}")
    gpus = _gpus(best, gpus_per_replica)
    value = best.requests_per_s / gpus
    low, high = best.requests_per_s_interval or (best.requests_per_s, best.requests_per_s)
    interval = low / gpus, high / gpus
    outcome: Outcome = "pass" if interval[0] > limit else "fail" if interval[1] <= limit else "unclear"
    if outcome != "pass" and (missing := _unfinished(result)):
        return row(note=f"{missing} at once was not finished, and may be the best; seen {value:.3g} req/s")
    note = f"answers of {best.output_tokens:.0f} tokens, {best.concurrency} at once, {gpus} GPU(s)" + (
        f"; {_OVERLAP}" if outcome == "unclear" else ""
    )
    return row(note=note, measured=value, outcome=outcome, interval=interval)


def _gpus(level: Level, gpus_per_replica: int) -> int:
    return max(1, gpus_per_replica) * max(1, *(level.replicas or (1,)))


def _unfinished(result: Result) -> str:
    finished = {level.concurrency for level in result.levels if not level.interrupted}
    return ", ".join(str(planned) for planned in result.planned if planned not in finished)


def _utilization_row(probe: Probe, limit: float) -> Row:
    row = partial(Row, metric="GPU utilization", target=f"> {limit:g} %", unit="%", note=probe.note)
    if probe.value is None:
        return row()
    return row(measured=probe.value, outcome="pass" if probe.value > limit else "fail")
