"""What a rollout comes to, as data and as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ai_how.bench.result import Machine
from ai_how.bench.rollout.judgement import Limits, Row
from ai_how.bench.rollout.measure import CheckResult, Load
from ai_how.bench.workload import Workload

FORMAT = "ai-how/rollout/v1"
Result = Literal["promoted", "rolled back", "held", "interrupted"]
_WIDTH = 80


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One step: the new revision's part of the requests, and what was measured at it."""

    share_percent: int
    seconds: float
    old_answers: int
    new_answers: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A rollout from its beginning to its end. ``old`` and ``new`` are ``revision N (model/version with adapters)``."""

    endpoint: str
    old: str
    new: str
    result: Result
    why: str
    started_at: str
    ended_at: str
    steps: tuple[StepReport, ...]
    planned: tuple[int, ...]
    limits: Limits
    load: Load
    workload: Workload
    machine: Machine
    checks: tuple[CheckResult, ...] = ()
    check_row: Row | None = None
    software: Mapping[str, str] = field(default_factory=dict)


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON's values."""
    return {"format": FORMAT, **asdict(report)}


def render_text(report: Report) -> str:
    """The report for people, in 80 columns."""
    lines = [*_wrapped(f"{report.endpoint}: {report.old} -> {report.new}"), ""]
    found = rows_by_step(report)
    table = [("STEP", "FIGURE", "OLD", "NEW", "95 % RANGE", "TARGET", ""), *(_row(share, row) for share, row in found)]
    lines += _columns(table) if found else ["nothing was measured"]
    said = [line for one in notes(report) for line in _wrapped(one)]
    lines += ["", *said] if said else []
    lines += ["", *_wrapped(asked(report)), ""]
    lines += _wrapped(f"{report.result}: {report.why}")
    return "\n".join(lines)


def rows_by_step(report: Report) -> list[tuple[int, Row]]:
    """All rows in the order in which they were decided, each with the new revision's share in percent."""
    rows = [(step.share_percent, row) for step in report.steps for row in step.rows]
    return [(0, report.check_row), *rows] if report.check_row else rows


def between(row: Row) -> str:
    """A row's range; empty where there is none."""
    if row.interval is None:
        return ""
    low, high = row.interval
    return f"{figure_text(low)} to {figure_text(high)}"


def notes(report: Report) -> list[str]:
    """What must be known of rows that do not simply pass."""
    found = []
    rows = rows_by_step(report)
    for share, row in rows:
        if row.no_objection:
            continue
        if row.outcome != "pass" or "judged by" in row.note:
            found.append(f"{share} %, {row.metric}: {row.note}")
    if any(row.no_objection for _, row in rows):
        found.append(
            "unclear: the figure holds or noise explains it, but its range reaches over the target; "
            "a longer --duration narrows it"
        )
    if any(row.outcome == "not measured" for _, row in rows):
        found.append("not measured: a longer --duration brings more answers, --on-unmeasured promote goes on without")
    if any(row.interval and row.interval[1] is None for _, row in rows):
        found.append("a range that ends with -: too few answers to know its upper end")
    for result in report.checks:
        if result.problem:
            before = "; the old revision's too" if result.old_problem else ""
            said = f"{result.problem}{before}; it said {result.answer[:80]!r}"
            found.append(f"check {result.prompt[:60]!r}: {said}")
    return found


def asked(report: Report) -> str:
    """What was measured, with what, from where."""
    workload, machine = report.workload, report.machine
    kind = "chat" if workload.chat else "completion"
    answers = sum(step.new_answers for step in report.steps), sum(step.old_answers for step in report.steps)
    return (
        f"measured with {answers[0]} answers of the new and {answers[1]} of the old revision: {kind} prompts of "
        f"about {workload.prompt_words} words, {workload.output_tokens} tokens out, {report.load.concurrency} at "
        f"once, in rounds by turns; asked from {machine.cpu}, {machine.cores:g} cores, load average "
        f"{machine.load_average_before:g} before"
    )


def figure_text(value: float | None) -> str:
    """A figure with three digits; a dash where it was not measured."""
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _row(share: int, row: Row) -> tuple[str, ...]:
    return f"{share} %", row.metric, figure_text(row.old), figure_text(row.new), between(row), row.target, row.outcome


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
