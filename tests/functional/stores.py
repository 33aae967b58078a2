"""A real object store and a real MLflow server for tests, without a site around them.

Use the fixtures ``stores`` (one bucket and one registry for the whole run) or the classes, where a test stops a server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ai_how.errors import TryAgainError
from ai_how.local.buckets import ensure_buckets
from ai_how.local.environment import environment_path, install
from ai_how.models.registry import Registry
from ai_how.models.types import ObjectStoreAccess, SecretText, Stores
from ai_how.run.http import request

BUCKET = "models"


@dataclass(kw_only=True)
class Server:
    """A process that listens on loopback; ``kill`` and ``start`` may be repeated, data and ports stay."""

    argv: list[str]
    health_url: str
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self, *, timeout_s: float = 120) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            assert self._process.poll() is None, f"ended with {self._process.returncode}:\n{self._tail()}"
            assert time.monotonic() < deadline, f"does not answer:\n{self._tail()}"
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, with its workers."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return request("GET", self.health_url, timeout_s=2).status == 200
        except TryAgainError:
            return False

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def object_store(folder: Path) -> tuple[Server, ObjectStoreAccess]:
    """SeaweedFS with its data in ``folder``; not started yet."""
    access = ObjectStoreAccess(
        endpoint_url=f"http://127.0.0.1:{(ports := _free_ports(8))[0]}",
        region="us-east-1",
        bucket=BUCKET,
        access_key="test-access",
        secret_key=SecretText("test-secret"),
    )
    identity = {
        "name": "test",
        "credentials": [{"accessKey": access.access_key, "secretKey": str(access.secret_key)}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (folder / "data").mkdir(parents=True)
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    names = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
    flags = [
        f"-{name.removesuffix('.grpc')}.port{'.grpc' if name.endswith('.grpc') else ''}={port}"
        for name, port in zip(names, ports, strict=True)
    ]
    argv = [
        str(Path(sys.executable).parent / "weed"),
        "-logtostderr=true",
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *flags,
        "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        "-filer",
        "-s3",
        f"-s3.config={config}",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    health = f"{access.endpoint_url}/healthz"
    return Server(argv=argv, health_url=health, log=folder / "log", env={"GOMEMLIMIT": "384MiB"}), access


def mlflow_python() -> Path:
    """The interpreter of an environment with MLflow: the product's own, made where it is missing."""
    environment = Path(os.environ.get("AI_HOW_TEST_MLFLOW") or environment_path())
    if "AI_HOW_TEST_MLFLOW" not in os.environ:
        install(environment)
    return environment / "bin" / "python"


def mlflow_server(folder: Path, *, allowed_hosts: str = "", database: str = "") -> tuple[Server, str]:
    """MLflow on SQLite; not started yet.

    Args:
        allowed_hosts: The names that it answers to, in the place of its own address.
        database: Another database's address, which may hold a password.
    """
    folder.mkdir(parents=True)
    port = _free_ports(1)[0]
    argv = [
        str(mlflow_python()),
        *("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--artifacts-destination", str(folder / "artifacts")),
        *("--allowed-hosts", allowed_hosts or f"127.0.0.1:{port},localhost:{port}"),
    ]
    env = {
        "MLFLOW_BACKEND_STORE_URI": database or f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        "VIRTUAL_ENV": "",
    }
    url = f"http://127.0.0.1:{port}"
    return Server(argv=argv, health_url=f"{url}/health", log=folder / "log", env=env), url


@contextmanager
def running_object_store(folder: Path) -> Iterator[tuple[Server, ObjectStoreAccess]]:
    server, access = object_store(folder)
    try:
        server.start()
        make_bucket(access)
        yield server, access
    finally:
        server.kill()
        _remove_sockets(server)


def make_bucket(access: ObjectStoreAccess) -> None:
    ensure_buckets(
        access.endpoint_url,
        [access.bucket],
        region=access.region,
        access_key=access.access_key,
        secret_key=str(access.secret_key),
    )


@pytest.fixture(scope="session")
def shared_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """One object store and one registry, started together once."""
    folder = tmp_path_factory.mktemp("stores")
    mlflow, url = mlflow_server(folder / "mlflow")
    with ExitStack() as stack:
        stack.callback(mlflow.kill)
        _, access = stack.enter_context(running_object_store(folder / "weed"))
        mlflow.start()
        assert Registry(url).is_healthy()
        yield Stores(access=access, registry_url=url, cache_dir=folder / "cache")


@pytest.fixture
def stores(shared_stores: Stores, tmp_path: Path) -> Stores:
    """The shared stores with a cache of this test's own."""
    return Stores(access=shared_stores.access, registry_url=shared_stores.registry_url, cache_dir=tmp_path / "cache")


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _remove_sockets(server: Server) -> None:
    """SeaweedFS leaves its sockets in /tmp when it is killed; their names carry its ports."""
    ports = {word.rsplit("=", 1)[1] for word in server.argv if ".port" in word}
    for path in Path("/tmp").glob("seaweedfs-*.sock"):
        if path.stem.rsplit("-", 1)[1] in ports:
            path.unlink(missing_ok=True)
