"""``ai-how gpu``: the GPUs of the hosts, who has them, and giving one back to its host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import print_json, print_table
from ai_how.errors import NotFoundError, SpecError

if TYPE_CHECKING:
    from ai_how.machines.passthrough.hosts import CardHost
    from ai_how.machines.passthrough.listing import CardRow


@click.group()
def gpu() -> None:
    """Show the GPUs that virtual machines can get, and give them back.

    Works on the site's hosts; without a site file, on this machine.

    \b
    Example:
      ai-how gpu list
      ai-how gpu release 65:00.0
    """


@gpu.command(name="list")
@site_option
@output_option
def list_(site_path: Path | None, output: str) -> None:
    """List every GPU of the hosts: its driver, and which machine has it.

    A GPU belongs to one running machine. Those of other programs than ai-how
    count too. Changes nothing.

    \b
    Example:
      ai-how gpu list -o json
    """
    from ai_how.machines.passthrough.listing import card_rows

    rows = card_rows(_hosts(site_path))
    if output == "json":
        print_json({"gpus": rows})
        return
    several = len({row.host for row in rows}) > 1
    headers = ("GPU", *(("HOST",) if several else ()), "MODEL", "MEMORY", "GROUP", "DRIVER", "STATE")
    print_table(headers, [_cells(row, several=several) for row in rows], empty="no NVIDIA GPU on these hosts")
    for row in rows:
        _print_details(row)


def _cells(row: CardRow, *, several: bool) -> tuple[object, ...]:
    host = (row.host,) if several else ()
    memory = f"{row.memory_gib:g} GiB" if row.memory_gib else "unknown"
    state = "in use" if row.held_by else "blocked" if row.blocked else "free"
    return row.address, *host, row.model, memory, row.iommu_group or "-", row.drivers[0] or "none", state


def _print_details(row: CardRow) -> None:
    lines = [f"with {row.held_by}"] if row.held_by else []
    lines += [f"wanted by {wanting}" for wanting in row.wanted_by]
    lines += [f"blocked: {reason}" for reason in row.blocked.split("; ") if reason]
    if lines:
        click.echo(f"\n{row.address}:")
        for line in lines:
            click.echo(f"  {line}")


@gpu.command()
@click.argument("address")
@click.option("--host", metavar="NAME", help="Host of the GPU, where several have one at that address.")
@site_option
@output_option
def release(address: str, host: str | None, site_path: Path | None, output: str) -> None:
    """Give the GPU at ADDRESS back to its host's own drivers.

    A GPU stays with vfio-pci when its machine stops, ready for the next one.
    This puts every function of it back to the driver that it had before, and
    refuses while a machine runs with it. ADDRESS is that of any function.

    \b
    Example:
      ai-how gpu release 65:00.0
    """
    from ai_how.machines.passthrough.listing import host_of
    from ai_how.machines.types import PciAddress

    try:
        wanted = str(PciAddress.parse(address))
    except ValueError as error:
        raise SpecError(str(error), next_step="ai-how gpu list shows the addresses") from error
    found = host_of(_hosts(site_path), wanted, chosen=host)
    drivers = found.release(wanted)
    if output == "json":
        print_json({"host": found.name, "drivers": drivers})
        return
    for function, driver in drivers.items():
        click.echo(f"{function}: {driver or 'no driver'}")


def _hosts(site_path: Path | None) -> dict[str, CardHost]:
    """The site's hosts, or this machine where there is no site, or one of this machine alone.

    Raises:
        SpecError: the site is one of servers.
    """
    from ai_how.capacity.demand import hosts_of
    from ai_how.cli.open_site import no_machines
    from ai_how.machines.connection import open_connection
    from ai_how.machines.passthrough.hosts import CardHost
    from ai_how.site.clusters import Host
    from ai_how.site.load import find_site, load_site

    hosts: tuple[Host, ...] = (Host(name="this-machine"),)
    try:
        path = site_path or find_site(Path.cwd())
    except NotFoundError:
        path = None
    site = None if path is None else load_site(path)
    if site is not None and site.provider == "inventory":
        raise no_machines(site)
    if site is not None and site.provider == "libvirt":
        hosts = hosts_of(site)
    return {host.name: CardHost(host, open_connection(host.uri)) for host in hosts}
