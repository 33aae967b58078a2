"""plan, up, status, down, destroy, logs, events: the life of a site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ai_how.cli.apply import carry_out, print_plan
from ai_how.cli.confirm import confirm, confirm_by_name
from ai_how.cli.doctor_servers import print_servers, servers_of_plan
from ai_how.cli.next_step import for_this_site, say_next
from ai_how.cli.nodes import cluster_option
from ai_how.cli.open_site import open_machines, open_site, provider_of
from ai_how.cli.options import output_option, site_option, tier_option, yes_option
from ai_how.cli.output import note, print_json, print_table
from ai_how.errors import AiHowError, MissingToolError, NotFoundError, SpecError, TryAgainError, WorldChangedError

if TYPE_CHECKING:
    from ai_how.apply.engine import Outcome
    from ai_how.apply.provider import Provider
    from ai_how.capacity.tiers import TierName
    from ai_how.cli.site_stack import SiteStack
    from ai_how.plan.model import Plan


@click.command()
@site_option
@output_option
@tier_option("Size the clusters for a host of the resource requirements instead of yours.")
@click.option("--fit", "to_fit", is_flag=True, help="Show the largest clusters that fit the hosts.")
def plan(site_path: Path | None, output: str, tier: TierName | None, to_fit: bool) -> None:
    """Show what `up` would do, action by action, with reasons.

    Exit code 0: nothing to do, 2: there are changes, 1: error. The JSON can be
    reviewed, kept, and applied with `ai-how up --plan FILE`.

    For clusters (provider libvirt or inventory), and with --tier: whether they
    fit, where each node goes, and what would help. Exit code 1: they do not fit.
    Servers with an address (provider inventory) are looked at instead, over SSH,
    with the checks of `ai-how doctor --site FILE`.

    \b
    Example:
      ai-how plan -o json > plan.json
      ai-how plan --tier minimum --fit
    """
    from ai_how.apply.site_folder import check_site_folder
    from ai_how.cli.site_stack import answers, print_stacks, stacks_as_json
    from ai_how.cli.sizing import check_names_of, load_to_plan, plan_sizing
    from ai_how.plan.document import plan_to_json
    from ai_how.site.server_rules import is_to_be_built

    site, path = load_to_plan(site_path, tier, to_fit=to_fit)
    if path is not None:
        check_names_of(site, path)
    sizing: dict[str, Any] = {}
    stacks: tuple[SiteStack, ...] = ()
    built = path is not None and tier is None and not to_fit and is_to_be_built(site)
    if not built and (path is None or site.provider != "local"):
        sizing = plan_sizing(site, tier=tier, to_fit=to_fit, output=output, site_path=site_path)
    elif built:
        stacks = answers(site)
    provider = provider_of(site, path or Path())
    if path is not None:
        check_site_folder(provider.folder)
    try:
        made = provider.plan()
    except (MissingToolError, TryAgainError) as error:
        if not sizing:
            raise
        _sizing_alone(provider, sizing, error, output)
    if output == "json":
        print_json({**plan_to_json(made), **sizing, **servers_of_plan(provider), **stacks_as_json(stacks)})
    else:
        print_servers(provider)
        print_stacks(stacks)
        print_plan(made)
    sys.exit(0 if made.empty else 2)


@click.command()
@site_option
@output_option
@yes_option
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    help="Apply exactly this plan (from `ai-how plan -o json`); refuse if the world has changed.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@cluster_option("Start this cluster too, although it is started by hand.")
def up(
    site_path: Path | None, output: str, yes: bool, plan_file: Path | None, dry_run: bool, cluster: str | None
) -> None:
    """Make the site as its file says. Safe to run again at any time.

    What exists and works is left alone; what is missing, changed or broken is
    made, changed or repaired. After a crash or Ctrl-C, run it again: it goes on.

    \b
    Example:
      ai-how up
      ai-how up --yes -o json
      ai-how up --cluster hpc
    """
    from ai_how.apply.lock import locked
    from ai_how.apply.site_folder import check_site_folder, make_site_folder

    provider = open_site(site_path, cluster=cluster)
    if dry_run:
        check_site_folder(provider.folder)
        print_plan(provider.plan())
        return
    make_site_folder(provider.folder, provider.site.name)
    with locked(provider.folder.lock):
        wanted = _saved_plan(provider, plan_file) if plan_file else provider.plan()
        if wanted.empty:
            _finish_up(provider, wanted, [], output)
            return
        if output == "text":
            print_servers(provider)
            print_plan(wanted)
        if plan_file is None and not yes:
            confirm("Do this?", what="up", otherwise="ai-how up --yes", default=True)
        # a saved plan would be refused: the world is no longer what it was made for
        again = "go on with: ai-how up" if plan_file else "run the same command again to go on"
        outcomes = carry_out(provider, wanted, quiet=output == "json", again=again)
    _finish_up(provider, wanted, outcomes, output)


@click.command()
@site_option
@output_option
def status(site_path: Path | None, output: str) -> None:
    """Show every component and endpoint: health, address, what is wrong.

    Exit code 0 when all is healthy, 1 when something is not, or is unknown: of
    hosts that do not answer, what is planned is shown; of a site that is not
    up, what `up` failed with last.

    \b
    Example:
      ai-how status -o json
    """
    from ai_how.cli.endpoint_table import endpoint_rows, endpoints_if_up, in_error
    from ai_how.cli.not_up import failures_as_json, failures_of, print_not_up
    from ai_how.cli.unreachable import print_unreachable, unasked, unreachable_as_json, unreachable_hosts
    from ai_how.plan.model import Condition

    provider = open_site(site_path)
    unreachable = unreachable_hosts(provider)
    components = unasked(provider) if unreachable else provider.components()
    endpoints = endpoints_if_up(site_path, components)
    failures = [] if components else failures_of(provider)
    broken = in_error(endpoints or ())
    healthy = bool(components) and all(c.condition is Condition.HEALTHY for c in components) and not broken
    if output == "json":
        document = {"site": provider.site.name, "healthy": healthy, "components": components}
        document = {**document, "endpoints": endpoints or [], **unreachable_as_json(unreachable)}
        print_json({**document, **failures_as_json(failures)})
    elif not components:
        print_not_up(provider, failures)
    else:
        rows = [(c.name, c.condition, c.version, _age(c.uptime_s), c.address) for c in components]
        print_table(("COMPONENT", "CONDITION", "VERSION", "UP", "ADDRESS"), rows)
        print_unreachable(unreachable)
        for component in components:
            if component.detail and not unreachable:
                click.echo(f"\n{component.name}: {component.detail}\nNext: {for_this_site(component.remedy)}")
        for component in (each for each in components if each.login):
            click.echo(f"\nPassword of {component.address}: {component.login}")
        if endpoints:
            click.echo()
            print_table(("ENDPOINT", "STATE", "REPLICAS", "MODEL"), endpoint_rows(endpoints))
        for name, reason in broken.items():
            click.echo(f"\n{name}: {reason}\nNext: {for_this_site(f'ai-how deploy status {name}')}")
    sys.exit(0 if healthy else 1)


@click.command()
@site_option
@cluster_option("Stop this cluster's machines only.")
def down(site_path: Path | None, cluster: str | None) -> None:
    """Stop everything, keep all data. `ai-how up` brings it back.

    Requests in flight are finished first.

    \b
    Example:
      ai-how down
      ai-how down --cluster hpc
    """
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked

    provider = open_site(site_path, cluster=cluster)
    if cluster is not None:
        _down_cluster(site_path, cluster)
        return
    if not provider.exists():
        click.echo(f"site {provider.site.name} is not up: nothing to stop")
        return
    with locked(provider.folder.lock):
        was_running = provider.stop(note)
        EventLog(provider.folder.events).append("site", "stop", "done")
    click.echo(
        f"site {provider.site.name} is stopped, its data is kept in {provider.folder.root}"
        if was_running
        else f"site {provider.site.name} was stopped already"
    )


def _down_cluster(site_path: Path | None, cluster: str) -> None:
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked
    from ai_how.machines.power import stop_cluster

    provider = open_machines(site_path)
    with locked(provider.folder.lock):
        stopped = stop_cluster(provider, cluster, note)
        for node, how in stopped.items():
            EventLog(provider.folder.events).append(f"machine/{node}", "stop", "done", detail=how)
            click.echo(f"{node}: {how}")
    click.echo(f"cluster {cluster} is stopped" if stopped else f"cluster {cluster} was stopped already")


@click.command()
@site_option
@yes_option
def destroy(site_path: Path | None, yes: bool) -> None:
    """Stop everything and remove the site's data: models, registry, keys, logs.

    Asks for the site's name. The site file itself and the shared package cache
    stay.

    \b
    Example:
      ai-how destroy --yes
    """
    from ai_how.apply.lock import locked

    provider = open_site(site_path)
    name, root = provider.site.name, provider.folder.root
    if not provider.exists():
        click.echo(f"site {name} does not exist: nothing to remove")
        return
    if not yes:
        note(
            "\n".join(
                [f"This removes all that ai-how made for site {name}, and its data in {root}.", *provider.losses()]
            )
        )
        confirm_by_name(name, kind="site", what="destroy", otherwise="ai-how destroy --yes")
    with locked(provider.folder.lock):
        foreign = provider.remove(note)
    click.echo(f"site {name} is removed")
    if foreign:
        note(f"Left in {root}, because ai-how did not make it: {', '.join(foreign)}")


@click.command()
@click.argument("component")
@site_option
@click.option("--lines", "-n", default=50, show_default=True, type=click.IntRange(1), help="How many lines.")
@click.option("--follow", "-f", is_flag=True, help="Go on printing as the log grows; end with Ctrl-C.")
def logs(component: str, site_path: Path | None, lines: int, follow: bool) -> None:
    """Print the log of COMPONENT: a component of `status`, an endpoint or a replica.

    \b
    Example:
      ai-how logs gateway -n 20
      ai-how logs smollm2 --follow
    """
    from ai_how.cli.endpoint_table import log_of_endpoint
    from ai_how.cli.follow import follow_file

    provider = open_site(site_path)
    try:
        lines_found, file = provider.read_log(component, lines)
    except NotFoundError:
        # on a cluster, an endpoint is no component of the site
        of_endpoint = log_of_endpoint(component, lines, site_path) if provider.site.provider != "local" else None
        if of_endpoint is None:
            raise
        lines_found, file = of_endpoint, None
    for line in lines_found:
        click.echo(line)
    if follow:
        if file is None:
            raise SpecError("this log cannot be followed from here", next_step=f"ai-how vm console {component}")
        follow_file(file)


@click.command()
@site_option
@output_option
@click.option("--lines", "-n", default=30, show_default=True, type=click.IntRange(1), help="How many events.")
def events(site_path: Path | None, output: str, lines: int) -> None:
    """Show what was done to this site, newest last.

    Of its parts, by `up`, `down` and their like; models, endpoints and keys are
    not among them: see model list, deploy history and key list.

    \b
    Example:
      ai-how events -n 5
    """
    from ai_how.apply.events import EventLog

    found = list(EventLog(open_site(site_path).folder.events).read())
    if output == "json":
        print_json(found[-lines:])
        return
    shown = [e for e in found if e.outcome != "started" or e is found[-1]][-lines:]
    rows = [(e.time[:19].replace("T", " "), e.outcome, e.verb, e.resource, e.detail) for e in shown]
    print_table(("TIME (UTC)", "OUTCOME", "VERB", "RESOURCE", "DETAIL"), rows, empty="nothing has happened yet")


def _sizing_alone(provider: Provider, sizing: dict[str, Any], error: AiHowError, output: str) -> NoReturn:
    """Whether clusters fit is an answer by itself, on a machine that cannot build them too."""
    from ai_how.machines.chosen_images import missing_images
    from ai_how.machines.provider import LibvirtProvider

    missing = missing_images(provider.site, provider.store) if isinstance(provider, LibvirtProvider) else {}
    if output == "json":
        print_json(
            {**sizing["sizing"], "actions": None, "why_no_actions": error.brief, "missing_images": list(missing)}
        )
    for refused in missing.values():
        note(f"warning: {refused.brief} on this machine ({refused.evidence}); new nodes need it: {refused.next_step}")
    note(f"What `up` would do is not known: {error.brief}.\nNext: {for_this_site(error.next_step)}")
    sys.exit(2)


def _saved_plan(provider: Provider, plan_file: Path) -> Plan:
    from ai_how.plan.document import plan_from_json

    text = sys.stdin.read() if str(plan_file) == "-" else plan_file.read_text(encoding="utf-8", errors="replace")
    saved = plan_from_json(text)
    if saved.site != provider.site.name:
        raise SpecError(f"the plan is for site {saved.site!r}, the site file is for {provider.site.name!r}")
    changed = provider.check_unchanged(saved)
    if changed:
        raise WorldChangedError(
            "the world has changed since the plan was made: nothing was done",
            evidence="\n".join(changed),
            next_step="look at a new plan: ai-how plan -o json > plan.json",
        )
    return saved


def _finish_up(provider: Provider, made: Plan, outcomes: list[Outcome], output: str) -> None:
    failed = [outcome for outcome in outcomes if outcome.result != "done"]
    if output == "json":
        results = [
            {
                "resource": o.action.resource,
                "verb": o.action.verb,
                "result": o.result,
                "detail": o.detail,
                "duration_s": round(o.duration_s, 3),
            }
            for o in outcomes
        ]
        print_json({"site": provider.site.name, "ok": not failed, "outcomes": results})
    error = next((outcome.error for outcome in failed if outcome.error), None)
    if error:
        raise error
    if output == "text":
        if made.empty:
            print_plan(made)
        else:
            click.echo(f"\nSite {provider.site.name} is up.")
        say_next(_after_up(provider))


def _after_up(provider: Provider) -> str:
    if provider.site.provider == "local":
        return "ai-how deploy up --model-path DIR_OR_GGUF --name NAME    (or: ai-how status)"
    if any(cluster.has_kubernetes for cluster in provider.site.planned_clusters.values()):
        return "ai-how kubeconfig    (or: ai-how status)"
    return "ai-how status    (or: ai-how vm ssh NODE)"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for limit, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= limit:
            return f"{seconds / limit:.0f} {unit}"
    return f"{seconds:.0f} s"
