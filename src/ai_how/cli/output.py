"""Printing for people and for programs: calm, aligned, readable without colour in 80 columns.

Text goes to stdout, progress and errors to stderr, so that ``-o json`` is always clean on stdout. rich is imported
only where a table or a progress bar is drawn.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NoReturn

import click

from ai_how.errors import AiHowError

WIDTH = 80
_LEAST_COLUMN = 24
"""Fewer characters than that make a column of single words."""


def print_json(data: Any) -> None:
    """Print data (dataclasses, paths and enums allowed) as indented JSON."""
    click.echo(json.dumps(data, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value.value if isinstance(value, Enum) else str(value)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "none") -> None:
    """Print left-aligned columns two spaces apart; a row stays one line but on a terminal that is too narrow."""
    if not rows:
        click.echo(empty)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in columns([[str(cell) for cell in row] for row in (headers, *rows)], width=width):
        click.echo(line)


def columns(rows: Sequence[Sequence[str]], *, width: int | None = None) -> list[str]:
    """Lines of left-aligned columns two spaces apart.

    Args:
        width: Of a line: what does not fit of the last column goes on below its beginning, where that is any use.
    """
    *widths, last = (max(map(len, column)) for column in zip(*rows, strict=True))
    begins = sum(widths) + 2 * len(widths)
    room = width - begins if width is not None and width - begins >= _LEAST_COLUMN else last
    lines = []
    for *cells, end in rows:
        first, *more = _broken(end, room) if len(end) > room else [end]
        shown = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([*shown, first]).rstrip())
        lines += [" " * begins + line for line in more]
    return lines


def _broken(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def wrap(text: str, *, first: str = "", hanging: str = "") -> list[str]:
    """A paragraph in 80 columns; words, paths and names with hyphens stay whole.

    Args:
        first: What stands before the first line.
        hanging: What stands before all others.
    """
    import textwrap

    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def colour() -> bool | None:
    """False where the user wants none (no-color.org, or a terminal without); None: by what is written to."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def note(text: str) -> None:
    """Say something that is not the command's result: progress, a warning, what to type next."""
    click.echo(text, err=True)


def teller(*, quiet: bool) -> Callable[[str], None]:
    """Says the steps of something long, each on a line of its own; nothing where quiet."""
    return (lambda _: None) if quiet else (lambda text: note(f"  {text}"))


def fail(error: AiHowError, *, exit_code: int | None = None) -> NoReturn:
    """Print an error as what failed, the evidence and the next step; then end the program."""
    click.echo(click.style("Error: ", fg="red", bold=True) + error.brief, err=True, color=colour())
    for line in error.evidence.splitlines():
        click.echo(f"  {line}", err=True)
    if error.next_step:
        click.echo(f"Next: {error.next_step}", err=True)
    sys.exit(error.exit_code if exit_code is None else exit_code)


def human_bytes(size_bytes: float) -> str:
    """A size in binary units with three significant figures, such as ``98.4 MB`` -> ``93.8 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def human_count(count: int) -> str:
    """A number of parameters the way the field writes it: 135M, 7.2B."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= limit:
            return f"{count / limit:.3g}{unit}"
    return str(count)
