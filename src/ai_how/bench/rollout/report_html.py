"""A rollout as one self-contained HTML file: what was decided at each step, and why. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ai_how.bench.rollout.judgement import LATENCY, Row
from ai_how.bench.rollout.report import Report, asked, between, figure_text, notes, rows_by_step
from ai_how.report.page import figure, header_row, page
from ai_how.report.plot import BLUE, ORANGE, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def render_html(report: Report) -> str:
    """The whole page."""
    name = escape(report.endpoint)
    said = "".join(f"<li>{escape(line)}</li>" for line in notes(report))
    body = f"""<h1>{name}: {escape(report.old)} to {escape(report.new)}</h1>
<p class=note>{escape(report.started_at)} to {escape(report.ended_at)}</p>
<h2>Verdict</h2><p><b>{report.result}</b>: {escape(report.why)}</p>
<h2>Step by step</h2>{_steps(report)}
<div class="plots">{_plot(report)}</div>
{f"<h2>What to know of these figures</h2><ul>{said}</ul>" if said else ""}
<h2>What was measured, and on what</h2><p>{escape(asked(report))}</p>"""
    return page(f"{report.endpoint}: rollout", body)


def _steps(report: Report) -> str:
    found = rows_by_step(report)
    if not found:
        return "<p>Nothing was measured.</p>"
    head = header_row("Requests|", "Figure", "Old|", "New|", "95 % range|", "Target|", "Verdict")
    return f"<div class=scroll><table>{head}{''.join(_row(share, row) for share, row in found)}</table></div>"


def _row(share: int, row: Row) -> str:
    cells = (figure_text(row.old), figure_text(row.new), between(row), row.target)
    numbers = "".join(f"<td class=n>{escape(cell)}</td>" for cell in cells)
    verdict = f'<td class="{row.outcome.split()[0]}">{row.outcome}</td>'
    return f"<tr><td class=n>{share} %</td><td>{escape(row.metric)}</td>{numbers}{verdict}</tr>"


def _plot(report: Report) -> str:
    measured = [(share, row) for share, row in rows_by_step(report) if row.metric == LATENCY and row.new]
    if not measured:
        return ""
    caption = (
        f"P95 of a whole answer at each step, the new revision's with its 95 % range; target {measured[0][1].target}"
    )
    return figure(svg(_draw, measured), caption)


def _draw(axes: Axes, measured: list[tuple[int, Row]]) -> None:
    shares = [share for share, _ in measured]
    new = [row.new or 0.0 for _, row in measured]
    low = [value - row.interval[0] if row.interval else 0.0 for value, (_, row) in zip(new, measured, strict=True)]
    high = [
        row.interval[1] - value if row.interval and row.interval[1] is not None else 0.0
        for value, (_, row) in zip(new, measured, strict=True)
    ]
    old = [(share, row.old) for share, row in measured if row.old is not None]
    ranges = [[max(0.0, length) for length in lengths] for lengths in (low, high)]
    axes.errorbar(shares, new, yerr=ranges, marker="o", capsize=3, color=ORANGE, label="new")
    if old:
        axes.plot([share for share, _ in old], [value for _, value in old], marker="s", color=BLUE, label="old")
    axes.set_xticks(shares)
    axes.set_xlabel("% of the requests to the new revision")
    axes.set_ylabel("ms")
    axes.legend(frameon=False)
