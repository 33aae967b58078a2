"""Networks on a libvirt host: made, changed, removed. A bridge that the host has already is only looked at."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Any
from xml.etree import ElementTree as ET

from ai_how.errors import ConflictError
from ai_how.machines.connection import Connect, explained, optional, unless_unsupported
from ai_how.machines.library import load_libvirt
from ai_how.machines.marks import network_name, object_uuid
from ai_how.machines.types import Network
from ai_how.machines.xml.network import network_xml, settings_of, subnet_in
from ai_how.machines.xml.tree import parse, to_text


def ensure_network(connect: Connect, network: Network) -> str:
    """Have the network as described, running, and started with the host.

    Reservations are changed while it runs. Any other change restarts it, and running machines must be connected again
    (``domains.reconnect_machine``).

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
        wanted, where = network_xml(network), f"{network.subnet} on {network.bridge}"
        if found is not None and found.isActive():
            if _update_names(found, wanted):
                connect.networkDefineXML(wanted)
                found.setAutostart(1)
                return f"changed while it runs, {where}"
            found.destroy()
        defined = connect.networkDefineXML(wanted)
        # before it runs: one that runs is taken to be whole
        defined.setAutostart(1)
        _start(defined, network)
        return f"{'made' if found is None else 'changed'}, {where}"


def _start(defined: Any, network: Network) -> None:
    libvirt = load_libvirt()
    try:
        defined.create()
    except libvirt.libvirtError as error:
        if network.bridge not in str(error) or "File exists" not in str(error):
            raise
        raise ConflictError(
            f"a bridge {network.bridge} is there already",
            evidence=f"{error}\na libvirtd that is killed while it starts a network leaves the bridge behind",
            next_step=f"on that host, as root: ip link delete {network.bridge}, then: ai-how up",
        ) from error


def _update_names(found: Any, wanted: str) -> bool:
    """Change a running network's reservations and names; False where more than that differs: nothing is done then."""
    old, new = settings_of(found.XMLDesc(0)), settings_of(wanted)
    if {**old, "hosts": {}} != {**new, "hosts": {}} or not old["hosts"] or not new["hosts"]:
        return False
    libvirt = load_libvirt()
    changed = {name for name in old["hosts"] | new["hosts"] if old["hosts"].get(name) != new["hosts"].get(name)}
    steps = (
        (libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, parse(found.XMLDesc(0))),
        (libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, parse(wanted)),
    )
    for command, root in steps:
        for section, host in _entries(root, changed):
            found.update(command, section, 0, to_text(host), libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)
    return True


def _entries(root: ET.Element, names: set[str]) -> Iterator[tuple[int, ET.Element]]:
    """The entries of DHCP and DNS that are for these machines, each with libvirt's number for its section."""
    libvirt = load_libvirt()
    for host in root.findall("ip/dhcp/host"):
        if host.get("name") in names:
            yield libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, host
    for host in root.findall("dns/host"):
        if host.findtext("hostname") in names:
            yield libvirt.VIR_NETWORK_SECTION_DNS_HOST, host


def observe_ports(connect: Connect, *, site: str) -> frozenset[str] | None:
    """The places that running machines have on the site's networks; a machine whose place is gone has lost its link.

    None: this libvirt does not tell (before 5.5, and its test driver).
    """
    prefix = network_name(site, "")
    with explained("list the networks"):
        ours = [found for found in connect.listAllNetworks(0) if found.name().startswith(prefix) and found.isActive()]
        ports = [unless_unsupported(network.listAllPorts, 0) for network in ours]
    if None in ports:
        return None
    return frozenset(port.UUIDString() for some in ports for port in some)


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
