"""The server's process: ``python -m ai_how.bundles.serve_main --bundle FOLDER --listen ADDRESS --port PORT``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from ai_how.errors import AiHowError, ConflictError


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    try:
        asyncio.run(serve_forever(arguments.bundle, arguments.listen, arguments.port))
    except AiHowError as error:
        print(f"Error: {': '.join(str(error).splitlines()[:2])}", flush=True)  # noqa: T201 - into the server's log
        sys.exit(1)


async def serve_forever(folder: Path, listen: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        ConflictError: the address cannot be listened on.
    """
    from aiohttp import web

    from ai_how.bundles.serve import application

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(application(folder), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, listen, port).start()
        except OSError as error:
            raise ConflictError(
                f"cannot listen on {listen}:{port}",
                evidence=error.strerror or str(error),
                next_step=f"see what holds the port: ss -ltnp sport = :{port}",
            ) from error
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
