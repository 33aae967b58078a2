"""The gateway's process: ``python -m ai_how.local.gateway_main --config FILE --replicas FILE``.

The one place where the gateway, which knows no provider, meets this provider's replicas.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from ai_how.errors import AiHowError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--replicas", type=Path, required=True)
    arguments = parser.parse_args()

    import uvloop

    failed = False
    try:
        uvloop.run(_serve(arguments.config, arguments.replicas))
    except* AiHowError as group:
        failed = True
        for error in _each(group):
            # into the gateway's log, whose end a failed `up` shows
            print(f"Error: {': '.join(str(error).splitlines()[:2])}", flush=True)  # noqa: T201
    sys.exit(failed)


def _each(group: BaseExceptionGroup[AiHowError]) -> Iterator[AiHowError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


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
