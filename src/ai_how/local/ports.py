"""Chooses ports that are free and stay the same: starting at a number derived from the site, the next free one up."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from typing import Literal

import psutil

from ai_how.errors import ConflictError, SpecError

# below Linux's ephemeral range (32768 and up) and Kubernetes' node ports (30000 and up)
FIRST, LAST = 18000, 28999
_LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = _LOOPBACK) -> bool:
    """Whether a listener could bind this TCP port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # as servers do: a connection that lingers after its close is no reason to call a port taken
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def check_address(host: str) -> None:
    """Whether this machine can listen on an address at all.

    Raises:
        SpecError: the name does not resolve, or the address is another machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError as error:
        raise SpecError(
            f"cannot listen on {host}",
            evidence=error.strerror or str(error),
            next_step="write an address of this machine as gateway.host in the site file: ip -brief address",
        ) from error


def owner_of(port: int) -> str:
    """Who listens on a port, for error messages; as far as this user may see it."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
                if connection.pid is None:
                    return "a process of another user"
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        return "another process"
    return "another process"


class PortBook:
    """The ports of one site: those in use stay, new ones are proposed the same way each time.

    Args:
        key: What makes this site's ports differ from others', such as its state folder.
        kept: Ports that the site's components have already, by name.
        ours: Ports that our own running processes listen on; they count as free for us.
    """

    def __init__(self, key: str, *, kept: Mapping[str, int], ours: frozenset[int]) -> None:
        self._key = key
        self._kept = kept
        self._ours = ours
        self._given: set[int] = set()

    def port(self, name: str, *, wanted: int | Literal["auto"] = "auto", host: str = _LOOPBACK) -> int:
        """The port for ``name``.

        Raises:
            ConflictError: the site file names a port that somebody else listens on.
            SpecError: it names an address that is not this machine's.
        """
        if host != _LOOPBACK:
            check_address(host)
        if wanted != "auto":
            if wanted not in self._ours and not is_free(wanted, host):
                raise ConflictError(
                    f"port {wanted} is taken",
                    evidence=f"{host}:{wanted} is used by {owner_of(wanted)}",
                    next_step="stop that process, or write another port (or auto) in the site file",
                )
            self._given.add(wanted)
            return wanted
        kept = self._kept.get(name)
        if kept is not None and kept not in self._given and (kept in self._ours or is_free(kept, host)):
            self._given.add(kept)
            return kept
        span = LAST - FIRST + 1
        start = int.from_bytes(hashlib.sha256(f"{self._key}/{name}".encode()).digest()[:4], "big") % span
        for offset in range(span):
            port = FIRST + (start + offset) % span
            if port not in self._given and port not in self._kept.values() and is_free(port, host):
                self._given.add(port)
                return port
        raise ConflictError(f"no free port between {FIRST} and {LAST}", next_step="see what listens there: ss -ltn")
