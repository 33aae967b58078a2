"""A benchmark result as one self-contained HTML file: no script, no request to anywhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any

from ai_how.bench.cautions import cautions
from ai_how.bench.report_text import measured_with_range, samples_worth, tokens_of
from ai_how.bench.result import Level, Result
from ai_how.bench.statistics import Interval
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
    name = escape(result.endpoint.name)
    partial = "<p><b>The run was interrupted: these are partial figures.</b></p>" if result.interrupted else ""
    body = f"""<h1>{name}: benchmark of {escape(result.started_at)}</h1>{partial}
<h2>Verdict</h2>{_verdict(result)}
<h2>Load levels</h2>{_levels(result.levels)}
<div class="plots">{_plots(result)}</div>
{_cautions(result)}
<h2>What was measured, and on what</h2>{_facts(result)}"""
    return page(f"{result.endpoint.name}: benchmark", body)


def _verdict(result: Result) -> str:
    rows = "".join(
        f"<tr><td>{escape(row.metric)}</td><td class=n>{escape(row.target)}</td>"
        f"<td class=n>{escape(measured_with_range(row.measured, row.unit, row.interval))}</td>"
        f'<td class="{row.outcome.split()[0]}">{row.outcome}</td><td class=note>{escape(row.note)}</td></tr>'
        for row in result.verdict
    )
    return f"<div class=scroll><table>{_head('Target', 'Wanted|', 'Measured|', 'Verdict', 'How')}{rows}</table></div>"


def _levels(levels: tuple[Level, ...]) -> str:
    head = _head(
        "At once|",
        *("Requests/s|", "Tokens/s|", "P50 ms|", "P95 ms|", "P99 ms|", "TTFT ms|", "ITL ms|", "N|"),
        *("Answers in a row", "Client CPU|", "Failed|"),
    )
    rows = "".join(_level(level) for level in levels)
    note = (
        "<p class=note>TTFT, ITL: time to first token, time between tokens; medians. Below a figure its 95 % range, "
        "with ? where samples are too few for an upper end. -: too few samples to say. Client CPU: what the load "
        "generator took of one core.</p>"
    )
    return f"<div class=scroll><table>{head}{rows}</table></div>{note}"


def _level(level: Level) -> str:
    latency, first = level.latency_ms, level.first_token_ms
    cells = (
        str(level.concurrency),
        _cell(level.requests_per_s, level.requests_per_s_interval, digits=1),
        _cell(level.output_tokens_per_s),
        _cell(latency.p50, latency.p50_interval),
        _cell(latency.p95, latency.p95_interval),
        _cell(latency.p99),
        _cell(first.p50, first.p50_interval),
        _cell(level.inter_token_ms.p50, digits=1),
        str(level.answered),
    )
    share = "-" if level.client_cpu_share is None else f"{level.client_cpu_share:.0%}"
    return (
        f"<tr>{''.join(f'<td class=n>{cell}</td>' for cell in cells)}<td>{escape(samples_worth(latency))}</td>"
        f"<td class=n>{share}</td><td class=n>{sum(level.errors.values())}</td></tr>"
    )


def _cell(value: float | None, interval: Interval | None = None, *, digits: int = 0) -> str:
    if value is None:
        return "-"
    if interval is None:
        return f"{value:.{digits}f}"
    low, high = interval
    end = "?" if high is None else f"{high:.{digits}f}"
    return f"{value:.{digits}f}<br><span class=note>{low:.{digits}f}..{end}</span>"


def _cautions(result: Result) -> str:
    said = "".join(f"<li>{escape(text)}</li>" for text in cautions(result))
    return f"<h2>What to hold against these figures</h2><ul>{said}</ul>" if said else ""


def _facts(result: Result) -> str:
    workload = result.workload
    facts: dict[str, Any] = {
        **{f"endpoint: {key.replace('_', ' ')}": value for key, value in asdict(result.endpoint).items()},
        "workload": f"{'chat' if workload.chat else 'completion'}, streamed, closed loop, "
        f"{tokens_of(result)} ({workload.prompt_words} words of prompt), seed {workload.seed}",
        "requests at once": result.planned or tuple(level.concurrency for level in result.levels),
        **{f"machine: {key.replace('_', ' ')}": value for key, value in asdict(result.machine).items()},
        **{f"version: {name}": version for name, version in result.software.items()},
        **{f"cold start: {stage}": f"{value:.2f} s" for stage, value in result.cold_start_s.stages.items()},
    }
    texts = {
        key: ", ".join(map(str, value)) if isinstance(value, tuple) else str(value) for key, value in facts.items()
    }
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{escape(text)}</td></tr>" for key, text in texts.items())
    return f"<div class=scroll><table>{rows}</table></div>"


def _plots(result: Result) -> str:
    if not any(level.answered for level in result.levels):
        return ""
    return "".join(
        figure(_svg(draw, result.levels), f"{caption}; {tokens_of(result)}")
        for draw, caption in (
            (_draw_latency, "Latency of a whole answer against requests at once, with 95 % ranges"),
            (_draw_throughput, "Answered requests a second against requests at once, with 95 % ranges"),
            (_draw_distribution, "Share of answers that took at most so long, for each load level"),
        )
    )


def _draw_latency(axes: Axes, levels: tuple[Level, ...]) -> None:
    for name, colour, figures in (
        ("P50", _BLUE, [(level.latency_ms.p50, level.latency_ms.p50_interval) for level in levels]),
        ("P95", _ORANGE, [(level.latency_ms.p95, level.latency_ms.p95_interval) for level in levels]),
    ):
        _draw_with_ranges(axes, [level.concurrency for level in levels], figures, colour=colour, label=name)
    axes.set_ylabel("ms")
    axes.legend(frameon=False)


def _draw_throughput(axes: Axes, levels: tuple[Level, ...]) -> None:
    figures = [(level.requests_per_s, level.requests_per_s_interval) for level in levels]
    _draw_with_ranges(axes, [level.concurrency for level in levels], figures, colour=_BLUE, label="requests/s")
    axes.set_ylabel("requests/s")


def _draw_with_ranges(
    axes: Axes,
    at_once: Sequence[int],
    figures: Sequence[tuple[float | None, Interval | None]],
    *,
    colour: str,
    label: str,
) -> None:
    """A line through the figures with their 95 % ranges as bars; a range without an upper end only goes down."""
    known = [(x, value, interval) for x, (value, interval) in zip(at_once, figures, strict=True) if value is not None]
    if known:
        down = [value - interval[0] if interval else 0.0 for _, value, interval in known]
        up = [interval[1] - value if interval and interval[1] is not None else 0.0 for _, value, interval in known]
        axes.errorbar(
            [x for x, _, _ in known],
            [value for _, value, _ in known],
            yerr=[[max(0.0, length) for length in lengths] for lengths in (down, up)],
            marker="o",
            capsize=3,
            color=colour,
            label=label,
        )
    axes.set_xticks(at_once)
    axes.set_xlabel("requests at once")


def _draw_distribution(axes: Axes, levels: tuple[Level, ...]) -> None:
    for level, colour in zip(levels, _COLOURS, strict=False):
        ordered = sorted(level.latencies_ms)
        if ordered:
            shares = [100 * (i + 1) / len(ordered) for i in range(len(ordered))]
            axes.step(ordered, shares, where="post", color=colour, label=f"{level.concurrency} at once")
    axes.set_xlabel("ms")
    axes.set_ylabel("% of answers")
    axes.legend(frameon=False)
