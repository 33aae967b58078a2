"""A closed-loop load generator: a fixed number of clients, each asking again as soon as it was answered.

Every request is kept, failed ones by their kind; nothing is dropped. Times come from the monotonic clock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp

from ai_how.bench.workload import Workload, request_body
from ai_how.models.types import SecretText


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request. Times are seconds; ``ended_at`` counts from the start of its phase. ``error`` None: answered."""

    latency_s: float
    ended_at: float
    first_token_s: float | None = None
    gaps_s: tuple[float, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One load level: what was asked at once, for how long, and every sample."""

    concurrency: int
    duration_s: float
    samples: tuple[Sample, ...]
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True)
class Client:
    """Where the load goes. ``base_url`` has no slash at the end."""

    base_url: str
    api_key: SecretText
    model: str
    workload: Workload
    timeout_s: float = 300
    numbers: itertools.count[int] = field(default_factory=itertools.count)


async def run_phase(
    client: Client, *, concurrency: int, duration_s: float, least_requests: int = 0, longest_s: float | None = None
) -> Phase:
    """Load an endpoint for ``duration_s``, or longer until ``least_requests`` were answered, at most ``longest_s``.

    Cancelling it ends the phase early; what was measured until then is returned, marked as interrupted.
    """
    samples: list[Sample] = []
    began = time.perf_counter()
    longest = longest_s if longest_s is not None else duration_s

    def goes_on() -> bool:
        elapsed = time.perf_counter() - began
        return elapsed < duration_s or (len(samples) < least_requests and elapsed < longest)

    async def ask_again_and_again(session: aiohttp.ClientSession) -> None:
        while goes_on():
            samples.append(await ask(session, client, began=began))

    interrupted = False
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=_headers(client)) as session:
        clients = [asyncio.create_task(ask_again_and_again(session)) for _ in range(concurrency)]
        try:
            await asyncio.gather(*clients)
        except asyncio.CancelledError:
            interrupted = True
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    return Phase(
        concurrency=concurrency,
        duration_s=time.perf_counter() - began,
        samples=tuple(samples),
        interrupted=interrupted,
    )


async def ask(session: aiohttp.ClientSession, client: Client, *, began: float) -> Sample:
    """One streamed request, timed token by token."""
    path, body = request_body(client.workload, client.model, next(client.numbers))
    start = time.perf_counter()
    times: list[float] = []
    usage: dict[str, int] = {}
    error: str | None = None
    try:
        timeout = aiohttp.ClientTimeout(total=client.timeout_s)
        async with session.post(client.base_url + path, json=body, timeout=timeout) as answer:
            if answer.status != 200:
                error = f"status {answer.status}"
                await answer.read()
            else:
                error = "cut off"
                async for event in _events(answer):
                    if event == "[DONE]":
                        error = None
                        break
                    data = json.loads(event)
                    if "error" in data:
                        error = "error in the stream"
                        break
                    usage = data.get("usage") or usage
                    if _has_text(data):
                        times.append(time.perf_counter())
    except TimeoutError:
        error = "timeout"
    except (aiohttp.ClientError, ValueError, OSError) as failure:
        error = type(failure).__name__
    end = time.perf_counter()
    return Sample(
        latency_s=end - start,
        ended_at=end - began,
        first_token_s=times[0] - start if times else None,
        gaps_s=tuple(later - earlier for earlier, later in itertools.pairwise(times)),
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
        output_tokens=int(usage.get("completion_tokens", 0)) or len(times),
        error=error,
    )


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in answer.content:
        if line.startswith(b"data:"):
            yield line[5:].strip().decode(errors="replace")


def _has_text(data: dict[str, list[dict[str, object]]]) -> bool:
    for choice in data.get("choices") or ():
        delta = choice.get("delta")
        if choice.get("text") or (isinstance(delta, dict) and delta.get("content")):
            return True
    return False


def _headers(client: Client) -> dict[str, str]:
    return {"authorization": f"Bearer {client.api_key}"}
