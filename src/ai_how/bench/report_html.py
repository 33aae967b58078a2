"""A benchmark result as one self-contained HTML file: no script, no request to anywhere. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ai_how.bench.result import Level, Result
from ai_how.report.page import figure, page
from ai_how.report.page import header_row as _head
from ai_how.report.plot import BLUE as _BLUE
from ai_how.report.plot import COLOURS as _COLOURS
from ai_how.report.plot import ORANGE as _ORANGE
from ai_how.report.plot import svg as _svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def render_html(result: Result) -> str:
    """The whole page."""
    name = escape(str(result.endpoint["name"]))
    partial = "<p><b>The run was interrupted: these are partial figures.</b></p>" if result.interrupted else ""
    body = f"""<h1>{name}: benchmark of {escape(result.started_at)}</h1>{partial}
<h2>Verdict</h2>{_verdict(result)}
<h2>Load levels</h2>{_levels(result.levels)}
<div class="plots">{_plots(result)}</div>
<h2>What was measured, and on what</h2>{_facts(result)}"""
    return page(f"{result.endpoint['name']}: benchmark", body)


def _verdict(result: Result) -> str:
    rows = "".join(
        f"<tr><td>{escape(row.metric)}</td><td class=n>{escape(row.target)}</td>"
        f"<td class=n>{'' if row.measured is None else f'{row.measured:.3g} {escape(row.unit)}'}</td>"
        f'<td class="{row.outcome.split()[0]}">{row.outcome}</td><td class=note>{escape(row.note)}</td></tr>'
        for row in result.verdict
    )
    return f"<div class=scroll><table>{_head('Target', 'Wanted|', 'Measured|', 'Verdict', 'How')}{rows}</table></div>"


def _levels(levels: tuple[Level, ...]) -> str:
    head = _head(
        "At once", "Requests/s|", "Tokens/s|", "P50 ms|", "P95 ms|", "P99 ms|", "TTFT ms|", "ITL ms|", "N|", "Errors"
    )
    rows = "".join(
        f"<tr><td>{level.concurrency}</td><td class=n>{level.requests_per_s:.1f}</td>"
        f"<td class=n>{level.output_tokens_per_s:.0f}</td>"
        + "".join(
            f"<td class=n>{'-' if value is None else f'{value:.{digits}f}'}</td>"
            for value, digits in (
                (level.latency_ms.p50, 0),
                (level.latency_ms.p95, 0),
                (level.latency_ms.p99, 0),
                (level.first_token_ms.p50, 0),
                (level.inter_token_ms.p50, 1),
            )
        )
        + f"<td class=n>{level.answered}</td>"
        f"<td>{escape(', '.join(f'{count}x {kind}' for kind, count in level.errors.items())) or '0'}</td></tr>"
        for level in levels
    )
    note = "<p class=note>TTFT, ITL: time to first token, time between tokens; medians. -: too few samples to say.</p>"
    return f"<div class=scroll><table>{head}{rows}</table></div>{note}"


def _facts(result: Result) -> str:
    workload = result.workload
    facts: dict[str, Any] = {
        **{f"endpoint: {key}": value for key, value in result.endpoint.items()},
        "workload": f"{'chat' if workload.chat else 'completion'}, streamed, closed loop, "
        f"about {workload.prompt_words} words of prompt, {workload.output_tokens} output tokens, seed {workload.seed}",
        **{f"machine: {key.replace('_', ' ')}": value for key, value in result.machine.items()},
        **{f"cold start: {stage}": f"{value:.2f} s" for stage, value in result.cold_start_s.stages.items()},
    }
    rows = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(', '.join(value) if isinstance(value, list) else str(value))}</td></tr>"
        for key, value in facts.items()
    )
    return f"<div class=scroll><table>{rows}</table></div>"


def _plots(result: Result) -> str:
    if not any(level.answered for level in result.levels):
        return ""
    return "".join(
        figure(_svg(draw, result.levels), caption)
        for draw, caption in (
            (_draw_latency, "Latency of a whole answer against requests at once"),
            (_draw_throughput, "Answered requests a second against requests at once"),
            (_draw_distribution, "Share of answers that took at most so long, for each load level"),
        )
    )


def _draw_latency(axes: Axes, levels: tuple[Level, ...]) -> None:
    at_once = [level.concurrency for level in levels]
    for name, colour, values in (
        ("P50", _BLUE, [level.latency_ms.p50 for level in levels]),
        ("P95", _ORANGE, [level.latency_ms.p95 for level in levels]),
    ):
        known = [(x, y) for x, y in zip(at_once, values, strict=True) if y is not None]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", color=colour, label=name)
    axes.set_xticks(at_once)
    axes.set_xlabel("requests at once")
    axes.set_ylabel("ms")
    axes.legend(frameon=False)


def _draw_throughput(axes: Axes, levels: tuple[Level, ...]) -> None:
    at_once = [level.concurrency for level in levels]
    axes.plot(at_once, [level.requests_per_s for level in levels], marker="o", color=_BLUE)
    axes.set_xticks(at_once)
    axes.set_xlabel("requests at once")
    axes.set_ylabel("requests/s")


def _draw_distribution(axes: Axes, levels: tuple[Level, ...]) -> None:
    for level, colour in zip(levels, _COLOURS, strict=False):
        ordered = sorted(level.latencies_ms)
        if ordered:
            shares = [100 * (i + 1) / len(ordered) for i in range(len(ordered))]
            axes.step(ordered, shares, where="post", color=colour, label=f"{level.concurrency} at once")
    axes.set_xlabel("ms")
    axes.set_ylabel("% of answers")
    axes.legend(frameon=False)
