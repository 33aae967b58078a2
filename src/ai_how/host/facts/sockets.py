"""Who listens: TCP and UDP ports of this machine with their processes, as far as this user may see them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from ai_how.host.root import Root

Protocol = Literal["tcp", "udp"]

# states of the kernel's tcp_states.h; a UDP socket that is not connected stands as CLOSE
_LISTENING: dict[str, str] = {"tcp": "0A", "udp": "07"}
_FIELDS = 10


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A socket that takes connections or datagrams. ``owner`` is its process, empty where it cannot be seen."""

    protocol: Protocol
    port: int
    address: str
    inode: int
    owner: str = ""


def observe_listeners(root: Root) -> tuple[Listener, ...] | None:
    """All of them, ordered by protocol and port; None where no table can be read. IPv4 and IPv6."""
    tables: list[tuple[Protocol, str]] = [("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6")]
    texts = [(protocol, root.text(f"proc/net/{name}")) for protocol, name in tables]
    if all(text is None for _, text in texts):
        return None
    found = [listener for protocol, text in texts for listener in parse_sockets(text or "", protocol)]
    return tuple(sorted(found, key=lambda listener: (listener.protocol, listener.port, listener.address)))


def parse_sockets(text: str, protocol: Protocol) -> list[Listener]:
    """``/proc/net/tcp`` and its kin. Source: the kernel's proc_net_tcp document. Other lines are left out."""
    found = []
    for row in (line.split() for line in text.splitlines()):
        if len(row) < _FIELDS or row[3] != _LISTENING[protocol] or not row[9].isdecimal():
            continue
        match = re.fullmatch("([0-9A-Fa-f]{8}|[0-9A-Fa-f]{32}):([0-9A-Fa-f]{4})", row[1])
        if match:
            port, inode = int(match[2], 16), int(row[9])
            found.append(Listener(protocol=protocol, port=port, address=_address(match[1]), inode=inode))
    return found


def _address(text: str) -> str:
    """Words of four bytes, each in the machine's byte order (little-endian)."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return str(IPv4Address(words[0]) if len(words) == 1 else IPv6Address(b"".join(words)))


def with_owners(root: Root, listeners: Iterable[Listener]) -> tuple[Listener, ...]:
    """The same with the owners' names. Looks through all processes: only for the few listeners that matter."""
    asked = tuple(listeners)
    wanted = {f"socket:[{listener.inode}]": listener.inode for listener in asked}
    owners: dict[int, str] = {}
    for pid in root.names("proc") if wanted else ():
        if not pid.isdecimal() or len(owners) == len(wanted):
            continue
        for descriptor in root.names(f"proc/{pid}/fd"):
            inode = wanted.get(root.link(f"proc/{pid}/fd/{descriptor}") or "")
            if inode is not None:
                owners.setdefault(inode, f"{root.text(f'proc/{pid}/comm') or 'process'} (process {pid})")
    return tuple(replace(listener, owner=owners.get(listener.inode, "")) for listener in asked)
