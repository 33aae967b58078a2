"""The gateway's process: ``python -m ai_how.local.gateway_main --config FILE --replicas FILE``.

The one place where the gateway, which knows no provider, meets this provider's replicas.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--replicas", type=Path, required=True)
    arguments = parser.parse_args()

    import uvloop

    uvloop.run(_serve(arguments.config, arguments.replicas))


async def _serve(config_file: Path, replicas_file: Path) -> None:
    from ai_how.gateway.config import GatewayConfig
    from ai_how.gateway.serve import serve
    from ai_how.local.replicas import SupervisedReplicas

    config = GatewayConfig.model_validate_json(config_file.read_text(encoding="utf-8"))
    backend = SupervisedReplicas(json.loads(replicas_file.read_text(encoding="utf-8")))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(config, backend, stop=stop)


if __name__ == "__main__":
    main()
