"""A benchmark result as one self-contained HTML file: no script, no request to anywhere. Pure."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from ai_how.bench.result import Level, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# told apart also by people who do not see red and green, and on white and on black
_BLUE, _ORANGE, _GREY = "#3b82c4", "#d97706", "#808890"
_COLOURS = (_BLUE, _ORANGE, "#0f9b8e", "#b05cc6", "#c2405a", "#7a7f1f", "#5b6ee1", "#8a5a44")

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8883 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap } .note { opacity: .75; font-size: .9rem }
.pass::before { content: "\\2713\\00a0" } .fail::before { content: "\\2717\\00a0" } .fail { font-weight: 600 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem }
figure { margin: 0 } svg { width: 100%; height: auto } figcaption { font-size: .9rem }
"""


def render_html(result: Result) -> str:
    """The whole page."""
    name = escape(str(result.endpoint["name"]))
    partial = "<p><b>The run was interrupted: these are partial figures.</b></p>" if result.interrupted else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}: benchmark</title><style>{_STYLE}</style></head><body>
<h1>{name}: benchmark of {escape(result.started_at)}</h1>{partial}
<h2>Verdict</h2>{_verdict(result)}
<h2>Load levels</h2>{_levels(result.levels)}
<div class="plots">{_plots(result)}</div>
<h2>What was measured, and on what</h2>{_facts(result)}
</body></html>
"""


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


def _head(*names: str) -> str:
    """A header row; a bar at a name's end makes the column one of numbers."""
    cells = (
        f"<th class=n>{escape(name[:-1])}</th>" if name.endswith("|") else f"<th>{escape(name)}</th>" for name in names
    )
    return f"<tr>{''.join(cells)}</tr>"


def _plots(result: Result) -> str:
    if not any(level.answered for level in result.levels):
        return ""
    return "".join(
        f"<figure>{_svg(draw, result.levels)}<figcaption>{escape(caption)}</figcaption></figure>"
        for draw, caption in (
            (_draw_latency, "Latency of a whole answer against requests at once"),
            (_draw_throughput, "Answered requests a second against requests at once"),
            (_draw_distribution, "Share of answers that took at most so long, for each load level"),
        )
    )


def _svg(draw: Callable[[Axes, tuple[Level, ...]], None], levels: tuple[Level, ...]) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # text as text: it takes the page's font and colour, and can be selected
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ai-how", "font.size": 11}):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes, levels)
        axes.grid(visible=True, color=_GREY, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    # matplotlib draws in black: let the page's own colour through, so that it can be read on black too
    return re.sub(r"(fill|stroke): ?#000000", r"\1: currentColor", svg.replace("<svg ", '<svg fill="currentColor" ', 1))


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
