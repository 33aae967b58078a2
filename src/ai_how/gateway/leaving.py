"""How a replica leaves: drained of its requests, its process stopped; where it failed, with its last words."""

from __future__ import annotations

import asyncio
import contextlib

from ai_how.errors import AiHowError
from ai_how.gateway.log import log_event
from ai_how.gateway.means import Means
from ai_how.gateway.pool import Replica

_LOG_LINES = 12
_STOP_AGAIN_AFTER_S = 2.0


async def drain(replica: Replica, *, timeout_s: float) -> None:
    """Return when the replica has no request left, or after ``timeout_s``."""
    replica.state = "draining"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while replica.in_flight:
                await asyncio.sleep(0.02)


async def stop(replica: Replica, means: Means, *, endpoint: str) -> None:
    """Stop the replica's process, however often that takes."""
    failed = replica.state == "failed"
    while True:
        try:
            await means.backend.stop(replica.name)
            break
        except (AiHowError, OSError) as error:
            log_event("replica_not_stopped", endpoint=endpoint, replica=replica.name, reason=str(error))
            await asyncio.sleep(_STOP_AGAIN_AFTER_S)
    log_event("replica_stopped", endpoint=endpoint, replica=replica.name, failed=failed)


async def last_words(replica: Replica, means: Means) -> str:
    """The end of what the replica printed."""
    try:
        return (await means.backend.log_tail(replica.name, _LOG_LINES)).strip()
    except (AiHowError, OSError) as error:
        return f"its log cannot be read: {error}"
