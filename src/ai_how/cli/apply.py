"""Shows a plan and carries it out: the same for every command that changes a site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ai_how.cli.output import note, print_table
from ai_how.errors import InterruptionError

if TYPE_CHECKING:
    from ai_how.apply.engine import Outcome
    from ai_how.apply.provider import Provider
    from ai_how.plan.model import Plan


def print_plan(made: Plan) -> None:
    """Print every action with its reason, and what else is to be said."""
    from ai_how.host.checks.compare import plural

    for line in made.notes:
        note(f"note: {line}")
    if made.empty:
        click.echo(f"Site {made.site} is as its file says: nothing to do.")
        return
    click.echo(f"Plan for site {made.site}: {plural(len(made.actions), 'action')}\n")
    print_table(("VERB", "RESOURCE", "WHY"), [(a.verb, a.resource, a.reason) for a in made.actions])
    click.echo()


def carry_out(
    provider: Provider, wanted: Plan, *, quiet: bool, again: str = "run the same command again to go on"
) -> list[Outcome]:
    """Do every action, with progress and events; the caller holds the site's lock.

    Args:
        again: What to type after Ctrl-C.

    Raises:
        InterruptionError: Ctrl-C; every action is either done or not begun.
    """
    from ai_how.apply.engine import apply_plan
    from ai_how.apply.events import EventLog
    from ai_how.cli.progress import ActionProgress

    with ActionProgress(quiet=quiet) as progress:
        provider.watch(progress.tell)
        events = EventLog(provider.folder.events)

        def interrupted() -> None:
            progress.stopping()
            provider.interrupt()

        try:
            return apply_plan(
                wanted,
                provider.perform,
                events=events,
                report=progress,
                parallel=provider.parallel,
                interrupted=interrupted,
            )
        except KeyboardInterrupt:
            raise InterruptionError("interrupted", next_step=again) from None
