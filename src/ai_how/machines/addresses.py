"""Which address a node gets: from its cluster's subnet, its role and its number, so that it never moves. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from ai_how.errors import SpecError
from ai_how.site.roles import KIND_ROLES, Kind, Role

_FIRST = 10
"""Addresses below are the host's own and for what a network's owner puts there."""


def node_address(subnet: str, *, kind: Kind, role: Role, number: int) -> IPv4Address:
    """The address of the ``number``th node of a role (from 1): every role has an equal part of the subnet.

    Raises:
        SpecError: the role's part of the subnet is full.
    """
    network = IPv4Network(subnet)
    roles = KIND_ROLES[kind]
    first = min(_FIRST, network.num_addresses // 4)
    share = (network.num_addresses - first - 1) // len(roles)
    if number > share:
        raise SpecError(
            f"subnet {subnet} has no address for {role} {number}",
            evidence=f"each role has {share} addresses of it",
            next_step="write a larger subnet for the cluster",
        )
    return network[first + roles.index(role) * share + number - 1]


def host_address(subnet: str) -> str:
    """The host's own address in a network that we make: the first, where its name server answers too."""
    return str(IPv4Network(subnet)[1])
