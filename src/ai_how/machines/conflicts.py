"""What is on a host already and is in the way of what a site wants there. Looks only: nothing is made or changed."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from ai_how.errors import ConflictError
from ai_how.machines.connection import Connect, explained, optional
from ai_how.machines.desired import Desired
from ai_how.machines.types import Network, NetworkMode
from ai_how.machines.xml.network import subnet_in
from ai_how.machines.xml.tree import parse


def check_conflicts(connect: Connect, wanted: Desired, *, host: str) -> None:
    """Refuse a plan whose names, bridges, folder or addresses on a host belong to somebody else.

    Raises:
        ConflictError: the evidence has one line for each thing that is in the way.
    """
    with explained(f"look what is in the way on {host}"):
        found = [*_machines(connect, wanted, host), *_pools(connect, wanted, host), *_networks(connect, wanted, host)]
    if found:
        raise ConflictError(
            f"something else on {host} is in the way of this site",
            evidence="\n".join(found),
            next_step="give the site another name or its cluster another subnet, or remove what is in the way",
        )


def _machines(connect: Connect, wanted: Desired, host: str) -> Iterator[str]:
    for wish in wanted.machines.values():
        there = optional(connect.lookupByName, wish.machine.name) if wish.host == host else None
        if there is not None and there.UUIDString() != wish.machine.uuid:
            yield f"a machine {wish.machine.name} is there already, and it is not this site's"


def _pools(connect: Connect, wanted: Desired, host: str) -> Iterator[str]:
    path = wanted.pool_paths.get(host)
    if path is None:
        return
    for pool in connect.listAllStoragePools(0):
        if pool.UUIDString() == wanted.pool_uuid:
            continue
        if pool.name() == wanted.pool:
            yield f"a storage pool {wanted.pool} is there already, and it is not this site's"
        elif (parse(pool.XMLDesc(0)).findtext("target/path") or "").rstrip("/") == path.rstrip("/"):
            yield f"storage pool {pool.name()} has the folder {path}"


def _networks(connect: Connect, wanted: Desired, host: str) -> Iterator[str]:
    ours = [wish.network for wish in wanted.networks.values() if host in wish.hosts]
    ours = [network for network in ours if network.mode is not NetworkMode.BRIDGE]
    own = {wish.network.uuid for wish in wanted.networks.values()}
    for there in connect.listAllNetworks(0):
        if there.UUIDString() not in own:
            for network in ours:
                yield from _clashes(network, there.name(), there.XMLDesc(0))


def _clashes(network: Network, name: str, xml: str) -> Iterator[str]:
    bridge = parse(xml).find("bridge")
    if name == network.name:
        yield f"a network {name} is there already, and it is not this site's"
    if bridge is not None and bridge.get("name") == network.bridge:
        yield f"network {name} has the bridge {network.bridge}"
    theirs = subnet_in(xml)
    if theirs is not None and theirs.overlaps(IPv4Network(network.subnet)):
        yield f"network {name} has the addresses {theirs}, which overlap with {network.subnet} of {network.name}"
