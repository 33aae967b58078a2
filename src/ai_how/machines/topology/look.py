"""Looks at a site's hosts for its picture; where libvirt is away, the plan alone is shown, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from ai_how.capacity.demand import request_of
from ai_how.capacity.sizing import solve
from ai_how.errors import AiHowError
from ai_how.host.site_hosts import observe_site_hosts
from ai_how.machines import networks
from ai_how.machines.connection import Connect
from ai_how.machines.far_hosts import ask_far_host
from ai_how.machines.topology.assemble import Seen, assemble
from ai_how.machines.topology.types import Topology
from ai_how.site.server_rules import BY_SIZE_ONLY
from ai_how.site.spec import Site

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider


def topology_of(site: Site, provider: LibvirtProvider | None) -> Topology:
    """The site as it is, or as it is planned where its hosts cannot be asked (``provider`` None: there is no libvirt).

    Raises:
        SpecError: what a host has is neither declared nor can be looked at.
    """
    seen, foreign, unseen = _ask(provider)
    request = request_of(site, observe_site_hosts(site, ask_far=ask_far_host))
    kept = {node: machine.host for node, machine in (seen or {}).items()}
    needs = tuple(replace(need, host=kept.get(need.name, need.host)) for need in request.needs)
    request = replace(request, needs=needs)
    return assemble(site, request, solve(request), seen=seen, unseen=unseen, foreign=foreign)


def _ask(provider: LibvirtProvider | None) -> tuple[dict[str, Seen] | None, dict[str, IPv4Network], str]:
    if provider is None:
        return None, {}, BY_SIZE_ONLY
    try:
        machines, foreign = provider.standing, _foreign(provider.connections, provider.site)
    except AiHowError as error:
        return None, {}, error.brief
    seen = {
        node: Seen(
            host=machine.host,
            state=machine.found.state,
            cards=tuple(str(functions[0]) for functions in machine.made_with.get("cards", []) if functions),
        )
        for node, machine in machines.items()
    }
    return seen, foreign, ""


def _foreign(connections: Mapping[str, Connect], site: Site) -> dict[str, IPv4Network]:
    several = len(connections) > 1
    return {
        f"{name} on {host}" if several else name: subnet
        for host, connect in connections.items()
        for name, subnet in networks.foreign_subnets(connect, site=site.name).items()
    }
