"""The ``deploy`` commands about versions of an endpoint: update, history, rollback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ai_how.cli.confirm import confirm
from ai_how.cli.deploy_common import check_provider, endpoint_name, endpoint_options, provider_option
from ai_how.cli.open_site import open_serving
from ai_how.cli.options import Number, output_option, site_option, yes_option
from ai_how.cli.output import note, print_json
from ai_how.errors import NotFoundError

if TYPE_CHECKING:
    from ai_how.endpoints.interface import Revision
    from ai_how.endpoints.rollout.journal import RollingEndpoints
    from ai_how.endpoints.serving_site import ServingSite


@click.command()
@endpoint_options
@click.option("--model", "-m", help="Version to roll out: model://name@alias, name/3, or a path that is pushed first.")
@click.option("--config", "-c", type=click.Path(path_type=Path), help="Deploy file: model, hardware, autoscaling.")
@click.option("--steps", default="10,50,100", show_default=True, help="Percent of the requests, step by step.")
@click.option("--prompts", type=click.Path(path_type=Path), help="Answer checks: YAML or JSON lines.")
@click.option("--duration", type=Number(0.5, 3600), default=30, show_default=True, help="Seconds a step, at least.")
@click.option("--concurrency", type=click.IntRange(1, 256), default=1, show_default=True, help="Requests at once.")
@click.option("--slower-percent", type=Number(0, 1000), default=10, show_default=True, help="May be so much slower.")
@click.option("--strict", is_flag=True, help="Fail on a missed latency target even where it is missed now too.")
@click.option(
    "--on-unmeasured",
    type=click.Choice(["rollback", "hold", "promote"]),
    help="Where figures do not decide. Default: back, or on where a range merely reaches over its target.",
)
@click.option("--resume", is_flag=True, help="Go on with the rollout that is under way.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@yes_option
@provider_option
@site_option
@output_option
@click.pass_context
def update(
    ctx: click.Context,
    endpoint_id: str | None,
    endpoint: str | None,
    model: str | None,
    config: Path | None,
    steps: str,
    prompts: Path | None,
    duration: float,
    concurrency: int,
    slower_percent: float,
    strict: bool,
    on_unmeasured: str | None,
    resume: bool,
    dry_run: bool,
    yes: bool,
    provider: str | None,
    site_path: Path | None,
    output: str,
) -> None:
    """Roll another version out, step by step; back where it turns out worse.

    The new version runs beside the old one, gets a growing share of the requests,
    and is measured at each step. Without --model and --config: the version that
    the alias it was deployed from now points at. --resume keeps the options that
    it was begun with. Ends with code 0 when it was promoted, 3 rolled back, 4 held.

    \b
    Example:
      ai-how deploy update my-model --model model://my-model@champion --yes
    """
    from ai_how.cli.rollout_update import Asked, Measuring, run_update
    from ai_how.endpoints.rollout.journal import Options

    check_provider(provider)
    asked = Asked(
        name=endpoint_name(endpoint_id, endpoint), model=model, config=config, resume=resume, dry_run=dry_run, yes=yes
    )
    options = Options(
        prompts=str(prompts.absolute()) if prompts else "",
        duration_s=duration,
        concurrency=concurrency,
        slower_percent=slower_percent,
        strict=strict,
        on_unmeasured=on_unmeasured or "",
    )
    typed = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    measuring = Measuring(steps=steps, options=options, typed=frozenset(typed))
    sys.exit(run_update(asked, measuring, site_path=site_path, provider=provider, output=output))


@click.command()
@endpoint_options
@provider_option
@site_option
@output_option
def history(
    endpoint_id: str | None, endpoint: str | None, provider: str | None, site_path: Path | None, output: str
) -> None:
    """Show an endpoint's revisions: when, which version, what became of it.

    \b
    Example:
      ai-how deploy history my-model
    """
    from ai_how.cli.rollout_text import history_lines
    from ai_how.endpoints.rollout.journal import history as all_of

    check_provider(provider)
    name, endpoints = endpoint_name(endpoint_id, endpoint), open_serving(site_path, provider=provider).endpoints
    endpoints.get(name)
    revisions = endpoints.revisions(name)
    found = all_of(endpoints.journal(name), revisions)
    if output == "json":
        print_json(found)
    else:
        click.echo("\n".join(history_lines(found, revisions)))


@click.command()
@endpoint_options
@click.option("--to", type=click.IntRange(1), help="Revision to go back to. Default: the one before.")
@yes_option
@provider_option
@site_option
@output_option
def rollback(
    endpoint_id: str | None,
    endpoint: str | None,
    to: int | None,
    yes: bool,
    provider: str | None,
    site_path: Path | None,
    output: str,
) -> None:
    """End the rollout under way, or go back to an earlier version.

    A rollout that is under way ends at once: the old revision still runs. Else
    the earlier version is started again, and gets all requests when it is ready;
    a rollback that was broken off goes on when it is typed again.

    \b
    Example:
      ai-how deploy rollback my-model
      ai-how deploy rollback my-model --to 3
    """
    from ai_how.bench.rollout import moves
    from ai_how.endpoints.rollout.journal import parts

    check_provider(provider)
    site = open_serving(site_path, provider=provider)
    name, endpoints = endpoint_name(endpoint_id, endpoint), site.endpoints
    endpoints.get(name)
    finished = _finish_rollback(endpoints, name)
    rollout = endpoints.journal(name).rollout
    pair = parts(endpoints.revisions(name), rollout)
    if finished and to in (None, finished[0].number):
        kept, gone = finished
    elif pair and rollout and rollout.back_to and to in (None, rollout.back_to):
        note(f"  going on with the rollback to what revision {rollout.back_to} served")
        gone, kept = moves.finish_going_back(
            endpoints, name, rollout, timeout_s=site.start_timeout_s, stopped=lambda: False
        )
    elif pair and to in (None, pair[0].number):
        moves.end_rollout(endpoints, name, why="ended by hand")
        kept, gone = pair
    elif pair:
        raise moves.under_way(name, rollout)
    else:
        gone, kept = _go_back(site, name, to=to, yes=yes)
    if output == "json":
        print_json({"endpoint": name, "serves": kept, "removed": gone})
    else:
        click.echo(f"{name} serves {moves.label(kept)}; {moves.label(gone)} is removed")


def _finish_rollback(endpoints: RollingEndpoints, name: str) -> tuple[Revision, Revision] | None:
    """What a command that was killed had left of an ended rollout goes; where that was rolled back, no further step
    back is asked for: the revision that stays and the one that went."""
    from ai_how.bench.rollout import moves
    from ai_how.endpoints.rollout.journal import Outcome

    left = moves.remove_outlived(endpoints, name)
    entry = endpoints.journal(name).entry(left.number) if left else None
    if left is None or entry is None or entry.outcome is not Outcome.ROLLED_BACK:
        return None
    return endpoints.revisions(name)[0], left


def _go_back(site: ServingSite, name: str, *, to: int | None, yes: bool) -> tuple[Revision, Revision]:
    """Serve an earlier version again; the revision that went, and the one that serves now."""
    from ai_how.bench.rollout import moves
    from ai_how.endpoints.types import model_text, served_text
    from ai_how.models.library import resolve

    entry, present = moves.choose_earlier(site.endpoints, name, to=to)
    for part in entry.spec.served:
        needed = model_text(part)
        try:
            resolve(needed, site.stores())
        except NotFoundError as error:
            raise NotFoundError(
                f"revision {entry.number} cannot serve again: {needed} is not registered any more",
                evidence=error.brief,
                next_step=f"ai-how deploy history {name}, then: ai-how deploy rollback {name} --to REVISION",
            ) from error
    version = served_text(entry.spec)
    if not yes:
        now = served_text(present.spec)
        again = f"ai-how deploy rollback {name} --to {entry.number} --yes"
        confirm(f"Serve {version} again instead of {now}?", what="a rollback", otherwise=again)
    note(f"  starting {version} as a new revision")
    return moves.go_back(site.endpoints, name, to=entry.number, timeout_s=site.start_timeout_s, stopped=lambda: False)
