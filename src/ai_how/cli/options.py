"""Options that many commands share, so that they look and mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def site_option(function: Function) -> Function:
    """``--site FILE``: the site file; default ai-how.yaml here or in a folder above."""
    return click.option(
        "--site",
        "-s",
        "site_path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="AI_HOW_SITE",
        help="Site file. Default: $AI_HOW_SITE, else ai-how.yaml here or in a folder above.",
    )(function)


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
