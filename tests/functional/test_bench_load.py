"""The load generator against a server whose times and counts are known."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_how.bench.load import PAUSE_AFTER_FAILURE_S, Client, run_phase
from ai_how.bench.result import level_of
from ai_how.bench.run import warm_up
from ai_how.bench.samples import Phase
from ai_how.bench.workload import Workload
from ai_how.errors import ProviderError
from ai_how.models.types import SecretText

from ..process_backend import free_port
from .site import eventually

TOKENS, TOKEN_S, LATENCY_S = 6, 0.02, 0.05

Start = Callable[..., Client]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a fake engine with options; gives the client of it."""
    running: list[subprocess.Popen[bytes]] = []

    def start_engine(*options: str) -> Client:
        port = free_port()
        program = Path(__file__).parents[1] / "fake_engine.py"
        running.append(subprocess.Popen([sys.executable, str(program), "--port", str(port), *options]))
        client = Client(
            base_url=f"http://127.0.0.1:{port}", api_key=SecretText("k"), model="fake", workload=Workload(), timeout_s=5
        )
        eventually(lambda: answers(f"{client.base_url}/health"))
        return client

    yield start_engine
    for process in running:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=2).status == 200)
    except OSError:
        return False


def seen(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = json.load(urllib.request.urlopen(f"{client.base_url}/seen", timeout=5))
    return found


def timed(start: Start) -> Client:
    return start("--tokens", str(TOKENS), "--token-s", str(TOKEN_S), "--latency-s", str(LATENCY_S))


def test_what_is_measured_is_what_the_server_did(start: Start) -> None:
    client = timed(start)
    phase = asyncio.run(run_phase(client, concurrency=3, duration_s=1.0))
    level = level_of(phase)
    assert seen(client)["requests"] == level.answered == len(phase.samples)
    assert seen(client)["most"] == 3
    assert level.errors == {}
    assert level.output_tokens == TOKENS
    # a busy machine may only be slower; the server's timer may be a millisecond early each time
    early_ms = 1.5
    assert level.latency_ms.minimum is not None
    assert level.latency_ms.minimum >= 1000 * (LATENCY_S + TOKENS * TOKEN_S) - (TOKENS + 1) * early_ms
    assert level.first_token_ms.minimum is not None
    assert 1000 * LATENCY_S - early_ms <= level.first_token_ms.minimum < level.latency_ms.minimum
    assert level.inter_token_ms.count == level.answered * (TOKENS - 1)
    assert level.inter_token_ms.mean == pytest.approx(1000 * TOKEN_S, rel=0.9)
    assert level.requests_per_s <= 1.1 * 3 / (LATENCY_S + TOKENS * TOKEN_S)


def test_a_level_goes_on_until_it_has_enough_answers(start: Start) -> None:
    phase = asyncio.run(run_phase(timed(start), concurrency=1, duration_s=0.1, goals=(2, 4), longest_s=30))
    assert len(phase.samples) == 4
    assert not phase.interrupted
    assert phase.client_cpu_s > 0
    ended = asyncio.run(run_phase(timed(start), concurrency=1, duration_s=0.1, goals=(10_000,), longest_s=30))
    assert len(ended.samples) < 100, "it went on for a goal that is out of reach"


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (("--status", "429"), "status 429", "context too long"),
        (("--status", "500"), "status 500", "engine exploded"),
        (("--drop", "1000000"), "connection broken", "disconnected"),
        (("--odd", "error"), "error in the stream", "out of memory for ***"),
        (("--odd", "broken"), "broken event", '{"choices":[{"delta"'),
        (("--odd", "list"), "error in the stream", "[1, 2]"),
        (("--odd", "strange"), "no text", "no text"),
        (("--odd", "empty"), "no text", "no text"),
        (("--odd", "endless"), "broken event", ""),
    ],
)
def test_failures_are_counted_by_kind_with_what_was_said(
    start: Start, options: tuple[str, ...], kind: str, said: str
) -> None:
    level = level_of(asyncio.run(run_phase(start(*options), concurrency=2, duration_s=0.3)))
    assert level.answered == 0
    assert set(level.errors) == {kind}
    assert said in level.said[kind]
    assert len(level.said[kind]) <= 200


def test_a_refusing_server_is_not_flooded(start: Start) -> None:
    phase = asyncio.run(run_phase(start("--status", "429"), concurrency=2, duration_s=1.0))
    assert 2 <= len(phase.samples) <= 2 * (1 + 1.0 / PAUSE_AFTER_FAILURE_S)


def test_nobody_there_is_told_from_a_broken_connection() -> None:
    client = Client(
        base_url=f"http://127.0.0.1:{free_port()}", api_key=SecretText("k"), model="fake", workload=Workload()
    )
    level = level_of(asyncio.run(run_phase(client, concurrency=1, duration_s=0.1)))
    assert set(level.errors) == {"cannot connect"}
    with pytest.raises(ProviderError) as caught:
        asyncio.run(warm_up(client))
    assert "cannot connect" in caught.value.evidence
    assert "fake" in caught.value.next_step


def test_a_model_that_still_thinks_when_it_must_end_has_answered(start: Start) -> None:
    level = level_of(asyncio.run(run_phase(start("--odd", "reasoning"), concurrency=1, duration_s=0.1)))
    assert level.errors == {}
    assert level.first_token_ms.count == level.answered > 0


def test_tokens_that_are_no_text_are_an_answer_too(start: Start) -> None:
    level = level_of(asyncio.run(run_phase(start("--odd", "silent"), concurrency=1, duration_s=0.1)))
    assert level.errors == {}
    assert (level.output_tokens, level.first_token_ms.count) == (2, 0)


def test_tokens_are_the_engines_count_where_it_gives_one(start: Start) -> None:
    level = level_of(asyncio.run(run_phase(start("--odd", "usage"), concurrency=1, duration_s=0.1)))
    assert (level.prompt_tokens, level.output_tokens, level.tokens_counted) == (9, 7, True)
    level = level_of(asyncio.run(run_phase(timed(start), concurrency=1, duration_s=0.1)))
    assert (level.output_tokens, level.tokens_counted) == (TOKENS, False)


def test_an_answer_that_is_cut_off_is_an_error(start: Start) -> None:
    client = start("--die", "middle", "--tokens", "8", "--token-s", "0.01")
    phase = asyncio.run(run_phase(client, concurrency=1, duration_s=0.3))
    assert phase.samples[0].error in ("broken event", "connection broken", "cut off")
    assert phase.samples[0].detail
    level = level_of(phase)
    assert level.answered == 0
    assert level.latency_ms.count == 0


def test_a_server_that_hangs_is_a_timeout(start: Start) -> None:
    slow = start("--latency-s", "60")
    client = Client(base_url=slow.base_url, api_key=slow.api_key, model="fake", workload=Workload(), timeout_s=0.3)
    level = level_of(asyncio.run(run_phase(client, concurrency=1, duration_s=0.5)))
    assert set(level.errors) == {"timeout"}
    assert "0.3 s" in level.said["timeout"]


def test_a_stopped_level_keeps_what_it_has(start: Start) -> None:
    client = timed(start)

    async def stopped() -> Phase:
        stop = asyncio.Event()
        task = asyncio.create_task(run_phase(client, concurrency=2, duration_s=60, stop=stop))
        await asyncio.to_thread(eventually, lambda: seen(client)["finished"] >= 4)
        stop.set()
        return await task

    phase = asyncio.run(stopped())
    assert phase.interrupted
    # a request that was just being sent may not have been seen
    assert len(phase.samples) + phase.unfinished >= seen(client)["requests"]
    assert phase.unfinished <= 2
    level = level_of(phase)
    assert level.answered >= 4
    assert level.errors == {}


def test_a_cancelled_level_leaves_no_request_behind(start: Start) -> None:
    client = start("--latency-s", "60")

    async def cancelled() -> None:
        task = asyncio.create_task(run_phase(client, concurrency=3, duration_s=60))
        await asyncio.to_thread(eventually, lambda: seen(client)["working"] == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(cancelled())
    eventually(lambda: seen(client)["working"] == 0)
