"""Whether the servers of a cluster reach each other: each listens for the others for some seconds, all at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ai_how.errors import AiHowError
from ai_how.host.checks.node import REACHED, address_of_node, ports_of
from ai_how.host.checks.nodes import Unreached
from ai_how.host.facts.node import NodeFacts
from ai_how.host.remote.capture import program
from ai_how.run.ssh import run_remote
from ai_how.servers.server import Server

MARK = "ai-how-reach:"
LISTEN_S = 8
_ETCD = (2379, 2380)
Node = tuple[Server, NodeFacts]


def asked_ports(of: Server, by: Server) -> list[tuple[str, int]]:
    """The ports of one server that another one must reach. Pure."""
    found = [(protocol, port) for protocol, port, _ in ports_of(of.wish.role) if port in REACHED]
    both = of.wish.kind == by.wish.kind == "control-plane"
    return [each for each in found if each[1] not in _ETCD or both]


def ways_between(nodes: Sequence[Node], known_hosts: Path) -> dict[str, list[Unreached]]:
    """By server, what it could not reach of the others; those that could not be asked are left out.

    Takes up to ``LISTEN_S`` seconds; where all is well, hardly more than two connections.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(nodes)), thread_name_prefix="ways") as pool:
        said = dict(
            zip(
                (server.name for server, _ in nodes),
                pool.map(lambda node: _ask(node, wish_of(node, nodes), known_hosts), nodes),
                strict=True,
            )
        )
    busy = {name: {tuple(each) for each in answer["busy"]} for name, answer in said.items() if answer}
    return {name: unreached_of(answer, busy) for name, answer in said.items() if answer}


def wish_of(node: Node, nodes: Sequence[Node]) -> dict[str, Any]:
    """What one server is told to do. Pure."""
    server, facts = node
    address = address_of_node(facts, server.wish)
    others = [
        (other, address_of_node(seen, other.wish))
        for other, seen in nodes
        if other.name != server.name and other.wish.cluster == server.wish.cluster
    ]
    listen = {each for other, _ in others for each in asked_ports(server, other)}
    return {
        "name": server.name,
        "seconds": LISTEN_S,
        "listen": {"address": address, "ports": sorted(listen)},
        "peers": [
            {
                "name": other.name,
                "address": place,
                "ports": asked_ports(other, server),
                "asks": asked_ports(server, other),
            }
            for other, place in others
        ],
    }


def _ask(node: Node, wish: Mapping[str, Any], known_hosts: Path) -> dict[str, Any]:
    target = node[0].reached.target(known_hosts)
    try:
        done = run_remote(
            target,
            ["python3", "-", json.dumps(wish)],
            stdin=program("reach"),
            timeout_s=LISTEN_S + 30,
            check=False,
        )
        line = next(line for line in done.stdout.splitlines() if line.startswith(MARK))
        answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
    except (AiHowError, StopIteration, ValueError):
        # it answered a moment ago: whoever could not reach it says so
        return {}
    return answer


def unreached_of(answer: Mapping[str, Any], busy: Mapping[str, set[tuple[Any, ...]]]) -> list[Unreached]:
    """What failed, but for ports on which something of the other's own listens and cannot be asked who it is. Pure."""
    return [
        Unreached(peer=peer, protocol=protocol, port=port, why=why)
        for peer, protocol, port, why in answer["failed"]
        if not (protocol == "udp" and (protocol, port) in busy.get(peer, set()))
    ]
