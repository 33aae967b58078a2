"""A benchmark result as plain text for a terminal of 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ai_how.bench.result import Level, Result


def render_text(result: Result) -> str:
    """Workload and machine, the load levels, the verdict."""
    parts = [_head(result), _levels(result.levels), _verdict(result)]
    if result.interrupted:
        parts.append("The run was interrupted: these are partial figures.")
    return "\n\n".join(part for part in parts if part)


def _head(result: Result) -> str:
    endpoint, machine, workload = result.endpoint, result.machine, result.workload
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    kind = "chat" if workload.chat else "completion"
    seen = result.levels[0] if result.levels else None
    tokens = f"{seen.prompt_tokens:.0f} prompt and {seen.output_tokens:.0f} output tokens" if seen else "not run"
    return "\n".join(
        (
            f"endpoint  {endpoint['name']}: {endpoint['model']}, {endpoint['engine']} on {endpoint['hardware']}",
            f"workload  {kind}, streamed, {tokens} a request, closed loop",
            f"machine   {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, {gpus}",
            f"          load average before: {machine['load_average_before']:g}",
        )
    )


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
    lines = _table(head, rows)
    lines += [
        f"  {level.concurrency} at once: {count}x {kind}" for level in levels for kind, count in level.errors.items()
    ]
    lines.append("TTFT, ITL: time to first token, between tokens; medians.  -: too few samples")
    return "\n".join(lines)


def _verdict(result: Result) -> str:
    rows = []
    notes = []
    for row in result.verdict:
        measured = "-" if row.measured is None else f"{row.measured:.3g} {row.unit}"
        rows.append((row.metric, row.target, measured, row.outcome))
        notes += textwrap.wrap(f"{row.metric}: {row.note}", 78, initial_indent="  ", subsequent_indent="    ")
    return "\n".join([*_table(("TARGET", "WANTED", "MEASURED", "VERDICT"), rows, right=()), *notes])


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


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
