"""A page in one file: no script, no request to anywhere, readable on white and on black. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8883 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap } .note { opacity: .75; font-size: .9rem }
.pass::before { content: "\\2713\\00a0" } .fail::before { content: "\\2717\\00a0" } .fail { font-weight: 600 }
.unclear::before { content: "?\\00a0" }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem }
figure { margin: 0 } svg { width: 100%; height: auto } figcaption { font-size: .9rem }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document around a body."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def header_row(*names: str) -> str:
    """A header row; a bar at a name's end makes the column one of numbers."""
    cells = (
        f"<th class=n>{escape(name[:-1])}</th>" if name.endswith("|") else f"<th>{escape(name)}</th>" for name in names
    )
    return f"<tr>{''.join(cells)}</tr>"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of plain text; a bar at a header's end makes the column one of numbers."""
    names = list(header)
    marks = [" class=n" if name.endswith("|") else "" for name in names]
    lines = (
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table>{header_row(*names)}{''.join(lines)}</table></div>"


def figure(svg: str, caption: str) -> str:
    """A plot with its caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
