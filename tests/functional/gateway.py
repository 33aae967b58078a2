"""A gateway for functional tests: a real process with fake engines as real processes behind it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ai_how.errors import TryAgainError
from ai_how.run.http import Response, request

from ..process_backend import alive, free_port
from .site import eventually

ROOT = Path(__file__).parents[2]
KEY = "sk-test-key-of-a-client"
ADMIN_KEY = "admin-test-key"
CHAT = "/v1/chat/completions"


@dataclass(kw_only=True)
class GatewayUnderTest:
    """One gateway. ``gateway`` and ``serving`` are sections of the site file.

    ``limits`` are those of ``tests.gateway_process``; ``options`` the engines' options by endpoint.
    """

    folder: Path
    gateway: dict[str, Any] = field(default_factory=dict)
    serving: dict[str, Any] = field(default_factory=dict)
    options: dict[str, list[str]] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    admin_port: int = 0

    def __post_init__(self) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "replicas").mkdir(exist_ok=True)
        (self.folder / "api-keys.json").write_text(json.dumps({"default": KEY}))
        (self.folder / "admin-key").write_text(ADMIN_KEY + "\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def requests_logged(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == "request"]

    def start(self) -> None:
        config = {
            "site": "test",
            "host": "127.0.0.1",
            "port": self.port,
            "admin_port": self.admin_port,
            "api_keys_file": str(self.folder / "api-keys.json"),
            "admin_key_file": str(self.folder / "admin-key"),
            "endpoints_dir": str(self.folder / "endpoints"),
            "gateway": self.gateway,
            "serving": self.serving,
        }
        (self.folder / "gateway.json").write_text(json.dumps(config))
        self.write_options()
        words = ["-m", "tests.gateway_process", str(self.folder / "gateway.json"), str(self.folder / "replicas")]
        words.append(json.dumps(self.limits))
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        eventually(self._listens, timeout_s=60, every_s=0.05)

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)

    def close(self) -> None:
        """End the gateway and every engine that it started."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for record in (self.folder / "replicas").glob("*.replica"):
            pid = json.loads(record.read_text())["pid"]
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        assert "Traceback" not in self.log, self.log[-4000:]

    def engine_pids(self) -> list[int]:
        records = (json.loads(path.read_text()) for path in sorted((self.folder / "replicas").glob("*.replica")))
        return [record["pid"] for record in records if alive(record["pid"])]

    def engines(self) -> list[dict[str, Any]]:
        """What each living engine has seen."""
        records = [json.loads(path.read_text()) for path in sorted((self.folder / "replicas").glob("*.replica"))]
        return [
            {**request("GET", f"http://127.0.0.1:{r['port']}/seen").json(), "port": r["port"]}
            for r in records
            if alive(r["pid"])
        ]

    def write_options(self) -> None:
        """Have new replicas follow ``options``."""
        (self.folder / "replicas" / "options.json").write_text(json.dumps(self.options))

    def tell_engines(self, **options: Any) -> None:
        for engine in self.engines():
            request("POST", f"http://127.0.0.1:{engine['port']}/set", json_body=options)

    def admin(self, method: str, path: str = "", body: Any = None, *, key: str = ADMIN_KEY) -> Response:
        return request(
            method,
            f"http://127.0.0.1:{self.admin_port}/admin/v1/endpoints{path}",
            json_body=body,
            headers={"authorization": f"Bearer {key}"},
            timeout_s=60,
        )

    def put(self, name: str = "m", *, replicas: tuple[int, int] = (1, 1), version: int = 1, **more: Any) -> Any:
        spec = {
            "name": name,
            "model_name": "model",
            "model_version": version,
            "model_uri": f"s3://models/model/{version}",
            "model_digest": f"{version}" * 64,
            "engine": "llamacpp",
            "autoscaling": {"min_replicas": replicas[0], "max_replicas": replicas[1]},
            **more,
        }
        answer = self.admin("PUT", f"/{name}", spec)
        assert answer.status == 200, answer.text
        return answer.json()

    def status(self, name: str = "m") -> Any:
        return self.admin("GET", f"/{name}").json()

    def wait_state(self, state: str, name: str = "m", *, timeout_s: float = 20) -> Any:
        def reached() -> Any:
            status = self.status(name)
            return status if status["state"] == state else None

        return eventually(reached, timeout_s=timeout_s, every_s=0.05)

    def ready_replicas(self, name: str = "m") -> int:
        return sum(replica["state"] == "ready" for replica in self.status(name)["replicas"])

    def chat(self, model: str = "m", *, timeout_s: float = 60, **more: Any) -> Response:
        return self.post({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}, timeout_s=timeout_s)

    def post(self, body: Any, *, path: str = CHAT, key: str = KEY, timeout_s: float = 60, **headers: str) -> Response:
        headers = {"authorization": f"Bearer {key}", **headers}
        return request("POST", self.url + path, json_body=body, headers=headers, timeout_s=timeout_s)

    def get(self, path: str, *, key: str | None = KEY) -> Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return request("GET", self.url + path, headers=headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def metric(self, sample: str) -> float:
        """The sum of all samples of this name that have these labels, and maybe more; 0 where there is none."""
        name, _, wanted = sample.rstrip("}").partition("{")
        total = 0.0
        for line in self.get("/metrics", key=None).text.splitlines():
            found, _, value = line.rpartition(" ")
            if found.partition("{")[0] == name and all(label in found for label in wanted.split(",")):
                total += float(value)
        return total

    def memory_mib(self) -> float:
        assert self.process is not None
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log[-4000:]
        try:
            return self.get("/v2/health/live", key=None).status == 200 and self.admin("GET").status == 200
        except TryAgainError:
            return False
