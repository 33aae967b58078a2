"""The stack of a site's clusters below its plan: whether it fits on their nodes, and what to write if not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ai_how.cli.output import wrap
from ai_how.errors import AiHowError

if TYPE_CHECKING:
    from ai_how.capacity.types import NodeNeed
    from ai_how.site.spec import Site
    from ai_how.stack.fit import Fit
    from ai_how.stack.requests import Request
    from ai_how.stack.volumes import VolumeNeed


_DISKS = 3


@dataclass(frozen=True, kw_only=True)
class SiteStack:
    """The answer for one cluster: in a sentence, and as data for JSON."""

    cluster: str
    summary: str
    fit: bool
    advice: tuple[str, ...]
    data: dict[str, Any]

    def lines(self) -> Iterator[str]:
        """An empty line, the answer, and what to do about it."""
        yield ""
        yield from wrap(f"Stack of {self.cluster}: {self.summary}", hanging="    ")
        for line in self.advice:
            yield from wrap(line, first="    ", hanging="      ")


def answers(site: Site, needs: Sequence[NodeNeed] | None = None) -> tuple[SiteStack, ...]:
    """For each cluster that has a stack, also where none is written, whether it fits.

    Args:
        needs: The nodes of all clusters where they are not the site file's own, as in a plan that was made to fit.
    """
    from ai_how.capacity.demand import all_needs
    from ai_how.releases.conflict import Conflict
    from ai_how.releases.site_pins import solve_site

    wanted = [name for name, cluster in site.planned_clusters.items() if cluster.has_stack]
    if not wanted:
        return ()
    found = solve_site(site)
    if isinstance(found, Conflict):
        return ()  # it is told already, and no version is sure then
    nodes = all_needs(site) if needs is None else needs
    return tuple(
        _answer(site, name, found.versions, [node for node in nodes if node.cluster == name]) for name in wanted
    )


def stacks_as_json(stacks: Sequence[SiteStack]) -> dict[str, Any]:
    """The answers under their key; nothing where there are none."""
    return {"stacks": {stack.cluster: stack.data for stack in stacks}} if stacks else {}


def print_stacks(stacks: Sequence[SiteStack]) -> None:
    """The answers of servers that exist, which are counted by the sizes that the site file plans them with."""
    for stack in stacks:
        for line in list(stack.lines())[1:]:
            click.echo(line)
    if stacks:
        click.echo("Nodes are counted by their planned sizes, not by what the servers have.\n")


def _answer(site: Site, name: str, versions: Mapping[str, str], nodes: Sequence[NodeNeed]) -> SiteStack:
    from ai_how.stack.chart_values import check_known_values
    from ai_how.stack.fit import fit_stack
    from ai_how.stack.setting import setting_of
    from ai_how.stack.stack import render_stack
    from ai_how.stack.volumes import volume_need

    try:
        parts = render_stack(site, name, versions)
        check_known_values(chart for part in parts for chart in part.component.charts)
    except AiHowError as error:
        why = f"{error.brief}: {error.evidence}" if error.evidence else error.brief
        return SiteStack(
            cluster=name, summary=why, fit=False, advice=(error.next_step,), data={"fit": False, "why": why}
        )
    fit, volumes = fit_stack(parts, nodes), volume_need(parts, setting_of(site, name, versions), nodes)
    return SiteStack(
        cluster=name,
        summary=_summary(len(parts), fit, volumes),
        fit=fit.fits,
        advice=tuple(_advice(fit, volumes)),
        data={
            "fit": fit.fits,
            "nodes": [
                {"node": load.name, "room": _plain(load.room), "asked": _plain(load.asked)} for load in fit.nodes
            ],
            "unplaced": [pod.name for pod in fit.unplaced],
            "volumes_gib": volumes.volumes_gib,
            "disks_gib": volumes.disks_gib,
            "volumes_fit": volumes.fits,
            "disks": None
            if volumes.disks is None
            else [
                {"node": disk.name, "disk_gib": disk.disk_gib, "volumes_gib": disk.volumes_gib}
                for disk in volumes.disks
            ],
            "parts": {part.name: part.version for part in parts},
        },
    )


def _plain(request: Request) -> dict[str, int]:
    return {"cpu_m": request.cpu_m, "memory_mib": request.memory_mib}


def _summary(count: int, fit: Fit, volumes: VolumeNeed) -> str:
    if not fit.fits:
        first = fit.unplaced[0]
        others = f" and {len(fit.unplaced) - 1} more find" if len(fit.unplaced) > 1 else " finds"
        return (
            f"does not fit: {first.name} ({_words(first.request)}){others} no place on "
            f"{', '.join(load.name for load in fit.nodes) or 'any worker'}"
        )
    fullest = max(fit.nodes, key=lambda load: load.asked.memory_mib / max(1, load.room.memory_mib))
    parts = f"{count} parts fit" if volumes.fits else f"{count} parts fit by cores and memory, full volumes do not"
    return (
        f"{parts}; {fullest.name} is the fullest node with {_words(fullest.asked)} asked for of "
        f"{_words(fullest.room)}; volumes grow to {volumes.volumes_gib} GiB"
    )


def _words(request: Request) -> str:
    return f"{request.cpu_m / 1000:.1f} cores and {request.memory_mib / 1024:.1f} GiB"


def _advice(fit: Fit, volumes: VolumeNeed) -> Iterator[str]:
    if not fit.fits:
        yield "to mend it, give the workers more vcpus or memory_gib, add one, or write stack: {enabled: false}"
    if not volumes.fits:
        disks = [f"{disk.name} is planned with {disk.disk_gib} GiB for {disk.volumes_gib}" for disk in volumes.overfull]
        more = f", and {len(disks) - _DISKS} more" if len(disks) > _DISKS else ""
        where = "; ".join(disks[:_DISKS]) or "there is no worker"
        yield (
            f"full volumes are more than the workers' disks: {where}{more}. Give them more disk_gib, or write smaller "
            "volumes (stack: size_gib)"
        )
