"""Why a site is not up, as ``status`` says of it: what ``up`` failed with last, and whether its disk is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ai_how.cli.next_step import for_this_site
from ai_how.cli.output import wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ai_how.apply.events import Event
    from ai_how.apply.provider import Provider

_FULL_MIB = 1
"""With less, not even what failed can be kept."""


def failures_of(provider: Provider) -> list[Event]:
    """What failed when it was last tried."""
    from ai_how.apply.events import EventLog, failed_last

    return failed_last(EventLog(provider.folder.events).read())


def failures_as_json(failures: Sequence[Event]) -> dict[str, object]:
    """What failed; nothing where nothing did."""
    return {"failures": failures} if failures else {}


def print_not_up(provider: Provider, failures: Sequence[Event]) -> None:
    """That nothing is there, why as far as it is known, and what to type next."""
    from ai_how.apply.files import free_mib

    click.echo(f"site {provider.site.name} is not up")
    if failures:
        click.echo(f"The last `up` failed ({failures[-1].time[:16].replace('T', ' ')} UTC):")
    for event in failures:
        for line in wrap(f"{event.resource}: {event.detail}", first="  ", hanging="    "):
            click.echo(line)
    free = free_mib(provider.folder.root)
    if free < _FULL_MIB:
        for line in wrap(f"The disk is full: {free:.0f} MiB are free in {provider.folder.root}", hanging="  "):
            click.echo(line)
    click.echo(f"Next: {'free some space, then: ' if free < _FULL_MIB else ''}{for_this_site('ai-how up')}")
