"""A closed-loop load generator: a fixed number of clients, each asking again as soon as it was answered.

Every request is kept, failed ones by their kind; nothing is dropped. Times come from the monotonic clock.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ai_how.bench.samples import Phase, Sample
from ai_how.bench.workload import Workload, request_body
from ai_how.endpoints.door import Door
from ai_how.models.types import SecretText
from ai_how.run.tls_http import trusting

PAUSE_AFTER_FAILURE_S = 0.05
"""A client whose request failed waits for so long: refusals are quick, and would make a busy loop."""
_DETAIL_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Client:
    """Where the load goes. ``base_url`` has no slash at the end; ``connect_to`` and ``authority_pem`` as of a door.

    ``headers`` go with each request besides the key.
    """

    base_url: str
    api_key: SecretText
    model: str
    workload: Workload
    timeout_s: float = 300
    headers: Mapping[str, str] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    connect_to: str = ""
    authority_pem: str = field(default="", repr=False)

    @classmethod
    def through(cls, door: Door, *, model: str, workload: Workload, timeout_s: float = 300) -> Client:
        """A client of an endpoint behind a door."""
        return cls(
            base_url=door.url,
            api_key=door.api_key,
            model=model,
            workload=workload,
            timeout_s=timeout_s,
            connect_to=door.connect_to,
            authority_pem=door.authority_pem,
        )


async def run_phase(
    client: Client,
    *,
    concurrency: int,
    duration_s: float,
    goals: Sequence[int] = (),
    longest_s: float | None = None,
    stop: asyncio.Event | None = None,
) -> Phase:
    """Load an endpoint for ``duration_s``, or longer until a goal is reached, at most ``longest_s``.

    A goal is a number of answers that makes the figures better; see ``goal_within_reach``. Requests under way at the
    end are waited for. ``stop`` ends the phase early: what was measured until then is returned, marked as interrupted.
    """
    samples: list[Sample] = []
    stop = stop or asyncio.Event()
    under_way = 0
    began, cpu_began = time.perf_counter(), time.process_time()
    goal: int | None = None

    def goes_on() -> bool:
        nonlocal goal
        elapsed = time.perf_counter() - began
        if elapsed < duration_s:
            return True
        answers = sum(sample.error is None for sample in samples)
        limit_s = duration_s if longest_s is None else longest_s
        if goal is None:
            goal = goal_within_reach(goals, answers=answers, elapsed_s=elapsed, longest_s=limit_s)
        return elapsed < limit_s and answers < goal

    async def ask_again_and_again(session: aiohttp.ClientSession) -> None:
        nonlocal under_way
        while goes_on():
            under_way += 1
            sample = await ask(session, client, began=began)
            under_way -= 1
            samples.append(sample)
            if sample.error is not None:
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    async with open_session(client) as session, asyncio.TaskGroup() as group:
        clients = [group.create_task(ask_again_and_again(session)) for _ in range(concurrency)]
        watch = group.create_task(_cancel_when(stop, clients))
        await asyncio.wait(clients)
        watch.cancel()
    return Phase(
        concurrency=concurrency,
        duration_s=time.perf_counter() - began,
        samples=tuple(samples),
        interrupted=stop.is_set(),
        unfinished=under_way,
        client_cpu_s=time.process_time() - cpu_began,
    )


def goal_within_reach(goals: Sequence[int], *, answers: int, elapsed_s: float, longest_s: float) -> int:
    """The highest goal that the rate of answers so far reaches within ``longest_s``; 0 where it reaches none.

    To go on for one that will not be reached costs the time and gains nothing that a lower one does not give.
    """
    expected = answers / elapsed_s * longest_s
    return max((goal for goal in goals if goal <= expected), default=0)


def open_session(client: Client) -> aiohttp.ClientSession:
    """Connections for as many requests at once as are wanted."""
    headers = {**client.headers, "authorization": f"Bearer {client.api_key}"}
    return aiohttp.ClientSession(connector=_connector(client), headers=headers)


def _connector(client: Client) -> aiohttp.TCPConnector:
    resolver = _OneWay(client.connect_to) if client.connect_to else None
    if client.base_url.startswith("https://"):
        return aiohttp.TCPConnector(limit=0, resolver=resolver, ssl=trusting(client.authority_pem))
    return aiohttp.TCPConnector(limit=0, resolver=resolver)


class _OneWay(AbstractResolver):
    """Leads every name to one address and port; the name itself stays that of the certificate and of the request."""

    def __init__(self, connect_to: str) -> None:
        host, _, port = connect_to.rpartition(":")
        self._host, self._port = host, int(port)
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self,
        host: str,
        port: int = 0,  # noqa: ARG002 - the way's own is taken
        family: socket.AddressFamily = socket.AF_INET,
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(self._host, self._port, family)
        return [{**each, "hostname": host} for each in found]

    async def close(self) -> None:
        """Nothing is held."""


async def ask(session: aiohttp.ClientSession, client: Client, *, began: float) -> Sample:
    """One streamed request, timed event by event."""
    path, body = request_body(client.workload, client.model, next(client.numbers))
    start = time.perf_counter()
    times: list[float] = []
    usage: dict[str, int] = {}
    failure: tuple[str, str] | None = None
    try:
        timeout = aiohttp.ClientTimeout(total=client.timeout_s)
        async with session.post(client.base_url + path, json=body, timeout=timeout) as answer:
            if answer.status == 200:
                failure = await _read(answer, times, usage)
            else:
                failure = f"status {answer.status}", _said((await answer.read()).decode(errors="replace"))
    except TimeoutError:
        failure = "timeout", f"no whole answer within {client.timeout_s:g} s"
    except aiohttp.ClientConnectorError as error:
        failure = "cannot connect", str(error.os_error.strerror or error.os_error)
    except (aiohttp.ClientError, OSError) as error:
        failure = "connection broken", str(error) or type(error).__name__
    except ValueError as error:
        # aiohttp's own, for a line without an end
        failure = "broken event", str(error)
    end = time.perf_counter()
    return Sample(
        latency_s=end - start,
        ended_at=end - began,
        first_token_s=times[0] - start if times else None,
        gaps_s=tuple(later - earlier for earlier, later in itertools.pairwise(times)),
        prompt_tokens=usage.get("prompt_tokens", 0),
        output_tokens=usage.get("completion_tokens", len(times)),
        counted="completion_tokens" in usage,
        error=failure[0] if failure else None,
        detail=_without_key(failure[1], client) if failure else "",
    )


async def _read(answer: aiohttp.ClientResponse, times: list[float], usage: dict[str, int]) -> tuple[str, str] | None:
    """Follow a stream to its end: when text came into ``times``, token counts into ``usage``; what went wrong."""
    async for event in _events(answer):
        if event == "[DONE]":
            # tokens may be no text, such as half a character
            answered = times or usage.get("completion_tokens")
            return None if answered else ("no text", "the stream ended well but held no text")
        try:
            data = json.loads(event)
        except ValueError:
            return "broken event", event[:_DETAIL_LENGTH]
        if not isinstance(data, dict) or "error" in data:
            return "error in the stream", _said(event)
        if isinstance(data.get("usage"), dict):
            usage.update({key: value for key, value in data["usage"].items() if isinstance(value, int)})
        if _has_text(data):
            times.append(time.perf_counter())
    return "cut off", "the stream ended without [DONE]"


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in answer.content:
        if line.startswith(b"data:"):
            yield line[5:].strip().decode(errors="replace")


def _has_text(data: dict[str, Any]) -> bool:
    """Text of any kind: a reasoning model may still think when its answer ends (llama.cpp's and vLLM's own keys)."""
    choices = data.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict) and any(delta.get(key) for key in ("content", "reasoning_content", "reasoning")):
            return True
        if isinstance(choice, dict) and choice.get("text"):
            return True
    return False


def _said(text: str) -> str:
    """The message of an error in OpenAI's form, or the text as it is; never long."""
    try:
        said = json.loads(text)["error"]
        text = said["message"] if isinstance(said, dict) else said
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(str(text).split())[:_DETAIL_LENGTH]


def _without_key(text: str, client: Client) -> str:
    return text.replace(client.api_key, "***") if client.api_key else text


async def _cancel_when(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    await stop.wait()
    for task in tasks:
        task.cancel()
