"""What spans several keys of an inventory: servers that cannot be reached as written, nodes that name none. Pure.

Servers without an address are only planned with; as soon as one has an address, each node must name its own server.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from ai_how.site.clusters import Cluster, Host
from ai_how.site.mistakes import Key, Mistake
from ai_how.site.spec import Site
from ai_how.site.words import either
from ai_how.site.yaml_lines import Document

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_VIRTUAL = ("network", "image", "firmware")


BY_SIZE_ONLY = "planned by size only: hosts without address"
"""What an inventory is that names no server which can be reached."""


def is_to_be_built(site: Site) -> bool:
    """Whether servers are named that can be reached; without one, an inventory is only planned with."""
    return site.provider == "inventory" and any(host.address for host in site.hosts)


def is_server(address: str) -> bool:
    """Whether an address names a server as it may be written: ``user@host`` or ``host``."""
    user, _, place = address.rpartition("@")
    return _is_place(place) and bool(not user or re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", user))


def server_mistakes(site: Site, document: Document) -> Iterator[Mistake]:
    """What cannot work, each at its line."""
    if site.provider != "inventory":
        yield from _not_here(site, document)
        return
    if not is_to_be_built(site):
        return
    if site.schedule == "in-turns":
        yield document.at_value(("schedule",), "is for provider libvirt", "remove it: servers are not switched off")
    for index, host in enumerate(site.hosts):
        if host.address:
            yield from _reach(site, host, document, ("hosts", index))
    if not site.clusters:
        yield document.at_key(("hosts",), "no cluster uses these servers", "write clusters: with nodes that name them")
    taken: dict[str, str] = {}
    for name, cluster in sorted(site.clusters.items()):
        yield from _cluster(site, cluster, document, ("clusters", name), taken)


def _not_here(site: Site, document: Document) -> Iterator[Mistake]:
    remedy = "remove it, or write provider: inventory"
    if document.data.get("ssh"):
        yield document.at_key(("ssh",), "is for provider inventory", remedy)
    for index, host in enumerate(site.hosts):
        for key in ("ssh", "host_key", "cluster_address"):
            if key in host.model_fields_set:
                yield document.at_key(("hosts", index, key), "is for provider inventory", remedy)


def _reach(site: Site, host: Host, document: Document, at: Key) -> Iterator[Mistake]:
    user = (host.address or "").rpartition("@")[0]
    if not is_server(host.address or ""):
        remedy = "write user@host, such as admin@192.0.2.10; a port goes into ssh: {port: 2222}"
        yield document.at_value((*at, "address"), f"{host.address!r} is no address of a server", remedy)
    elif user and host.ssh.user:
        yield document.at_value((*at, "ssh", "user"), f"the address has a user too: {user}", "write one of them")
    elif not user and not host.ssh.user and not site.ssh.user:
        remedy = "write user@ before it, or once for all servers: ssh: {user: admin}"
        yield document.at_value((*at, "address"), "does not say whom to log in as", remedy)
    if host.cluster_address and not is_ipv4(host.cluster_address):
        yield document.at_value((*at, "cluster_address"), f"{host.cluster_address} is no address", "write an IPv4 one")


def _is_place(text: str) -> bool:
    return is_ipv4(text) or bool(re.fullmatch(rf"({_LABEL}\.)*(?=[A-Za-z0-9-]*[A-Za-z]){_LABEL}\.?", text))


def is_ipv4(text: str) -> bool:
    """Whether a text is an IPv4 address, and no host name."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _cluster(site: Site, cluster: Cluster, document: Document, at: Key, taken: dict[str, str]) -> Iterator[Mistake]:
    for key in _VIRTUAL:
        if key in cluster.model_fields_set:
            yield document.at_key((*at, key), "is for provider libvirt", "remove it: servers are taken as they are")
    if cluster.start == "manual":
        yield document.at_value((*at, "start"), "is for provider libvirt", "remove it: servers are not started")
    if not cluster.nodes:
        yield document.at_key(at, "names no servers", "write nodes:, such as - {role: control-plane, host: NAME}")
    addresses = {host.name: host.address for host in site.hosts}
    for index, node in enumerate(cluster.nodes):
        here: Key = (*at, "nodes", index)
        if node.host is None:
            yield document.at_key(here, "does not say which server", f"write host: {either(addresses)}")
            continue
        if node.count > 1:
            yield document.at_value((*here, "count"), f"{node.count} nodes are not one server", "write a line for each")
        if node.host in taken:
            remedy = "a server is one node: write another host"
            yield document.at_value((*here, "host"), f"{node.host} is a node of {taken[node.host]} already", remedy)
        elif node.host in addresses and not addresses[node.host]:
            yield document.at_value((*here, "host"), f"{node.host} has no address", "write address: under hosts")
        taken.setdefault(node.host, f"cluster {at[1]}")
