"""Networks on a libvirt host: made, changed, removed. A bridge that the host has already is only looked at."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

from ai_how.errors import ConflictError
from ai_how.machines.connection import Connect, explained, optional
from ai_how.machines.marks import network_name, object_uuid
from ai_how.machines.types import Network
from ai_how.machines.xml.network import network_xml, settings_of, subnet_in


def ensure_network(connect: Connect, network: Network) -> str:
    """Have the network as described, running, and started with the host.

    New reservations are added while it runs; any other change restarts it, and running machines keep their link.

    Raises:
        ConflictError: a network of that name is not ours, or its bridge's name is taken.
    """
    with explained(f"make network {network.name}", next_step="ai-how doctor --only network"):
        found = optional(connect.networkLookupByName, network.name)
        if found is not None and found.UUIDString() != network.uuid:
            raise ConflictError(
                f"a network {network.name} is there already, and it is not this site's",
                next_step=f"give the site another name, or remove it: virsh net-undefine {network.name}",
            )
        said = "made" if found is None else "changed"
        if found is not None and found.isActive():
            found.destroy()
        defined = connect.networkDefineXML(network_xml(network))
        defined.create()
        defined.setAutostart(1)
        return f"{said}, {network.subnet} on {network.bridge}"


def observe_networks(connect: Connect, *, site: str) -> dict[str, tuple[dict[str, Any], bool]]:
    """The site's networks by cluster: their settings (``xml.network.settings_of``), and whether they run."""
    prefix, seen = network_name(site, ""), {}
    with explained("list the networks"):
        for found in connect.listAllNetworks(0):
            cluster = found.name().removeprefix(prefix)
            ours = found.name() != cluster and found.UUIDString() == object_uuid(site, "network", cluster)
            if ours:
                seen[cluster] = settings_of(found.XMLDesc(0)), bool(found.isActive())
    return seen


def foreign_subnets(connect: Connect, *, site: str) -> dict[str, IPv4Network]:
    """The IPv4 networks of libvirt's networks that run on a host and are not the site's, by name."""
    ours, found = observe_networks(connect, site=site), {}
    with explained("list the networks"):
        for network in connect.listAllNetworks(0):
            subnet = subnet_in(network.XMLDesc(0)) if network.isActive() else None
            if subnet is not None:
                found[network.name()] = subnet
    mine = {network_name(site, cluster) for cluster in ours}
    return {name: subnet for name, subnet in found.items() if name not in mine}


def remove_network(connect: Connect, *, name: str, uuid: str) -> bool:
    """Stop and forget a network of ours; whether there was one."""
    with explained(f"remove network {name}"):
        found = optional(connect.networkLookupByName, name)
        if found is None or found.UUIDString() != uuid:
            return False
        if found.isActive():
            found.destroy()
        found.undefine()
        return True
