"""``ai-how switch``: give the turn to another cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.nodes import complete_cluster
from ai_how.cli.open_site import open_machines
from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import note, print_json

if TYPE_CHECKING:
    from ai_how.errors import AiHowError
    from ai_how.machines.handover import Turn
    from ai_how.machines.switch import Switched, Taken


@click.command()
@click.argument("cluster", shell_complete=complete_cluster)
@site_option
@output_option
@click.option("--dry-run", is_flag=True, help="Only show the steps.")
def switch(cluster: str, site_path: Path | None, output: str, *, dry_run: bool) -> None:
    """Stop the cluster that runs, start CLUSTER: for clusters that take turns.

    Machines are shut down in an orderly way; their GPUs must answer again; then
    CLUSTER's machines get theirs, start, and are asked whether they see them.
    If a step fails, the cluster that ran before is started again. Every step is
    timed.

    \b
    Example:
      ai-how switch hpc --dry-run
      ai-how switch hpc
    """
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked
    from ai_how.machines.handover import plan_turn
    from ai_how.machines.provider import LibvirtProvider
    from ai_how.machines.switch import carry_out, check_switch

    provider = open_machines(site_path)
    check_switch(provider.site, cluster)

    def fresh() -> LibvirtProvider:
        return LibvirtProvider(provider.site, provider.site_file)

    if dry_run:
        _show(plan_turn(provider, cluster, fresh=fresh), cluster, output)
        return
    with locked(provider.folder.lock):
        turn = plan_turn(provider, cluster, fresh=fresh)
        events = EventLog(provider.folder.events)

        def report(taken: Taken) -> None:
            events.append(
                f"cluster/{cluster}",
                f"switch: {'back: ' if taken.back else ''}{taken.step}",
                taken.result,
                detail=taken.detail,
                duration_s=taken.duration_s,
            )
            if output == "text":
                _say(taken)

        switched = carry_out(turn.steps, turn.back, report=report)
    if output == "json":
        print_json(
            {
                "site": provider.site.name,
                "cluster": cluster,
                "ok": switched.ok,
                "restored": switched.restored,
                "steps": switched.steps,
            }
        )
    if switched.error is not None:
        raise _explained(switched, switched.error, turn)
    if output == "text":
        total_s = sum(taken.duration_s for taken in switched.steps)
        click.echo(f"cluster {cluster} has the turn, after {total_s:.1f} s" if turn.steps else _has_it(cluster))


def _show(turn: Turn, cluster: str, output: str) -> None:
    if output == "json":
        print_json(
            {
                "cluster": cluster,
                "stopping": turn.stopping,
                "starting": turn.starting,
                "steps": [step.name for step in turn.steps],
                "back": [step.name for step in turn.back],
            }
        )
        return
    if not turn.steps:
        click.echo(_has_it(cluster))
        return
    for title, names in (
        ("stops", turn.stopping),
        ("starts", turn.starting),
        ("steps", [step.name for step in turn.steps]),
        ("if one fails", [step.name for step in turn.back]),
    ):
        click.echo(f"{title + ':':<14}{', '.join(names) or 'nothing'}")


def _has_it(cluster: str) -> str:
    return f"cluster {cluster} has the turn already: nothing to do"


def _say(taken: Taken) -> None:
    name = f"back: {taken.step}" if taken.back else taken.step
    mark = click.style(taken.result.ljust(8), fg="green" if taken.result == "done" else "red")
    note(f"  {mark}{name:<24}{taken.duration_s:>7.1f} s  {taken.detail}".rstrip())


def _explained(switched: Switched, error: AiHowError, turn: Turn) -> AiHowError:
    before = " and ".join(turn.leaving) or "nothing"
    state = f"{before} runs again" if switched.restored else f"the way back failed too: {before} may not run"
    if not turn.leaving:
        state = "nothing ran before"
    evidence = f"{error.evidence}\n{state}".strip()
    return type(error)(
        f"the switch failed: {error.brief}", evidence=evidence, next_step=error.next_step or "ai-how vm list"
    )
