"""The machines of a site that stand on its hosts now, found by their marks alone: no placement, no image, no plan.

What works on one machine starts here, so that it works too where the site is half made or its file has changed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ai_how.capacity.demand import all_needs
from ai_how.errors import NotFoundError
from ai_how.machines import domains
from ai_how.machines.connection import Connect
from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One machine that is defined on a host. ``made_with`` are the settings that it was made with."""

    node: str
    cluster: str
    host: str
    connect: Connect
    found: domains.Found

    @property
    def name(self) -> str:
        """libvirt's name of it."""
        return self.found.name

    @property
    def made_with(self) -> Mapping[str, Any]:
        settings = self.found.mark.get("settings")
        return settings if isinstance(settings, dict) else {}

    @property
    def address(self) -> str:
        """Its IPv4 address; empty where its mark does not say."""
        nics = self.made_with.get("nics") or [{}]
        return str(nics[0].get("address", ""))


def standing_machines(connections: Mapping[str, Connect], site: Site, *, owner: str) -> dict[str, Standing]:
    """The site's machines by node name, in the order of their names."""
    found = sorted(_standing(connections, site, owner), key=lambda one: one.node)
    return {one.node: one for one in found}


def find_standing(machines: Mapping[str, Standing], site: Site, node: str) -> Standing:
    """One machine that must be there.

    Raises:
        NotFoundError: it is not made yet, or the site has no node of that name.
    """
    if node in machines:
        return machines[node]
    names = sorted({need.name for need in all_needs(site)} | machines.keys())
    if node in names:
        raise NotFoundError(f"machine {node} is not made yet", next_step="ai-how up")
    near = difflib.get_close_matches(node, names, n=1)
    raise NotFoundError(
        f"site {site.name} has no machine {node!r}",
        evidence=f"did you mean {near[0]}?" if near else "it has: " + ", ".join(names),
        next_step="ai-how vm list",
    )


def _standing(connections: Mapping[str, Connect], site: Site, owner: str) -> Iterator[Standing]:
    for host, connect in connections.items():
        for found in domains.observe_machines(connect, site=site.name).values():
            if found.mark.get("owner") == owner and "node" in found.mark:
                yield Standing(
                    node=str(found.mark["node"]),
                    cluster=str(found.mark.get("cluster", "")),
                    host=host,
                    connect=connect,
                    found=found,
                )
