"""Checks of network cards, bonds, the cluster's subnet and its bridge's name."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from ai_how.capacity.tiers import Tier
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import at_least, speed_text
from ai_how.host.facts.network import NetworkFacts
from ai_how.host.facts.routes import Route


def check_network(
    network: NetworkFacts,
    *,
    routes: tuple[Route, ...] | None,
    tier: Tier,
    subnet: IPv4Network | IPv6Network,
    bridge: str = "",
) -> list[Check]:
    """Speed and bonds against the tier; ``subnet`` and ``bridge`` against what is there already."""
    return [
        check_speed(network, tier=tier),
        check_bond(network, tier=tier),
        _subnet(routes, subnet, network=network),
        _bridge(network, bridge),
    ]


def check_speed(network: NetworkFacts, *, tier: Tier) -> Check:
    """The fastest connected card or bond."""
    found = ", ".join(
        f"{nic.name} {speed_text(nic.speed_mbps) if nic.speed_mbps else _no_speed(nic.up, nic.driver)}"
        for nic in network.nics
    )
    return Check(
        id="network.speed",
        title="Network speed",
        found=found or ("no network card" if network.names else "cannot be read"),
        wanted=speed_text(tier.network_mbps),
        verdict=_speed_verdict(network, tier),
        why="Models of many gigabytes and all requests pass here.",
        fix="See what card and switch agreed on: sudo ethtool NAME; if that is all, a faster card, port or cable",
    )


def _no_speed(up: bool | None, driver: str) -> str:
    if up is False:
        return "down"
    return "has no speed (virtual)" if driver.startswith(("virtio", "xen", "hv_", "vmxnet")) else "tells no speed"


def _speed_verdict(network: NetworkFacts, tier: Tier) -> Verdict:
    silent = any(nic.up is not False and nic.speed_mbps is None for nic in network.nics)
    fastest = network.fastest_mbps
    if fastest is not None and (fastest >= tier.network_mbps or not silent):
        return at_least(fastest, tier.network_mbps)
    if network.names and not silent:
        return Verdict.FAIL
    return Verdict.UNKNOWN


def check_bond(network: NetworkFacts, *, tier: Tier) -> Check:
    """Bonds: only the production tier asks for one."""
    bonds = [f"{bond.name} ({bond.mode or 'unknown mode'}: {', '.join(bond.members)})" for bond in network.bonds]
    lame = any(len(bond.members) < 2 for bond in network.bonds)
    verdict = Verdict.PASS if network.bonds else (Verdict.FAIL if tier.bonding else Verdict.PASS)
    if not network.names:
        verdict = Verdict.UNKNOWN
    elif lame:
        verdict = Verdict.WARN
    return Check(
        id="network.bond",
        title="Bonded cards",
        found="; ".join(bonds) or ("none" if network.names else "cannot be read"),
        wanted="a bond of 2 cards" if tier.bonding else "optional",
        verdict=verdict,
        why="With a bond the cluster outlives a cable, a card or a switch.",
        fix="Bond two cards: mode 802.3ad with a switch that speaks LACP, else active-backup (man interfaces-bond)",
    )


def _subnet(routes: tuple[Route, ...] | None, subnet: IPv4Network | IPv6Network, *, network: NetworkFacts) -> Check:
    clashing = [route for route in routes or () if _overlap(route.network, subnet)]
    known = ", ".join(f"{route.network} via {route.interface or 'another table'}" for route in clashing)
    # libvirt's own bridge may carry this very network, from an earlier build
    own = bool(clashing) and all(route.interface in network.bridges for route in clashing)
    verdict = Verdict.PASS if not clashing else (Verdict.WARN if own else Verdict.FAIL)
    return Check(
        id="network.subnet",
        title="Cluster's subnet",
        found="routes cannot be read" if routes is None else known or "overlaps no route",
        wanted=f"{subnet} unused",
        verdict=Verdict.UNKNOWN if routes is None else verdict,
        why="Two networks with the same addresses: this host would reach only one of them.",
        fix="Choose another subnet and check it: ai-how doctor --subnet 192.168.201.0/24; see: ip route",
    )


def _overlap(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)


def _bridge(network: NetworkFacts, bridge: str) -> Check:
    taken = bool(bridge) and bridge in network.names
    there = ", ".join(network.bridges)
    found = f"{bridge} is there already" if taken else (f"taken: {there}" if there else "no bridge yet")
    return Check(
        id="network.bridge",
        title="Bridge names",
        found=found if network.names else "cannot be read",
        wanted=f"{bridge} free" if bridge else "any free one",
        verdict=(Verdict.WARN if taken else Verdict.PASS) if network.names else Verdict.UNKNOWN,
        why="The cluster's network makes a bridge of its own; one of the same name may be another network's.",
        fix=f"See whose it is: virsh net-list --all; ip -d link show {bridge}" if taken else "See them all: ip link",
    )
