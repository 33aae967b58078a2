"""The gateway as a process with fake engines behind it: ``python -m tests.gateway_process CONFIG FOLDER [LIMITS]``.

LIMITS is a JSON object of the gateway's own constants to change (``{"http_edge.BODY_TIMEOUT_S": 1}``), so that a test
need not wait a minute for what takes a minute.
"""

from __future__ import annotations

import asyncio
import importlib
import json
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


def limit(name: str, value: float) -> None:
    module, _, constant = name.partition(".")
    found = importlib.import_module(f"ai_how.gateway.{module}")
    assert isinstance(getattr(found, constant), float)
    setattr(found, constant, value)


if __name__ == "__main__":
    for words in json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}").items():
        limit(*words)
    uvloop.run(run(Path(sys.argv[1]), Path(sys.argv[2])))
