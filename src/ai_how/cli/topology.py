"""``ai-how topology``: the picture of a site, for the terminal, for a page, for programs."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.options import site_option
from ai_how.cli.output import note, print_json
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider
    from ai_how.machines.topology.types import Topology
    from ai_how.site.spec import Site


@click.command()
@site_option
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json", "svg", "html"]),
    default="text",
    help="Format: a tree, data, a picture, or a page with the picture.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to FILE instead of the screen.")
def topology(site_path: Path | None, output: str, out: Path | None) -> None:
    """Show hosts, machines, networks and GPUs, and what contradicts itself.

    Conflicts begin with `!` and are red. Where libvirt cannot be asked, it shows
    what is planned, and says so. Servers of an inventory are looked at over SSH.
    Changes nothing.

    \b
    Example:
      ai-how topology
      ai-how topology -o html --out topology.html
    """
    from ai_how.machines.topology.look import topology_of
    from ai_how.site.load import find_site, load_site
    from ai_how.site.server_rules import is_to_be_built

    path = site_path or find_site(Path.cwd())
    site = load_site(path)
    if site.provider == "local":
        raise SpecError(
            f"site {site.name} is one machine: there is no topology to show",
            evidence="provider: local",
            next_step="ai-how status",
        )
    found = _of_servers(site, path) if is_to_be_built(site) else topology_of(site, _provider(site, path))
    if output == "json" and out is None:
        print_json(found)
        return
    text = _rendered(found, output, coloured=out is None)
    if out is None:
        click.echo(text, nl=False)
        return
    out.write_text(text, encoding="utf-8")
    note(f"written to {out}")


def _provider(site: Site, path: Path) -> LibvirtProvider | None:
    if site.provider != "libvirt":
        return None
    from ai_how.machines.provider import LibvirtProvider

    return LibvirtProvider(site, path)


def _of_servers(site: Site, path: Path) -> Topology:
    """Servers that exist, as they are seen over SSH."""
    from ai_how.machines.topology.assemble import Seen, assemble
    from ai_how.servers.capacity import server_states, servers_request
    from ai_how.servers.provider import InventoryProvider

    fleet = InventoryProvider(site, path).fleet
    request, solution = servers_request(site, fleet)
    seen = {name: Seen(host=name, state=state) for name, state in server_states(fleet).items()}
    return assemble(site, request, solution, seen=seen)


def _rendered(found: Topology, output: str, *, coloured: bool) -> str:
    if output == "json":
        import dataclasses
        import json

        return json.dumps(dataclasses.asdict(found), indent=2) + "\n"
    if output == "text":
        from ai_how.cli.topology_text import topology_lines

        text = "\n".join(topology_lines(found)) + "\n"
        return text if coloured else click.unstyle(text)
    from ai_how.machines.topology.picture import picture

    svg = picture(found)
    if output == "svg":
        return svg
    from ai_how.report.page import figure, page, table

    rows = [(conflict,) for conflict in found.conflicts]
    conflicts = f"<h2>Conflicts</h2>{table(('what',), rows)}" if rows else "<p>No conflicts.</p>"
    caption = f"As planned, not as it is: {found.unseen}." if found.unseen else "As it is now."
    return page(f"Topology of {found.site}", f"<h1>Site {escape(found.site)}</h1>{figure(svg, caption)}{conflicts}")
