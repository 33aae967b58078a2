"""A waterfall and its advice for people: as text in 80 columns without colour, and as a page. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from ai_how.endpoints.cold_start.advice import Advice
from ai_how.endpoints.cold_start.waterfall import MEANING, Stage, Waterfall
from ai_how.report.page import figure, page, table
from ai_how.report.plot import BLUE, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 80
_NAMES = 16
_BAR = _WIDTH - _NAMES - 11
NOT_MEASURED = "not measured"


def render_text(found: Waterfall, advice: Sequence[Advice], *, name: str, target_s: float | None = None) -> str:
    """Head, one bar a stage, what was found in the stages, what would help."""
    parts = [_head(found, name, target_s), _bars(found), _notes(found), _advice(advice)]
    return "\n\n".join(part for part in parts if part)


def verdict(found: Waterfall, target_s: float | None) -> str:
    """The total against the target, in words."""
    if found.total_s is None:
        return "it has not ended"
    took = f"{_seconds(found.total_s)} s to {found.until}"
    if target_s is None:
        return took
    side = "within" if found.total_s < target_s else "over"
    return f"{took}, {side} the target of {target_s:g} s"


def _head(found: Waterfall, name: str, target_s: float | None) -> str:
    lines = [f"endpoint {name}, start of {found.asked_at}", verdict(found, target_s)]
    if found.replica:
        lines.insert(1, f"replica  {found.replica}")
    return "\n".join(lines)


def _bars(found: Waterfall) -> str:
    """Each stage where it lies within the whole start; one that took less than a column is a bar's edge."""
    whole_s = found.total_s or max((stage.end_s or 0.0 for stage in found.measured), default=0.0)
    lines = [f"{'STAGE'.ljust(_NAMES)}  {'SECONDS':>7}"]
    lines += [
        f"{stage.name.value.ljust(_NAMES)}  {_figure(stage)}  {_bar(stage, whole_s)}".rstrip() for stage in found.stages
    ]
    rest_s = found.unmeasured_s
    if rest_s is not None and rest_s >= 0.005:
        lines.append(f"{'between them'.ljust(_NAMES)}  {_seconds(rest_s):>7}")
    return "\n".join(lines)


def _figure(stage: Stage) -> str:
    return "      -" if stage.took_s is None else f"{_seconds(stage.took_s):>7}"


def _bar(stage: Stage, whole_s: float) -> str:
    if stage.begin_s is None or stage.end_s is None:
        return NOT_MEASURED
    if whole_s <= 0:
        return "|"
    begin = min(_BAR - 1, int(stage.begin_s / whole_s * _BAR))
    length = min(_BAR, round(stage.end_s / whole_s * _BAR)) - begin
    return " " * begin + ("=" * length if length > 0 else "|")


def _notes(found: Waterfall) -> str:
    return "\n".join(
        line for stage in found.stages if stage.note for line in _wrap(stage.note, f"{stage.name.value}: ")
    )


def _advice(advice: Sequence[Advice]) -> str:
    if not advice:
        return ""
    lines = ["What would help, and the seconds that it can save at most:"]
    for piece in advice:
        lines += _wrap(piece.what, f"{_seconds(piece.saves_at_most_s):>7}  ", " " * 9)
        lines += _wrap(piece.how, " " * 9 + "how: ", " " * 14)
        lines += _wrap(piece.price, " " * 9 + "price: ", " " * 16)
        lines += _wrap(piece.source, " " * 9 + "source: ", " " * 17)
    return "\n".join(lines)


def _wrap(text: str, first: str, hanging: str = "  ") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False
    )


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def render_html(found: Waterfall, advice: Sequence[Advice], *, name: str, target_s: float | None = None) -> str:
    """The same as one self-contained page."""
    rows = [
        (
            stage.name.value,
            MEANING[stage.name],
            NOT_MEASURED if stage.took_s is None else _seconds(stage.took_s),
            stage.source,
            stage.note,
        )
        for stage in found.stages
    ]
    if found.unmeasured_s is not None:
        rows.append(("between them", "belongs to no stage that is known", _seconds(found.unmeasured_s), "", ""))
    pieces = [(_seconds(one.saves_at_most_s), one.what, one.how, one.price, one.source) for one in advice]
    helps = table(("Saves at most, s|", "What", "How", "Price", "Source"), pieces) if pieces else ""
    plot = (
        figure(svg(_draw, found, y_from_zero=False), "Seconds since the start was asked for") if found.measured else ""
    )
    body = f"""<h1>{escape(name)}: start of {escape(found.asked_at)}</h1>
<p>{escape(verdict(found, target_s))}</p>
{plot}
<h2>Stages</h2>{table(("Stage", "What happens", "Seconds|", "How it is known", "What was found"), rows)}
{"<h2>What would help</h2>" + helps if helps else ""}"""
    return page(f"{name}: cold start", body)


def _draw(axes: Axes, found: Waterfall) -> None:
    names = [stage.name.value for stage in found.measured]
    axes.barh(
        names,
        [stage.took_s or 0.0 for stage in found.measured],
        left=[s.begin_s or 0.0 for s in found.measured],
        color=BLUE,
    )
    axes.invert_yaxis()
    axes.set_xlabel("s")
