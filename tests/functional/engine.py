"""Start a llama.cpp replica exactly as ``LlamaCpp`` says, and end it again."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ai_how.endpoints.engines.base import ReplicaLaunch
from ai_how.endpoints.engines.llamacpp import LlamaCpp
from ai_how.models.types import ModelFormat, ModelInfo
from tests.process_backend import free_port


def launch_of(
    model_dir: Path, scratch_dir: Path, model_format: ModelFormat = ModelFormat.HUGGING_FACE, **changes: Any
) -> ReplicaLaunch:
    """A launch of a tiny model: two slots of 512 tokens on one thread."""
    launch = ReplicaLaunch(
        served_name="tiny",
        model_dir=model_dir,
        info=ModelInfo(format=model_format, architecture="LlamaForCausalLM", parameters=1, dtype="float16"),
        scratch_dir=scratch_dir,
        host="127.0.0.1",
        port=free_port(),
        context_tokens=512,
        parallel_requests=2,
        threads=1,
    )
    return dataclasses.replace(launch, **changes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replica:
    """A running server."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return str(answer.read().decode())

    def post(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def start(launch: ReplicaLaunch) -> subprocess.Popen[bytes]:
    """Prepare and start; does not wait. Its output goes to ``replica.log`` in the scratch folder."""
    engine = LlamaCpp()
    engine.prepare(launch)
    command = engine.command(launch)
    with (launch.scratch_dir / "replica.log").open("wb") as log:
        return subprocess.Popen(command.argv, env={**os.environ, **command.env}, stdout=log, stderr=log)


@contextmanager
def replica(launch: ReplicaLaunch) -> Iterator[Replica]:
    """A replica that is ready."""
    process = start(launch)
    running = Replica(
        process=process, url=f"http://{launch.host}:{launch.port}", log=launch.scratch_dir / "replica.log"
    )
    try:
        wait_until_ready(running)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            process.kill()
            process.wait()


def wait_until_ready(running: Replica, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        assert running.process.poll() is None, running.log.read_text()
        try:
            running.get("/health")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
        else:
            return
    raise AssertionError(f"not ready after {timeout_s} s: {running.log.read_text()}")
