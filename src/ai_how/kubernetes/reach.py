"""The API server of a cluster from here: directly, or through its control plane where that lies behind another host."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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


def tunnel_words(target: SshTarget, *, near: int, far: int) -> list[str]:
    """The command line that brings the API server of a control plane to a port of this machine."""
    argv = target.argv()
    return [*argv[:-1], "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{near}:127.0.0.1:{far}", argv[-1]]


@contextmanager
def tunnel(target: SshTarget, far: int) -> Iterator[int]:
    """A port of this machine that is a port of a node, for the time of the block.

    Raises:
        TryAgainError: the node's host gives no way.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        near = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="ai-how-") as folder:
        said = Path(folder) / "ssh"
        words = tunnel_words(target, near=near, far=far)
        with Background(words, env=os.environ, cwd=Path(folder), stdout=said, stderr=said) as ssh:
            _wait_open(near, ssh, said, target)
            yield near


def _wait_open(port: int, ssh: Background, said: Path, target: SshTarget) -> None:
    deadline = time.monotonic() + _TUNNEL_TIMEOUT_S
    while time.monotonic() < deadline and ssh.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(_PAUSE_S)
    raise TryAgainError(
        f"no way through {target.jump} to {target.host}",
        evidence=said.read_text(encoding="utf-8", errors="replace").strip()[-500:],
        next_step="ai-how status",
    )
