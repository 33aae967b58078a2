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

from ai_how.bench.load import Client, run_phase
from ai_how.bench.result import level_of
from ai_how.bench.workload import Workload
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
    phase = asyncio.run(run_phase(timed(start), concurrency=1, duration_s=0.1, least_requests=4, longest_s=30))
    assert len(phase.samples) == 4


@pytest.mark.parametrize(
    ("options", "kind"),
    [(("--status", "429"), "status 429"), (("--status", "500"), "status 500"), (("--drop", "1000000"), None)],
)
def test_failures_are_counted_by_kind(start: Start, options: tuple[str, ...], kind: str | None) -> None:
    level = level_of(asyncio.run(run_phase(start(*options), concurrency=2, duration_s=0.3)))
    assert level.answered == 0
    assert sum(level.errors.values()) > 0
    assert kind is None or set(level.errors) == {kind}


def test_an_answer_that_is_cut_off_is_an_error(start: Start) -> None:
    client = start("--die", "middle", "--tokens", "8", "--token-s", "0.01")
    phase = asyncio.run(run_phase(client, concurrency=1, duration_s=0.3))
    assert phase.samples[0].error is not None
    assert level_of(phase).answered == 0


def test_a_server_that_hangs_is_a_timeout(start: Start) -> None:
    slow = start("--latency-s", "60")
    client = Client(base_url=slow.base_url, api_key=slow.api_key, model="fake", workload=Workload(), timeout_s=0.3)
    level = level_of(asyncio.run(run_phase(client, concurrency=1, duration_s=0.5)))
    assert set(level.errors) == {"timeout"}


def test_an_interrupted_level_keeps_what_it_has(start: Start) -> None:
    client = timed(start)

    async def interrupted() -> Any:
        task = asyncio.create_task(run_phase(client, concurrency=2, duration_s=60))
        await asyncio.sleep(0.8)
        task.cancel()
        return await task

    phase = asyncio.run(interrupted())
    assert phase.interrupted
    assert level_of(phase).answered > 0
