"""``ai-how plan`` for clusters: where nodes go, which rules hold, and what would help where they do not."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai_how.cli.output import note, print_json
from ai_how.errors import NotFoundError, SpecError

if TYPE_CHECKING:
    from ai_how.capacity.report import SizingReport
    from ai_how.capacity.tiers import TierName
    from ai_how.capacity.types import HostCapacity, SizingRequest
    from ai_how.site.spec import Site


def load_to_plan(site_path: Path | None, tier: TierName | None, *, to_fit: bool) -> tuple[Site, Path | None]:
    """The site to plan, and its file.

    A tier can be asked about without a site file, or with one for provider local: then it is the default cluster's.

    Raises:
        SpecError: the file has mistakes, or ``to_fit`` was asked for a site without clusters.
    """
    from ai_how.site.load import find_site, load_site_with_warnings
    from ai_how.site.spec import Site

    default = Site(name="default", provider="libvirt")
    try:
        path = site_path or find_site(Path.cwd())
    except NotFoundError:
        if tier is None:
            raise
        return default, None
    site, warnings = load_site_with_warnings(path)
    for warning in warnings:
        note(f"warning: {warning}")
    if site.provider == "local" and tier is not None:
        return default, None
    if site.provider != "local":
        return site, path
    if to_fit:
        raise SpecError(
            f"site {site.name} has no clusters to fit",
            evidence=f"{path}: provider is local, which runs processes on this machine",
            next_step="ai-how plan --tier minimum --fit, or write provider: libvirt",
        )
    return site, path


def check_names_of(site: Site, path: Path) -> None:
    """Refuse Kubespray variables that a Kubespray on this machine does not have; where versions clash, that is said.

    Raises:
        SpecError: as ``check_extra_vars``.
    """
    from ai_how.kubernetes.extra_vars import check_extra_vars
    from ai_how.releases.conflict import Conflict
    from ai_how.releases.site_pins import solve_site

    if any(cluster.kubernetes.extra_vars for cluster in site.planned_clusters.values()):
        found = solve_site(site)
        if not isinstance(found, Conflict):
            check_extra_vars(site, found.versions, site_folder=path.absolute().parent)


def plan_sizing(
    site: Site, *, tier: TierName | None, to_fit: bool, output: str, site_path: Path | None = None
) -> dict[str, Any]:
    """Print the sizing plan, and end there, unless it is of a site that can be built: then it is returned as JSON.

    Exit code 1: does not fit; else 0 for a tier, 2 for a site that only can be planned.
    """
    from ai_how.capacity.sizing_document import sizing_to_json
    from ai_how.cli import site_stack, site_versions

    report = _report(site, tier=tier, to_fit=to_fit)
    versions, stacks = site_versions.answer(site), site_stack.answers(site, report.shown[0].needs)
    # a tier and --fit ask about nodes on hosts: what the stack makes of them is said beside the answer
    stacks_fit = tier is not None or to_fit or all(stack.fit for stack in stacks)
    fits = report.fits and (versions is None or versions.fit) and stacks_fit
    builds = fits and tier is None and not to_fit and site.provider == "libvirt"
    document = sizing_to_json(report) | {"versions": versions.data if versions else None}
    document |= site_stack.stacks_as_json(stacks)
    if output == "text":
        from ai_how.cli.sizing_text import sizing_lines

        for line in (*sizing_lines(report), *(versions.lines(site_path) if versions else ())):
            click.echo(line)
        for line in (line for stack in stacks for line in stack.lines()):
            click.echo(line)
        if builds:
            click.echo()
        elif fits or not report.fits:
            note(_next(report, site, site_path))
    elif not builds:
        print_json(document)
    if builds:
        return {"sizing": document}
    sys.exit(1 if not fits else 0 if tier else 2)


def _next(report: SizingReport, site: Site, site_path: Path | None) -> str:
    from ai_how.site.server_rules import BY_SIZE_ONLY

    words = ["ai-how", "plan"]
    words += ["--site", str(site_path)] if site_path else []
    words += ["--tier", report.tier] if report.tier else []
    if not report.fits and report.fitted is None:
        return f"Next: {shlex.join([*words, '--fit'])} shows the largest that fits"
    if not report.fits:
        return "Next: ask for fewer or smaller nodes, or plan with a larger host (hosts[].declared)"
    if report.fitted and report.fitted.changes:
        return "Next: write these sizes into the site file (clusters.<name>.nodes)"
    if site.provider == "inventory" and not report.tier:
        return f"{BY_SIZE_ONLY.capitalize()}.\nNext: write address: user@host for each host, then: ai-how plan"
    return "A site with provider: libvirt can be built: ai-how up"


def _report(site: Site, *, tier: TierName | None, to_fit: bool) -> SizingReport:
    from ai_how.capacity.demand import request_of
    from ai_how.capacity.report import make_report

    request = request_of(site, observed_hosts(site)) if tier is None else _request_for_tier(site, tier)
    clusters = site.planned_clusters.values()
    return make_report(
        request,
        site=site.name,
        kinds=[cluster.kind for cluster in clusters],
        tier=tier or "",
        to_fit=to_fit,
        growth=site.storage,
        stacks=[cluster.stack for cluster in clusters if cluster.has_stack],
    )


def _request_for_tier(site: Site, tier: TierName) -> SizingRequest:
    """The site's clusters on the one host of a tier: pins to the site's own hosts mean nothing there."""
    from dataclasses import replace

    from ai_how.capacity.demand import all_needs, hosts_of, reserve_of, rules_of
    from ai_how.capacity.tiers import tier_host
    from ai_how.capacity.types import SizingRequest

    return SizingRequest(
        needs=tuple(replace(need, host="") for need in all_needs(site)),
        hosts=(tier_host(tier, reserve=reserve_of(hosts_of(site)[0].reserve)),),
        rules=rules_of(site.placement),
        schedule=site.schedule,
    )


def observed_hosts(site: Site) -> dict[str, HostCapacity]:
    """What the hosts have that the site file does not declare; says of each GPU what keeps it from a guest."""
    from ai_how.host.site_hosts import observe_site_hosts
    from ai_how.machines.far_hosts import ask_far_host

    found = observe_site_hosts(site, ask_far=ask_far_host)
    for gpu in (gpu for host in found.values() for gpu in host.gpus if gpu.blocked):
        note(f"warning: {gpu.name} {gpu.pci_address} cannot be passed through: {gpu.blocked}")
    return found
