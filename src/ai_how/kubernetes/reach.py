"""A cluster's addresses from here: directly, or by SSH through one of its nodes.

Owns the API server's way and the tunnels of all others. Knows nothing of what is reached.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ai_how.errors import TryAgainError
from ai_how.kubernetes.kubeconfig import API_PORT, SERVER_NAME
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import Patience
from ai_how.kubernetes_api.kubeconfig import Access
from ai_how.run.background import Background
from ai_how.run.ssh import SshTarget

_PAUSE_S = 0.1
_TUNNEL_TIMEOUT_S = 30


@contextmanager
def open_api(access: Access, target: SshTarget, *, patience: Patience | None = None) -> Iterator[Client]:
    """A client for the time of the block; ``target`` is how the control plane is reached.

    Raises:
        TryAgainError: the way through its host does not open.
    """
    if not target.jump:
        client = Client(access, patience=patience)
        try:
            yield client
        finally:
            client.close()
        return
    with tunnel(target, urlsplit(access.server).port or API_PORT) as port:
        near = replace(access, server=f"https://127.0.0.1:{port}", server_name=SERVER_NAME)
        client = Client(near, patience=patience)
        try:
            yield client
        finally:
            client.close()


@dataclass(frozen=True, kw_only=True)
class Far:
    """An address as a node sees it."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Way:
    """An open tunnel: the ports of this machine in the order in which they were asked for, and where ssh's words go."""

    ports: tuple[int, ...]
    log: Path

    @property
    def said(self) -> str:
        """The end of what ssh said: why the far side of a port could not be reached stands there alone."""
        return self.log.read_text(encoding="utf-8", errors="replace").strip()[-500:]


def tunnel_words(target: SshTarget, ways: Mapping[int, Far]) -> list[str]:
    """The command line that brings addresses that a node sees to ports of this machine.

    ``cat`` ends with its standard input, and ssh with it.
    """
    argv = target.argv()
    # said at this level: that the far side of a port cannot be reached; the first of two levels counts
    options = ["-T", "-o", "LogLevel=INFO", "-o", "ExitOnForwardFailure=yes"]
    for near, far in ways.items():
        options += ["-L", f"127.0.0.1:{near}:{far.host}:{far.port}"]
    return [argv[0], *options, *argv[1:], "--", "cat"]


@contextmanager
def tunnel(target: SshTarget, far: int) -> Iterator[int]:
    """A port of this machine that is a port of a node's own loopback, for the time of the block; as ``tunnels``."""
    with tunnels(target, [Far(host="127.0.0.1", port=far)]) as way:
        yield way.ports[0]


@contextmanager
def tunnels(target: SshTarget, fars: Sequence[Far]) -> Iterator[Way]:
    """Ports of this machine that lead to what a node sees, by one ssh, for the time of the block.

    It ends with the block, and with this process, however that ends.

    Raises:
        TryAgainError: the node, or its host, gives no way.
    """
    with tempfile.TemporaryDirectory(prefix="ai-how-") as folder, ExitStack() as probes:
        # all at once, so that they differ
        taken = [probes.enter_context(socket.socket()) for _ in fars]
        for probe in taken:
            probe.bind(("127.0.0.1", 0))
        ways = {int(probe.getsockname()[1]): far for probe, far in zip(taken, fars, strict=True)}
        probes.close()
        said = Path(folder) / "ssh"
        quiet = Path(os.devnull)
        words = tunnel_words(target, ways)
        with Background(words, env=os.environ, cwd=Path(folder), stdout=quiet, stderr=said, tied=True) as ssh:
            _wait_open(list(ways)[-1], ssh, said, target)
            yield Way(ports=tuple(ways), log=said)


def _wait_open(port: int, ssh: Background, said: Path, target: SshTarget) -> None:
    deadline = time.monotonic() + _TUNNEL_TIMEOUT_S
    while time.monotonic() < deadline and ssh.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_PAUSE_S)
    raise TryAgainError(
        f"no way through {target.jump} to {target.host}" if target.jump else f"no way through SSH to {target.host}",
        evidence=said.read_text(encoding="utf-8", errors="replace").strip()[-500:],
        next_step="ai-how status",
    )
