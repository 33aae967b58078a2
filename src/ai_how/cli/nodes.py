"""Names of nodes and clusters as arguments, completed by the shell from the site file alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ai_how.errors import AiHowError

if TYPE_CHECKING:
    from ai_how.site.spec import Site

Function = TypeVar("Function", bound=Callable[..., Any])


def node_argument(function: Function) -> Function:
    """``NODE``: a node's name."""
    return click.argument("node", shell_complete=_complete_node)(function)


def nodes_argument(function: Function) -> Function:
    """``NODE...``: one node's name or more."""
    return click.argument("nodes", nargs=-1, required=True, metavar="NODE...", shell_complete=_complete_node)(function)


def cluster_option(help_text: str) -> Callable[[Function], Function]:
    """``--cluster NAME``."""
    return click.option("--cluster", metavar="NAME", help=help_text, shell_complete=complete_cluster)


def _complete_node(ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    from ai_how.capacity.demand import all_needs

    return _beginning(typed, ctx, lambda site: (need.name for need in all_needs(site)))


def complete_cluster(ctx: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Cluster names for the shell."""
    return _beginning(typed, ctx, lambda site: site.planned_clusters)


def _beginning(typed: str, ctx: click.Context, names_of: Callable[[Site], Iterable[str]]) -> list[str]:
    from ai_how.site.load import find_site, load_site

    try:
        site = load_site(ctx.params.get("site_path") or find_site(Path.cwd()))
    except (AiHowError, OSError):
        # a shell that asks for names wants no message
        return []
    return sorted(name for name in names_of(site) if name.startswith(typed))
