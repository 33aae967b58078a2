"""``ai-how bench cluster``: figures of a cluster itself against the resource requirements."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.open_site import open_kubernetes
from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import note, print_json, print_table, teller, wrap
from ai_how.errors import AiHowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ai_how.bench.cluster.run import ClusterProbes
    from ai_how.bench.result import Row
    from ai_how.stack_access.metrics import Query
    from ai_how.stack_access.running import RunningStack


@click.command()
@click.argument("cluster", required=False)
@click.option("--image", help="Image with python3 for the probes. Default: KServe's storage initializer.")
@click.option("--fail-on-miss", is_flag=True, help="End with code 3 when a target is missed; for CI.")
@site_option
@output_option
def cluster(cluster: str | None, image: str | None, fail_on_miss: bool, site_path: Path | None, output: str) -> None:
    """Measure CLUSTER itself: starts of pods, DNS, round trips, how busy GPUs were.

    Makes short pods in a namespace of their own, which goes again; what serves is
    not touched. CLUSTER may be left out where one has a stack. What could not be
    measured says why and never passes.

    \b
    Example:
      ai-how bench cluster
      ai-how bench cluster cloud -o json
    """
    from ai_how.bench.cluster.readings import verdict
    from ai_how.bench.cluster.run import measure
    from ai_how.stack_access.running import open_running_stack

    quiet = output == "json"
    with ExitStack() as open_ways:
        provider = open_kubernetes(site_path)
        stack = open_ways.enter_context(open_running_stack(provider, cluster))
        domain = provider.kubernetes.setups([stack.machines])[stack.cluster].domain
        probes = _probes(stack, image, domain=domain, query=_query(stack, open_ways, quiet=quiet), quiet=quiet)
        found = measure(probes)
    rows = verdict(found, gpu_utilization_percent=stack.site.targets.gpu_utilization_percent)
    if quiet:
        print_json({"cluster": stack.cluster, "image": probes.place.image, "verdict": rows})
    else:
        _show(rows)
    if fail_on_miss and any(row.outcome == "fail" for row in rows):
        sys.exit(3)


def _probes(stack: RunningStack, image: str | None, *, domain: str, query: Query | None, quiet: bool) -> ClusterProbes:
    from ai_how.bench.cluster.run import ClusterProbes, image_on, new_place

    return ClusterProbes(
        api=stack.api,
        place=new_place(stack.site.name, image or image_on(stack.api)),
        domain=domain,
        query=query,
        say=teller(quiet=quiet),
    )


def _query(stack: RunningStack, open_ways: ExitStack, *, quiet: bool) -> Query | None:
    """The way to Prometheus; without one the other figures are still worth having."""
    from ai_how.stack_access.metrics import open_prometheus

    try:
        return open_ways.enter_context(open_prometheus(stack))
    except AiHowError as error:
        if not quiet:
            note(f"  GPU utilization cannot be read: {error.brief}")
        return None


def _show(rows: Sequence[Row]) -> None:
    print_table(
        ("TARGET", "WANTED", "MEASURED", "VERDICT"),
        [(row.metric, row.target, _figure(row), row.outcome) for row in rows],
    )
    for row in rows:
        for line in wrap(f"{row.metric}: {row.note}", first="  ", hanging="    "):
            click.echo(line)


def _figure(row: Row) -> str:
    return "-" if row.measured is None else f"{row.measured:.3g} {row.unit}"
