"""Asks a replica whether it works: its health path, and one token as a warm-up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp

from ai_how.gateway.adapters import in_force
from ai_how.gateway.pool import Replica

PROBE_TIMEOUT_S = 10.0
WARM_UP_PATH = "/v1/completions"
HEALTH_INTERVAL_S = 5.0
UNRESPONSIVE_AFTER_S = 30.0
"""How long a replica that was ready may leave its health path unanswered before it is replaced."""
_FASTEST_POLL_S = 0.02
_SLOWEST_POLL_S = 1.0


def poll_interval_s(waited_s: float) -> float:
    """How long to wait before asking again: about 2% of what a start takes, so that asking never adds much to it."""
    return min(max(_FASTEST_POLL_S, 0.02 * waited_s), _SLOWEST_POLL_S)


async def watch(
    session: aiohttp.ClientSession,
    replica: Replica,
    *,
    model: str,
    start_timeout_s: float,
    ready: Callable[[Replica], None],
    failed: Callable[[Replica, str], None],
) -> None:
    """Ask the replica for its health: quickly until it is ready, then now and then, at once when in doubt.

    Args:
        ready: Called each time it turns out to work.
        failed: Called with the reason when it has not worked for too long; the last call.
    """
    while replica.state in ("starting", "ready"):
        if replica.state == "starting":
            limit_s = UNRESPONSIVE_AFTER_S if replica.warm else start_timeout_s
            problem_left = await _until_ready(session, replica, model=model, limit_s=limit_s)
            if problem_left is None:
                ready(replica)
            else:
                failed(replica, f"not ready within {limit_s:g} s: {problem_left}")
            continue
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEALTH_INTERVAL_S):
                await replica.doubt.wait()
        replica.doubt.clear()
        found = await problem(session, replica, timeout_s=PROBE_TIMEOUT_S)
        if found and replica.state == "ready":
            replica.state, replica.message = "starting", found


async def _until_ready(session: aiohttp.ClientSession, replica: Replica, *, model: str, limit_s: float) -> str | None:
    """None once the replica works; what is wrong with it when the time is over."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        left_s = max(1.0, began + limit_s - loop.time())
        found = await problem(session, replica, timeout_s=min(left_s, PROBE_TIMEOUT_S))
        if found is None and not replica.warm:
            replica.loaded_at = loop.time()
            found = await warm_up(session, replica, model=model, timeout_s=left_s)
        waited_s = loop.time() - began
        if found is None or waited_s >= limit_s:
            return found
        replica.message = found
        await asyncio.sleep(poll_interval_s(waited_s))


async def problem(
    session: aiohttp.ClientSession, replica: Replica, *, timeout_s: float = PROBE_TIMEOUT_S
) -> str | None:
    """What is wrong with the replica, in a few words; None where its health path answers 200."""
    try:
        async with session.get(
            replica.url(replica.process.ready_path), timeout=aiohttp.ClientTimeout(total=timeout_s)
        ) as answer:
            return None if answer.status == 200 else f"{replica.process.ready_path} answers {answer.status}"
    except TimeoutError:
        return f"no answer within {timeout_s:.0f} s"
    except (aiohttp.ClientError, OSError) as error:
        return _words(error)


async def warm_up(session: aiohttp.ClientSession, replica: Replica, *, model: str, timeout_s: float) -> str | None:
    """Make the engine answer once, since the first answer can take seconds; None where it did.

    An engine that refuses the request (4xx) is warm enough: not every model completes text.
    """
    body = {"model": model, "prompt": "Hello", "max_tokens": 1, **in_force(replica.process, model)}
    try:
        async with session.post(
            replica.url(WARM_UP_PATH), json=body, timeout=aiohttp.ClientTimeout(total=timeout_s)
        ) as answer:
            await answer.read()
            return None if answer.status < 500 else f"the first request was answered with {answer.status}"
    except TimeoutError:
        return f"the first request was not answered within {timeout_s:.0f} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"the first request failed: {_words(error)}"


def _words(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or error.os_error}"
    return str(error) or type(error).__name__
