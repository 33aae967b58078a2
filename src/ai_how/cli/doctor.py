"""``ai-how doctor``: is this machine good enough, and what to mend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.doctor_servers import examine_inventory, print_inventory
from ai_how.cli.options import named_site_option, tier_option
from ai_how.cli.output import note, print_json
from ai_how.errors import AiHowError, SpecError

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from ai_how.host.check import Check, Verdict
    from ai_how.host.doctor import Report

# spelled out here so that `--help` and completion import no reader; a test holds them to the library's
_PROVIDERS = ("local", "libvirt", "inventory")
_GROUPS = ("local", "cpu", "numa", "memory", "disk", "kvm", "iommu", "gpu", "network", "port", "system", "software")
_NODE_GROUP = "node"
_SITE_FILE = "ai-how.yaml"


@click.command()
@tier_option("Judge by this tier.", default="minimum")
@click.option("--for", "provider", type=click.Choice(_PROVIDERS), help="Only what this provider needs. Default: all.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice((*_GROUPS, _NODE_GROUP)),
    metavar="GROUP",
    help=f"Only this group of checks, may be repeated: {', '.join(_GROUPS)}; of a site's servers: {_NODE_GROUP}.",
)
@click.option("--disk", type=click.Path(path_type=Path), help="Folder for images and volumes, to look at its disk.")
@click.option("--subnet", help="Network of the cluster's machines.  [default: 192.168.200.0/24]")
@click.option("--bridge", default="", help="Name planned for the cluster's bridge, to see whether it is taken.")
@click.option(
    "--root",
    "root_path",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/"),
    help="Read a captured tree with /sys, /proc and /etc instead of this machine.",
)
@named_site_option("Take provider and folder from this site file. Default: $AI_HOW_SITE, else none.")
@click.option(
    "--output", "-o", type=click.Choice(["text", "json", "junit"]), default="text", help="Format of the result."
)
def doctor(
    tier: str,
    provider: str | None,
    only: tuple[str, ...],
    disk: Path | None,
    subnet: str | None,
    bridge: str,
    root_path: Path,
    site_path: Path | None,
    output: str,
) -> int:
    """Check this machine; say what it is good enough for and what to mend.

    Changes nothing, needs no root, sends nothing over the network. Exit code: 0
    when all checks shown pass, 1 with a warning or an unknown, 2 with a failure
    or where it could not examine at all.
    A site file, if you name one, chooses the provider and the folder of the site.
    One of provider inventory: every server in it is checked, side by side over
    SSH, and whether they reach each other. That takes no root there either.

    \b
    Example:
      ai-how doctor
      ai-how doctor --for local
      ai-how doctor --tier production --disk /srv/images -o junit
      ai-how doctor --site inventory.yaml
    """
    from ai_how.host.check import exit_code
    from ai_how.host.doctor import Wanted, examine
    from ai_how.host.facts.storage import IMAGES_FOLDER
    from ai_how.host.root import Root

    try:
        servers = examine_inventory(site_path) if site_path and provider in (None, "inventory") else None
        if servers is not None:
            return print_inventory(servers, only=only, output=output)
        folder, of_site, elsewhere = _site(site_path)
        provider = provider or of_site
        wanted = Wanted(tier=tier, subnet=_subnet(subnet), bridge=bridge)
        root = Root(root_path.resolve())
        disk_path = IMAGES_FOLDER if disk is None else str(disk.absolute() if root.live else disk)
        report = examine(root, wanted=wanted, disk_path=disk_path, site_path=str(folder))
        shown = _shown(report, provider=provider, only=only)
    except AiHowError as error:
        # 1 would mean a warning here: a host that was not examined must not pass a pipeline as one with warnings
        error.exit_code = 2
        raise
    _print(report, shown, output=output, asked_for=provider, only=only)
    if elsewhere:
        note(f"\nChecked: this machine alone. Not checked: {', '.join(elsewhere)}; run ai-how doctor on each of them.")
    if site_path is None and Path(_SITE_FILE).is_file():
        note(f"\n{_SITE_FILE} of this folder was not looked at: ai-how doctor --site {_SITE_FILE}")
    return exit_code(shown)


def _site(site_path: Path | None) -> tuple[Path, str | None, list[str]]:
    """The site's folder, its provider, and its hosts that are other machines; this folder where no file is named."""
    if site_path is None:
        return Path.cwd(), None, []
    from ai_how.host.site_hosts import is_this_machine
    from ai_how.site.load import load_site

    site = load_site(site_path)
    folder = site_path.absolute().parent
    elsewhere = [
        f"{host.name} ({host.uri})" if site.provider == "libvirt" else host.name
        for host in site.hosts
        if not is_this_machine(site, host)
    ]
    return (folder / site.state_dir if site.state_dir else folder), site.provider, elsewhere


def _subnet(text: str | None) -> IPv4Network | IPv6Network:
    from ipaddress import ip_network

    from ai_how.host.requirements import load_requirements

    wanted = load_requirements().subnet if text is None else text
    try:
        return ip_network(wanted)
    except ValueError as error:
        raise SpecError(
            f"{wanted!r} is no subnet", evidence=str(error), next_step="ai-how doctor --subnet 192.168.200.0/24"
        ) from error


def _shown(report: Report, *, provider: str | None, only: tuple[str, ...]) -> list[Check]:
    from ai_how.host.doctor import PROVIDERS, matters_for

    chosen = next((name for name in PROVIDERS if name == provider), None)
    shown = [
        check
        for check in report.checks
        if (chosen is None or matters_for(check, chosen)) and (not only or check.group in only)
    ]
    if not shown and set(only) == {_NODE_GROUP}:
        raise SpecError("these checks are of servers of a site", next_step="ai-how doctor --site FILE --only node")
    if not shown:
        raise SpecError(
            f"{provider} needs no check of {' or '.join(only)}", next_step=f"ai-how doctor --for {provider}"
        )
    return shown


def _print(report: Report, shown: list[Check], *, output: str, asked_for: str | None, only: tuple[str, ...]) -> None:
    if output == "json":
        print_json(_as_json(report, shown, asked_for))
    elif output == "junit":
        from ai_how.host.report_junit import render_junit

        click.echo(render_junit(shown))
    else:
        click.echo(_as_text(report, shown, asked_for=asked_for, only=only))
        ready = any(found.provider == "local" and found.ready for found in report.providers)
        if ready and asked_for is None and not only:
            started = Path(_SITE_FILE).is_file()
            first = "ai-how up" if started else "ai-how init"
            note(f"\nThe local provider works here: {first}\nIts checks alone: ai-how doctor --for local")


def _as_text(report: Report, shown: list[Check], *, asked_for: str | None, only: tuple[str, ...]) -> str:
    """The report; who can use this machine and the tier stand above it only as far as they are asked for."""
    import os

    from ai_how.host.report_text import render_text

    return render_text(
        shown,
        providers=[found for found in report.providers if not only and asked_for in (None, found.provider)],
        tier=report.tier if not only and asked_for in (None, "libvirt") else None,
        folded=not only,
        as_root=os.geteuid() == 0,
        style=_coloured,
    )


def _as_json(report: Report, shown: list[Check], asked_for: str | None) -> dict[str, object]:
    from ai_how.host.check import exit_code
    from ai_how.host.report_text import readiness_text

    return {
        "version": 1,
        "exit_code": exit_code(shown),
        "for": asked_for,
        "wanted": report.wanted,
        "providers": {
            found.provider: {
                "ready": found.ready,
                "failures": found.failures,
                "warnings": found.warnings,
                "unknown": found.unknown,
                "text": readiness_text(found),
            }
            for found in report.providers
        },
        "tier": report.tier,
        "checks": shown,
        "facts": report.facts,
    }


def _coloured(text: str, verdict: Verdict) -> str:
    colours = {"pass": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}
    return click.style(text, fg=colours[verdict.value])
