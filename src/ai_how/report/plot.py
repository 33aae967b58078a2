"""Plots as SVG for a page: text stays text, and black is the page's own colour. Pure."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Data = TypeVar("Data")

# told apart also by people who do not see red and green, and on white and on black
BLUE, ORANGE, GREY = "#3b82c4", "#d97706", "#808890"
COLOURS = (BLUE, ORANGE, "#0f9b8e", "#b05cc6", "#c2405a", "#7a7f1f", "#5b6ee1", "#8a5a44")


def svg(draw: Callable[[Axes, Data], None], data: Data, *, y_from_zero: bool = True) -> str:
    """One plot: ``draw`` puts the data on the axes."""
    # where it may not keep a font cache it makes a temporary one, and would tell the user so on each run
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # text as text: it takes the page's font and colour, and can be selected
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ai-how", "font.size": 11}):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes, data)
        axes.grid(visible=True, color=GREY, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if y_from_zero:
            axes.set_ylim(bottom=0)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    # matplotlib draws in black: let the page's own colour through, so that it can be read on black too
    return re.sub(
        r"(fill|stroke): ?#000000", r"\1: currentColor", drawn.replace("<svg ", '<svg fill="currentColor" ', 1)
    )
