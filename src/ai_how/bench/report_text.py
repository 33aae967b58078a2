"""A benchmark result as plain text for a terminal of 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ai_how.bench.cautions import cautions
from ai_how.bench.result import Level, Result
from ai_how.bench.statistics import Interval, Summary

_WIDTH = 80


def render_text(result: Result) -> str:
    """Workload and machine, the load levels, their noise, what to mind, the verdict."""
    parts = [
        _head(result),
        _levels(result.levels),
        _noise(result.levels),
        "\n".join(line for text in cautions(result) for line in _wrapped(f"! {text}")),
        _verdict(result),
    ]
    if result.interrupted:
        parts.append("The run was interrupted: these are partial figures.")
    return "\n\n".join(part for part in parts if part)


def measured_with_range(measured: float | None, unit: str, interval: Interval | None) -> str:
    """A figure and its 95 % range: ``238 ms (231..260)``; ``-`` where there is no figure."""
    if measured is None:
        return "-"
    return f"{_three(measured)} {unit}" + (f" ({_range(interval, measured)})" if interval else "")


def samples_worth(summary: Summary) -> str:
    """Whether samples in a row are independent, and if not, how many independent ones they are worth."""
    if summary.worth is None:
        return "-"
    if summary.worth >= summary.count:
        return "independent"
    return f"alike: worth {summary.worth} of {summary.count}"


def tokens_of(result: Result) -> str:
    """Mean tokens of a request, by the engine's count at the lowest level that was answered."""
    seen = next((level for level in result.levels if level.answered), None)
    return f"{seen.prompt_tokens:.0f} prompt + {seen.output_tokens:.0f} output tokens" if seen else "no answer"


def _head(result: Result) -> str:
    endpoint, machine, workload = result.endpoint, result.machine, result.workload
    gpus = ", ".join(machine.gpus) or "no GPU"
    kind = "chat" if workload.chat else "completion"
    lines = (
        ("endpoint", f"{endpoint.name}: {endpoint.model}, {endpoint.engine} on {endpoint.hardware}"),
        ("workload", f"{kind}, streamed, {tokens_of(result)}, closed loop, seed {workload.seed}"),
        ("machine", f"{machine.cpu}, {machine.cores:g} cores, {machine.memory_gib:g} GiB, {gpus}"),
        ("", f"load average before: {machine.load_average_before:g}"),
        ("software", ", ".join(f"{name} {version}" for name, version in result.software.items()) or "unknown"),
    )
    return "\n".join(line for name, text in lines for line in _wrapped(text, name.ljust(10), " " * 10))


def _levels(levels: tuple[Level, ...]) -> str:
    if not levels:
        return ""
    head = ("AT ONCE", "REQ/S", "TOK/S", "P50 ms", "P95 ms", "P99 ms", "TTFT ms", "ITL ms", "N", "ERRORS")
    rows = [
        (
            str(level.concurrency),
            f"{level.requests_per_s:.1f}",
            f"{level.output_tokens_per_s:.0f}",
            _number(level.latency_ms.p50),
            _number(level.latency_ms.p95),
            _number(level.latency_ms.p99),
            _number(level.first_token_ms.p50),
            _number(level.inter_token_ms.p50, digits=1),
            str(level.answered),
            str(sum(level.errors.values())),
        )
        for level in levels
    ]
    legend = "TTFT, ITL: time to first token, between tokens; medians.  -: too few samples"
    return "\n".join([*_table(head, rows), legend])


def _noise(levels: tuple[Level, ...]) -> str:
    rows = [
        (
            str(level.concurrency),
            _range(level.requests_per_s_interval, level.requests_per_s),
            _range(level.latency_ms.p50_interval, level.latency_ms.p50),
            _range(level.latency_ms.p95_interval, level.latency_ms.p95),
            samples_worth(level.latency_ms),
            "-" if level.client_cpu_share is None else f"{level.client_cpu_share:.0%}",
        )
        for level in levels
        if level.answered
    ]
    if not rows:
        return ""
    head = ("AT ONCE", "REQ/S", "P50 ms", "P95 ms", "ANSWERS IN A ROW", "CLIENT CPU")
    legend = "95 % ranges.  ?: too few samples for an upper end.  CLIENT CPU: of one core"
    return "\n".join([*_table(head, rows), legend])


def _verdict(result: Result) -> str:
    rows = [
        (row.metric, row.target, measured_with_range(row.measured, row.unit, row.interval), row.outcome)
        for row in result.verdict
    ]
    notes = [line for row in result.verdict for line in _wrapped(f"{row.metric}: {row.note}")]
    return "\n".join([*_table(("TARGET", "WANTED", "MEASURED", "VERDICT"), rows, right=()), *notes])


def _wrapped(text: str, first: str = "  ", hanging: str = "    ") -> list[str]:
    """Commands with a hyphen stay whole."""
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=hanging, break_on_hyphens=False)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _three(value: float) -> str:
    """Three significant figures, never in powers of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _range(interval: Interval | None, value: float | None) -> str:
    """``231..260``, ``231..?`` without an upper end, ``-`` where nothing is known."""
    if interval is None or value is None:
        return "-"
    low, high = interval
    return f"{_three(low)}..{'?' if high is None else _three(high)}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] | None = None) -> list[str]:
    """Columns two spaces apart; numbers to the right unless ``right`` names the columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    to_right = range(len(head)) if right is None else right
    return [
        "  ".join(
            cell.rjust(width) if i in to_right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
