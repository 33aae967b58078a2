"""Routes of this machine: which networks it reaches, and through which interface."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ai_how.host.root import Root

_RTF_REJECT = 0x0200
_ROUTE_FIELDS = 8
_ROUTE6_FIELDS = 10


@dataclass(frozen=True, kw_only=True)
class Route:
    """A network and the interface to it; the interface is empty for tables beside the main one."""

    network: IPv4Network | IPv6Network
    interface: str = ""


def observe_routes(root: Root) -> tuple[Route, ...] | None:
    """All routes but defaults, link-local, multicast and single local addresses; None where none can be read."""
    texts = [root.text(f"proc/net/{name}") for name in ("route", "ipv6_route", "fib_trie")]
    if texts[0] is None and texts[2] is None:
        return None
    main = [*parse_route(texts[0] or ""), *parse_ipv6_route(texts[1] or "")]
    known = {route.network for route in main}
    others = [Route(network=network) for network in parse_fib_trie(texts[2] or "") if network not in known]
    return tuple(dict.fromkeys([*main, *others]))


def parse_route(text: str) -> list[Route]:
    """``/proc/net/route``: addresses are hexadecimal words in the machine's byte order (little-endian)."""
    found = []
    for row in (line.split() for line in text.splitlines()):
        if len(row) < _ROUTE_FIELDS or not all(re.fullmatch("[0-9A-Fa-f]{8}", row[i]) for i in (1, 7)):
            continue
        address, mask = (int.from_bytes(bytes.fromhex(row[i])[::-1], "big") for i in (1, 7))
        try:
            network = IPv4Network((address, str(IPv4Address(mask))))
        except ValueError:
            continue
        if network.prefixlen and not network.is_link_local and not network.is_multicast:
            found.append(Route(network=network, interface=row[0]))
    return found


def parse_ipv6_route(text: str) -> list[Route]:
    """``/proc/net/ipv6_route``: network, prefix length in hex, ..., flags, interface."""
    found = []
    for row in (line.split() for line in text.splitlines()):
        if len(row) < _ROUTE6_FIELDS or not all(
            re.fullmatch(shape, word) for shape, word in (("[0-9A-Fa-f]{32}", row[0]), ("[0-9A-Fa-f]{2}", row[1]))
        ):
            continue
        prefix = int(row[1], 16)
        if not re.fullmatch("[0-9A-Fa-f]{8}", row[8]) or int(row[8], 16) & _RTF_REJECT or not 0 < prefix < 128:
            continue
        try:
            network = IPv6Network((IPv6Address(bytes.fromhex(row[0])), prefix))
        except ValueError:
            continue
        if not network.is_link_local and not network.is_multicast:
            found.append(Route(network=network, interface=row[9]))
    return found


def parse_fib_trie(text: str) -> list[IPv4Network]:
    """``/proc/net/fib_trie``: the networks of every table, those of policy routing and VPNs too."""
    found: dict[IPv4Network, None] = {}
    address = ""
    for line in text.splitlines():
        leaf = re.search(r"\|-- ([0-9.]+)\s*$", line)
        address = leaf[1] if leaf else address
        route = re.search(r"/([0-9]{1,2}) \w+ UNICAST", line)
        if not route or not address or int(route[1]) == 0:
            continue
        try:
            network = IPv4Network(f"{address}/{route[1]}")
        except ValueError:
            continue
        if not network.is_link_local and not network.is_multicast:
            found[network] = None
    return list(found)
