"""The verdict: measured figures against the site's targets. Pure; what was not measured never passes."""

from __future__ import annotations

from ai_how.bench.result import Level, Outcome, Probe, Result, Row
from ai_how.bench.statistics import samples_needed
from ai_how.site.spec import Targets


def verdict(result: Result, targets: Targets, *, gpus: int) -> tuple[Row, ...]:
    """One row a target.

    Latency is judged at the lowest load level: it is the model's, without the queue that a load test makes on
    purpose. Throughput is judged at the best level.
    """
    return (
        _probe_row("cold start", result.cold_start_s, targets.cold_start_s, unit="s"),
        _latency_row(result.levels, targets.latency_p95_ms),
        _throughput_row(result.levels, targets.throughput_rps_per_gpu, gpus=gpus),
        _utilization_row(result.gpu_utilization_percent, targets.gpu_utilization_percent),
        _probe_row("scale-out time", result.scale_out_s, targets.scale_out_s, unit="s"),
    )


def _probe_row(metric: str, probe: Probe, limit: float, *, unit: str) -> Row:
    return Row(
        metric=metric,
        target=f"< {limit:g} {unit}",
        measured=probe.value,
        unit=unit,
        outcome=_below(probe.value, limit),
        note=probe.note,
    )


def _latency_row(levels: tuple[Level, ...], limit_ms: float) -> Row:
    level = min(levels, key=lambda one: one.concurrency, default=None)
    value = level.latency_ms.p95 if level else None
    if level is None:
        note = "no load level was run"
    elif value is None:
        note = f"only {level.answered} answers at {level.concurrency} at once; P95 needs {samples_needed(95)}"
    else:
        note = (
            f"whole answer of {level.output_tokens:.0f} tokens, {level.concurrency} at once, {level.answered} answers"
        )
    return Row(
        metric="latency P95",
        target=f"< {limit_ms:g} ms",
        measured=value,
        unit="ms",
        outcome=_below(value, limit_ms),
        note=note,
    )


def _throughput_row(levels: tuple[Level, ...], limit: float, *, gpus: int) -> Row:
    target = f"> {limit:g} req/s/GPU"
    best = max(levels, key=lambda one: one.requests_per_s, default=None)
    if best is None or gpus == 0:
        seen = f"; on the CPU {best.requests_per_s:.1f} req/s at {best.concurrency} at once" if best else ""
        note = f"no GPU serves this endpoint{seen}"
        return Row(metric="throughput", target=target, measured=None, unit="req/s", outcome="not measured", note=note)
    value = best.requests_per_s / gpus
    return Row(
        metric="throughput",
        target=target,
        measured=value,
        unit="req/s",
        outcome="pass" if value > limit else "fail",
        note=f"{best.concurrency} at once, {gpus} GPU(s)",
    )


def _utilization_row(probe: Probe, limit: float) -> Row:
    outcome: Outcome = "not measured" if probe.value is None else "pass" if probe.value > limit else "fail"
    return Row(
        metric="GPU utilization",
        target=f"> {limit:g} %",
        measured=probe.value,
        unit="%",
        outcome=outcome,
        note=probe.note,
    )


def _below(value: float | None, limit: float) -> Outcome:
    if value is None:
        return "not measured"
    return "pass" if value < limit else "fail"
