"""A real API server for tests: etcd and kube-apiserver from the folder that ``KUBEBUILDER_ASSETS`` names.

The convention is controller-runtime's (envtest). No controller, scheduler or kubelet runs beside them.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ai_how.errors import AiHowError
from tests.process_backend import free_port

from .api_endpoint import Endpoint
from .certificates import Authority

ASSETS = "KUBEBUILDER_ASSETS"


@contextmanager
def real_api_server(folder: Path) -> Iterator[Endpoint]:
    """Start both, wait until the server is ready, and end both."""
    if ASSETS not in os.environ:
        pytest.skip(f"{ASSETS} names no folder with etcd and kube-apiserver")
    assets = Path(os.environ[ASSETS])
    authority = Authority(folder / "pki")
    serving = authority.issue("kube-apiserver")
    admin = authority.issue("admin", organisation="system:masters")
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    etcd_url = f"http://127.0.0.1:{etcd_port}"
    started: list[subprocess.Popen[bytes]] = []
    try:
        etcd = [assets / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync"]
        etcd += ["--listen-client-urls", etcd_url, "--advertise-client-urls", etcd_url]
        etcd += ["--listen-peer-urls", f"http://127.0.0.1:{peer_port}"]
        started.append(start(etcd, folder / "etcd.log"))
        key = authority.pair.key
        server = [assets / "kube-apiserver", f"--etcd-servers={etcd_url}", "--bind-address=127.0.0.1"]
        server += ["--advertise-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={folder / 'run'}"]
        server += [f"--tls-cert-file={serving.certificate}", f"--tls-private-key-file={serving.key}"]
        server += [f"--client-ca-file={authority.pair.certificate}", "--authorization-mode=RBAC"]
        server += ["--service-cluster-ip-range=10.233.0.0/18", "--disable-admission-plugins=ServiceAccount"]
        # as our clusters have it
        server += ["--enable-admission-plugins=ExtendedResourceToleration"]
        server += ["--service-account-issuer=https://127.0.0.1", f"--service-account-key-file={key}"]
        server += [f"--service-account-signing-key-file={key}", "--allow-privileged=true"]
        started.append(start(server, folder / "kube-apiserver.log"))
        endpoint = Endpoint(
            url=f"https://127.0.0.1:{port}", authority=authority, admin=admin, folder=folder, is_real=True
        )
        _wait(endpoint, started, folder)
        yield endpoint
    finally:
        end(started)


def start(words: Sequence[object], log: Path, *, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A program whose words go to ``log``; ``env`` is its whole environment, where it is not this one's."""
    with log.open("wb") as file:
        return subprocess.Popen([str(word) for word in words], stdout=file, stderr=file, env=env)


def end(started: list[subprocess.Popen[bytes]]) -> None:
    """End them, the last one first."""
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(endpoint: Endpoint, started: list[subprocess.Popen[bytes]], folder: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for process in started:
            if process.poll() is not None:
                logs = "".join(log.read_text(errors="replace")[-2000:] for log in folder.glob("*.log"))
                raise AssertionError(f"{process.args} ended: {logs}")
        try:
            client = endpoint.client()
            if client.connection.text("/readyz", what="ask whether it is ready") == "ok":
                client.list_objects("v1", "Namespace")
                return
        except AiHowError:
            time.sleep(0.3)
    raise AssertionError((folder / "kube-apiserver.log").read_text(errors="replace")[-2000:])
