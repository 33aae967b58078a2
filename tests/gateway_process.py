"""The gateway as a process with fake engines behind it: ``python -m tests.gateway_process CONFIG FOLDER``."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from ai_how.gateway.config import GatewayConfig
from ai_how.gateway.serve import serve
from tests.process_backend import ProcessBackend


async def run(config_file: Path, folder: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = GatewayConfig.model_validate_json(config_file.read_text())
    await serve(config, ProcessBackend(folder), stop=stop)


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), Path(sys.argv[2])))
