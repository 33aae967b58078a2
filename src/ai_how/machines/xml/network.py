"""A network as libvirt's network XML: an address range with reservations, DHCP and names.

Source: libvirt's network format (formatnetwork) and its schema network.rng.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any
from xml.etree import ElementTree as ET

from ai_how.machines.addresses import host_address
from ai_how.machines.types import Network, NetworkMode
from ai_how.machines.xml.tree import add, parse, to_text

_FORWARD = {NetworkMode.NAT: "nat", NetworkMode.ROUTED: "route"}


def network_xml(network: Network) -> str:
    """The network that is defined; not for mode ``bridge``, which makes none."""
    subnet = IPv4Network(network.subnet)
    root = ET.Element("network")
    add(root, "name", network.name)
    add(root, "uuid", network.uuid)
    if network.mode in _FORWARD:
        add(root, "forward", mode=_FORWARD[network.mode])
    add(root, "bridge", name=network.bridge, stp="on", delay=0)
    add(root, "domain", name=network.domain, localOnly="yes")
    dns = add(root, "dns")
    for entry in network.reservations:
        host = add(dns, "host", ip=entry.address)
        add(host, "hostname", entry.name)
        add(host, "hostname", f"{entry.name}.{network.domain}")
    ip = add(root, "ip", address=host_address(network.subnet), netmask=subnet.netmask)
    if network.reservations:
        # addresses go to machines that we know and to no others: a range of one address, the last, that is reserved
        dhcp = add(ip, "dhcp")
        for entry in network.reservations:
            add(dhcp, "host", mac=entry.mac, name=entry.name, ip=entry.address)
    return to_text(root)


def settings_of(xml: str) -> dict[str, Any]:
    """The settings of a network that can be told from its XML, as we render it or as libvirt gives it back."""
    root = parse(xml)
    forward, bridge, domain, ip = root.find("forward"), root.find("bridge"), root.find("domain"), root.find("ip")
    return {
        "mode": forward.get("mode", "nat") if forward is not None else "isolated",
        "bridge": bridge.get("name", "") if bridge is not None else "",
        "domain": domain.get("name", "") if domain is not None else "",
        "address": ip.get("address", "") if ip is not None else "",
        "netmask": ip.get("netmask", "") if ip is not None else "",
        "hosts": {host.get("name", ""): [host.get("mac"), host.get("ip")] for host in root.findall("ip/dhcp/host")},
    }


def subnet_in(xml: str) -> IPv4Network | None:
    """The first IPv4 network that a libvirt network gives addresses of; None where it has none."""
    for ip in parse(xml).findall("ip"):
        if ip.get("family", "ipv4") == "ipv4" and ip.get("address"):
            mask = ip.get("netmask") or ip.get("prefix") or "32"
            return IPv4Network(f"{ip.get('address')}/{mask}", strict=False)
    return None
