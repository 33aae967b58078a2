"""Asks a replica whether it works: its health path, and one token as a warm-up."""

from __future__ import annotations

import aiohttp

from ai_how.gateway.pool import Replica

PROBE_TIMEOUT_S = 10.0
WARM_UP_PATH = "/v1/completions"
_FASTEST_POLL_S = 0.02
_SLOWEST_POLL_S = 1.0


def poll_interval_s(waited_s: float) -> float:
    """How long to wait before asking again: about 2% of what a start takes, so that asking never adds much to it."""
    return min(max(_FASTEST_POLL_S, 0.02 * waited_s), _SLOWEST_POLL_S)


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
    body = {"model": model, "prompt": "Hello", "max_tokens": 1}
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
