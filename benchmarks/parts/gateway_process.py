"""The gateway as a process in front of one engine that runs already: ``python gateway_process.py CONFIG PORT``."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from ai_how.endpoints.types import EndpointSpec
from ai_how.gateway.backend import ReplicaProcess
from ai_how.gateway.config import GatewayConfig
from ai_how.gateway.records import spec_digest
from ai_how.gateway.serve import serve


class OneEngine:
    """A backend whose only replica is there already and stays."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.replica: ReplicaProcess | None = None

    async def start(self, spec: EndpointSpec) -> ReplicaProcess:
        self.replica = ReplicaProcess(
            name="engine",
            endpoint=spec.name,
            host="127.0.0.1",
            port=self.port,
            spec_digest=spec_digest(spec),
            state="running",
        )
        return self.replica

    async def stop(self, name: str) -> None:  # noqa: ARG002 (there is one)
        self.replica = None

    async def list_replicas(self) -> list[ReplicaProcess]:
        return [self.replica] if self.replica else []

    async def log_tail(self, name: str, lines: int = 20) -> str:  # noqa: ARG002 (it has none)
        return ""


async def run(config_file: Path, port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve(GatewayConfig.model_validate_json(config_file.read_text()), OneEngine(port), stop=stop)


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), int(sys.argv[2])))
