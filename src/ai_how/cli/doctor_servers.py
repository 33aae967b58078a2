"""``ai-how doctor --site`` for an inventory: the checks of every server, side by side over SSH."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.output import print_json
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ai_how.apply.provider import Provider
    from ai_how.host.check import Check, Verdict
    from ai_how.servers.preflight import Examined


def examine_inventory(site_path: Path) -> dict[str, Examined] | None:
    """The servers of a site file with their checks; None where it is of another kind or only declares servers."""
    from ai_how.site.load import load_site
    from ai_how.site.server_rules import is_to_be_built

    site = load_site(site_path)
    if not is_to_be_built(site):
        return None
    from ai_how.servers.preflight import examine_servers
    from ai_how.servers.provider import InventoryProvider

    provider = InventoryProvider(site, site_path)
    return examine_servers(provider.servers, provider.known)


def print_inventory(found: Mapping[str, Examined], *, only: Sequence[str], output: str) -> int:
    """Print the report; the exit code is that of all checks shown.

    Raises:
        SpecError: none of the checks is of a group that was asked for.
    """
    from ai_how.host.check import exit_code

    shown = {name: [check for check in one.checks if not only or check.group in only] for name, one in found.items()}
    if not any(shown.values()):
        raise SpecError(f"there are no checks of {' or '.join(only)} for servers", next_step="leave --only out")
    if output == "json":
        print_json(_as_json(found, shown))
    elif output == "junit":
        from ai_how.host.report_junit import render_junit_of

        click.echo(render_junit_of(shown))
    else:
        from ai_how.host.check import Verdict

        shows = tuple(Verdict) if only else (Verdict.FAIL, Verdict.WARN, Verdict.UNKNOWN)
        click.echo(inventory_text(found, shown, shows=shows))
    return exit_code(check for checks in shown.values() for check in checks)


def inventory_text(
    found: Mapping[str, Examined],
    shown: Mapping[str, Sequence[Check]],
    *,
    shows: Collection[Verdict],
    remedies: bool = True,
) -> str:
    """The report for people."""
    from ai_how.host.report_fleet import render_fleet

    about = {
        name: (one.server.reached.text, f"{one.server.wish.role} of {one.server.wish.cluster}")
        for name, one in found.items()
    }
    return render_fleet(shown, about=about, shows=shows, remedies=remedies, style=_coloured)


def servers_as_json(found: Mapping[str, Examined], shown: Mapping[str, Sequence[Check]]) -> list[dict[str, object]]:
    """Every server with its checks."""
    return [
        {
            "name": name,
            "reached": one.server.reached.text,
            "cluster": one.server.wish.cluster,
            "role": one.server.wish.role,
            "address": one.address,
            "answers": one.look.trouble is None,
            "checks": shown[name],
        }
        for name, one in found.items()
    ]


def print_servers(provider: Provider) -> None:
    """Of an inventory's servers that were looked at for a plan: a line for each, and what fails. Else nothing."""
    found = _looked_at(provider)
    if found:
        from ai_how.host.check import Verdict

        checks = {name: one.checks for name, one in found.items()}
        click.echo(inventory_text(found, checks, shows=(Verdict.FAIL,), remedies=False) + "\n")


def servers_of_plan(provider: Provider) -> dict[str, object]:
    """As ``print_servers``, as data."""
    found = _looked_at(provider)
    return {"servers": servers_as_json(found, {name: one.checks for name, one in found.items()})} if found else {}


def _looked_at(provider: Provider) -> Mapping[str, Examined]:
    if provider.site.provider != "inventory":
        return {}
    from ai_how.servers.provider import InventoryProvider

    return provider.fleet.wanted if isinstance(provider, InventoryProvider) else {}


def _as_json(found: Mapping[str, Examined], shown: Mapping[str, Sequence[Check]]) -> dict[str, object]:
    from ai_how.host.check import exit_code

    return {
        "version": 1,
        "exit_code": exit_code(check for checks in shown.values() for check in checks),
        "for": "inventory",
        "machines": servers_as_json(found, shown),
    }


def _coloured(text: str, verdict: Verdict) -> str:
    colours = {"pass": "green", "warn": "yellow", "fail": "red", "unknown": "cyan"}
    return click.style(text, fg=colours[verdict.value])
