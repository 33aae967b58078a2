"""Options that many commands share, so that they look and mean the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ai_how.cli.next_step import SITE_KEY

# spelled out here so that `--help` and completion import no reader; a test holds them to the library's
TIERS = ("minimum", "recommended", "production")

Function = TypeVar("Function", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number within bounds. Unlike click's own type, it refuses NaN, which no comparison finds out of bounds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def site_option(function: Function) -> Function:
    """``--site FILE``: the site file; default ai-how.yaml here or in a folder above."""
    return click.option(
        "--site",
        "-s",
        "site_path",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_remember_site,
        envvar="AI_HOW_SITE",
        help="Site file. Default: $AI_HOW_SITE, else ai-how.yaml here or in a folder above.",
    )(function)


def _remember_site(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Keep what was typed, for the commands that are shown; an environment variable needs no repeating."""
    if value and context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE:
        context.meta[SITE_KEY] = value
    return value


def named_site_option(text: str, *, envvar: str | None = "AI_HOW_SITE") -> Callable[[Function], Function]:
    """``--site FILE`` for commands that do without one: only what is named counts, no file is looked for."""
    return click.option(
        "--site",
        "-s",
        "site_path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar=envvar,
        help=text,
    )


def tier_option(text: str, *, default: str | None = None) -> Callable[[Function], Function]:
    """``--tier NAME``, a host of the resource requirements."""
    shown = default is not None
    return click.option("--tier", type=click.Choice(TIERS), default=default, show_default=shown, help=text)


def output_option(function: Function) -> Function:
    """``-o text|json``."""
    return click.option(
        "--output",
        "-o",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Format of the result.",
    )(function)


def yes_option(function: Function) -> Function:
    """``--yes``: do not ask."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")(function)


def force_option(function: Function) -> Function:
    """``--force``, as Oumi has it, and ``--yes``, as everything else here has it: do not ask."""
    return click.option("--force", "-f", "--yes", "-y", "force", is_flag=True, help="Do not ask for confirmation.")(
        function
    )
