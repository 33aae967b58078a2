"""Rollouts over a real gateway: promoted, rolled back, held, broken off; and what clients notice of each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ai_how.bench.load import Client
from ai_how.bench.rollout import moves
from ai_how.bench.rollout import run as rollout_run
from ai_how.bench.rollout.judgement import Limits
from ai_how.bench.rollout.measure import Load
from ai_how.bench.rollout.report import Report, render_text, to_json
from ai_how.bench.rollout.run import OnUnmeasured, Run, Settings, resume, roll_out
from ai_how.bench.workload import Workload
from ai_how.endpoints.client import EndpointClient
from ai_how.endpoints.rollout.checks import Check
from ai_how.errors import ConflictError, NotFoundError, ProviderError
from ai_how.models.types import SecretText

from .gateway import ADMIN_KEY, KEY, GatewayUnderTest
from .site import eventually

pytestmark = pytest.mark.slow
QUICK = {"scaling.MAX_BACKOFF_S": 0.1, "fleet.OBSERVE_INTERVAL_S": 0.1}
OPTIONS = {
    "m/1": ["--latency-s", "0.02"],
    "m/2": ["--latency-s", "0.02"],
    "m/3": ["--latency-s", "0.2"],
    "m/4": ["--latency-s", "0.02", "--status", "500"],
    "m/5": ["--die", "start"],
    "m/6": ["--latency-s", "0.4"],
}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayUnderTest]:
    made = GatewayUnderTest(folder=tmp_path / "g", limits=QUICK, options=dict(OPTIONS))
    made.start()
    try:
        made.put()
        made.wait_state("running")
        yield made
    finally:
        made.close()


def admin(gateway: GatewayUnderTest) -> EndpointClient:
    return EndpointClient(admin_url=f"http://127.0.0.1:{gateway.admin_port}", admin_key=SecretText(ADMIN_KEY))


def settings(
    *,
    p95_ms: float = 500,
    duration_s: float = 4,
    steps: tuple[int, ...] = (10, 50, 100),
    checks: tuple[Check, ...] = (),
    on_unmeasured: OnUnmeasured = "",
) -> Settings:
    # a machine under load is noisy: only what is several times slower may fail here
    limits = Limits(latency_p95_ms=p95_ms, error_percent=1, slower_percent=200)
    return Settings(
        steps=steps,
        load=Load(duration_s=duration_s, concurrency=2),
        limits=limits,
        checks=checks,
        on_unmeasured=on_unmeasured,
        start_timeout_s=200,
    )


async def go(
    gateway: GatewayUnderTest,
    version: int,
    how: Settings,
    *,
    said: list[str] | None = None,
    stop: asyncio.Event | None = None,
    again: bool = False,
) -> Report:
    client = Client(base_url=gateway.url, api_key=SecretText(KEY), model="m", workload=Workload(seed=1), timeout_s=10)
    run = Run(
        endpoints=admin(gateway),
        name="m",
        client=client,
        settings=how,
        say=(said if said is not None else []).append,
        stop=stop or asyncio.Event(),
    )
    spec = replace(admin(gateway).get("m").spec, model_version=version, model_digest=f"{version}" * 64)
    return await (resume(run) if again else roll_out(run, spec))


@contextmanager
def clients(gateway: GatewayUnderTest, count: int = 4) -> Iterator[Counter[int]]:
    """Constant load of others' requests; their statuses."""
    seen: Counter[int] = Counter()
    end = threading.Event()

    def ask() -> None:
        while not end.is_set():
            seen[gateway.chat().status] += 1

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        end.set()
        for thread in threads:
            thread.join()


async def has_said(rolling: asyncio.Task[Report], said: list[str], words: str) -> None:
    while not any(words in line for line in said):
        assert not rolling.done(), rolling.result()
        await asyncio.sleep(0.05)


def shares(gateway: GatewayUnderTest) -> dict[int, int]:
    return {one.number: one.share_percent for one in admin(gateway).revisions("m")}


def outcomes(gateway: GatewayUnderTest) -> list[tuple[int, str]]:
    return [(entry.number, str(entry.outcome)) for entry in admin(gateway).journal("m").history]


async def test_a_good_version_is_promoted_and_no_client_notices(gateway: GatewayUnderTest) -> None:
    with clients(gateway) as seen:
        report = await go(gateway, 2, settings(), said=(said := []))
    assert report.result == "promoted", render_text(report)
    assert set(seen) == {200}
    assert shares(gateway) == {2: 100}
    assert [step.share_percent for step in report.steps] == [10, 50, 100]
    assert outcomes(gateway) == [(1, "replaced"), (2, "serving")]
    assert "none of the targets failed at 10, 50, 100 %; " in admin(gateway).journal("m").history[1].why
    assert admin(gateway).journal("m").rollout is None
    assert "10 % of the requests, measured for 4 s" in said
    assert len(gateway.engine_pids()) == 1
    assert "promoted: none of the targets failed" in render_text(report)
    assert {row.outcome for step in report.steps for row in step.rows} <= {"pass", "unclear"}
    assert to_json(report)["format"] == "ai-how/rollout/v1"


async def test_a_slower_version_is_rolled_back_with_the_figures(gateway: GatewayUnderTest) -> None:
    with clients(gateway, 2) as seen:
        report = await go(gateway, 3, settings(p95_ms=150))
    assert report.result == "rolled back"
    assert set(seen) == {200}
    assert shares(gateway) == {1: 100}
    rows = {row.metric: row for row in report.steps[-1].rows}
    taken = [step.share_percent for step in report.steps]
    # on a busy machine the old one is slow too, and the first step may not decide
    assert taken in ([10], [10, 50], [10, 50, 100])
    latency = rows["latency P95"].new
    assert latency is not None
    assert latency >= 200
    assert "fail" in {row.outcome for name, row in rows.items() if name.startswith("latency")}
    assert "latency" in report.why
    assert f"at {taken[-1]} %" in report.why
    assert outcomes(gateway) == [(1, "serving"), (2, "rolled back")]
    assert admin(gateway).journal("m").history[1].why == report.why
    assert len(gateway.engine_pids()) == 1


async def test_a_version_that_is_slower_than_the_old_one_but_within_the_target_is_rolled_back(
    gateway: GatewayUnderTest,
) -> None:
    report = await go(gateway, 6, settings(p95_ms=5000))
    assert report.result == "rolled back"
    assert report.why.startswith("latency to old")


async def test_a_version_that_answers_with_errors_never_meets_a_client(gateway: GatewayUnderTest) -> None:
    with clients(gateway) as seen:
        report = await go(gateway, 4, settings())
    assert report.result == "rolled back"
    assert "answers no request" in report.why
    assert set(seen) == {200}
    assert report.steps == ()
    assert shares(gateway) == {1: 100}


async def test_one_that_begins_to_fail_costs_no_more_than_its_share(gateway: GatewayUnderTest) -> None:
    said: list[str] = []

    def break_it() -> None:
        eventually(lambda: any("10 %" in line for line in said), every_s=0.02)
        (engine,) = [one for one in gateway.engines() if one["requests"] < 60 and one["port"] == new_port(gateway)]
        from ai_how.run.http import request

        request("POST", f"http://127.0.0.1:{engine['port']}/set", json_body={"status": 500})

    breaker = threading.Thread(target=break_it)
    breaker.start()
    with clients(gateway) as seen:
        report = await go(gateway, 2, settings(duration_s=6), said=said)
    breaker.join()
    assert report.result == "rolled back"
    assert report.why.startswith("errors")
    failed = sum(count for status, count in seen.items() if status != 200)
    assert failed <= 0.12 * sum(seen.values()), seen
    assert shares(gateway) == {1: 100}


async def test_an_engine_that_dies_once_and_is_started_again_is_told(gateway: GatewayUnderTest) -> None:
    said: list[str] = []
    rolling = asyncio.create_task(go(gateway, 2, settings(duration_s=4), said=said))
    await has_said(rolling, said, "10 %")
    name = max((one["revision"], one["name"]) for one in gateway.status()["replicas"])[1]
    pid = json.loads((gateway.folder / "replicas" / f"{name}.replica").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    report = await rolling
    assert report.result == "rolled back", render_text(report)
    (row,) = [row for row in report.steps[0].rows if row.metric == "restarts"]
    assert (row.new, row.outcome) == (1, "unclear")
    assert report.why.startswith("restarts 1 times") or report.why.startswith("errors"), report.why
    assert shares(gateway) == {1: 100}


def new_port(gateway: GatewayUnderTest) -> int:
    return max((r["revision"], r["port"]) for r in gateway.status()["replicas"])[1]


async def test_one_that_cannot_start_is_rolled_back_with_what_it_said(gateway: GatewayUnderTest) -> None:
    report = await go(gateway, 5, settings())
    assert report.result == "rolled back"
    assert "revision 2 cannot start" in report.why
    assert "cannot load the model: it is a fake" in report.why
    assert shares(gateway) == {1: 100}


async def test_answer_checks_come_before_any_client(gateway: GatewayUnderTest) -> None:
    checks = (Check(prompt="one", contains=("t0",)), Check(prompt="two", matches=("x+",)))
    report = await go(gateway, 2, settings(checks=checks))
    assert report.result == "rolled back"
    assert [result.problem for result in report.checks] == ["", "does not match 'x+'"]
    assert [result.old_problem for result in report.checks] == ["", "does not match 'x+'"]
    assert report.steps == ()
    assert "the old revision's too" in render_text(report)
    good = await go(gateway, 2, settings(checks=checks[:1], steps=(100,), duration_s=2))
    assert good.result == "promoted"


@pytest.mark.parametrize(
    ("how", "result", "left"),
    [("rollback", "rolled back", {1: 100}), ("hold", "held", {1: 90, 2: 10}), ("promote", "promoted", {2: 100})],
)
async def test_what_was_not_measured_does_what_was_asked_for(
    gateway: GatewayUnderTest, how: OnUnmeasured, result: str, left: dict[int, int]
) -> None:
    gateway.options["m/2"] = ["--latency-s", "0.3"]
    (gateway.folder / "replicas" / "options.json").write_text(json.dumps(gateway.options))
    report = await go(gateway, 2, settings(duration_s=0.5, on_unmeasured=how))
    assert report.result == result, render_text(report)
    assert any(row.outcome == "not measured" for step in report.steps for row in step.rows)
    assert shares(gateway) == left
    rollout = admin(gateway).journal("m").rollout
    assert (rollout is not None) == (how == "hold")
    if how == "hold":
        assert rollout is not None
        assert rollout.held
        assert not rollout.is_driven(datetime.now(UTC))
        gateway.tell_engines(latency_s=0.01)
        report = await go(gateway, 2, settings(duration_s=2), again=True)
        assert report.result == "promoted", render_text(report)
        assert [step.share_percent for step in report.steps] == [10, 50, 100]
        assert shares(gateway) == {2: 100}


async def test_an_interrupted_rollout_goes_back(gateway: GatewayUnderTest) -> None:
    stop = asyncio.Event()
    said: list[str] = []

    with clients(gateway) as seen:
        rolling = asyncio.create_task(go(gateway, 2, settings(duration_s=2), said=said, stop=stop))
        await has_said(rolling, said, "50 %")
        stop.set()
        report = await rolling
    assert report.result == "interrupted"
    assert set(seen) == {200}
    assert shares(gateway) == {1: 100}
    assert outcomes(gateway)[-1] == (2, "rolled back")


async def test_while_it_starts_it_can_be_interrupted_too(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    gateway.options["m/2"] = ["--start-when", str(tmp_path / "never")]
    (gateway.folder / "replicas" / "options.json").write_text(json.dumps(gateway.options))
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, stop.set)
    report = await go(gateway, 2, settings(), stop=stop)
    assert report.result == "interrupted"
    assert shares(gateway) == {1: 100}


async def test_a_second_rollout_is_refused_and_the_first_can_be_ended_by_another_command(
    gateway: GatewayUnderTest,
) -> None:
    said: list[str] = []
    first = asyncio.create_task(go(gateway, 2, settings(duration_s=5), said=said))
    await has_said(first, said, "10 %")
    with pytest.raises(ConflictError) as refused:
        await go(gateway, 3, settings())
    assert "deploy rollback m" in refused.value.next_step
    rollout = admin(gateway).journal("m").rollout
    assert rollout is not None
    assert (rollout.old, rollout.new, rollout.step) == (1, 2, 1)
    assert rollout.is_driven(datetime.now(UTC))
    assert await asyncio.to_thread(moves.end_rollout, admin(gateway), "m", why="by hand")
    with pytest.raises(ConflictError, match=r"by another command"):
        await first
    assert shares(gateway) == {1: 100}
    assert admin(gateway).journal("m").history[-1].why == "by hand"


async def test_a_command_that_waits_is_heard_of(
    gateway: GatewayUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_run, "BEAT_S", 0.1)
    gateway.options["m/2"] = ["--start-when", str(tmp_path / "never")]
    (gateway.folder / "replicas" / "options.json").write_text(json.dumps(gateway.options))
    stop, said = asyncio.Event(), list[str]()
    rolling = asyncio.create_task(go(gateway, 2, settings(), said=said, stop=stop))
    await has_said(rolling, said, "is started beside")
    rollout = admin(gateway).journal("m").rollout
    assert rollout is not None
    long_ago = replace(rollout, heard_at="2020-01-01T00:00:00+00:00")
    admin(gateway).keep_journal("m", replace(admin(gateway).journal("m"), rollout=long_ago))
    assert not long_ago.is_driven(datetime.now(UTC))

    def heard() -> bool:
        found = admin(gateway).journal("m").rollout
        return found is not None and found.is_driven(datetime.now(UTC))

    await asyncio.to_thread(eventually, heard)
    stop.set()
    assert (await rolling).result == "interrupted"


async def test_the_gateway_may_be_started_anew_in_the_middle(gateway: GatewayUnderTest) -> None:
    said: list[str] = []
    rolling = asyncio.create_task(go(gateway, 2, settings(duration_s=2, on_unmeasured="hold"), said=said))
    await has_said(rolling, said, "10 %")
    await asyncio.to_thread(gateway.kill)
    await asyncio.to_thread(gateway.start)
    report = await rolling
    assert report.result in ("promoted", "rolled back", "held")
    serving = {"promoted": {2: 100}, "rolled back": {1: 100}}.get(report.result)
    assert serving is None or shares(gateway) == serving
    assert gateway.chat().status == 200


def test_going_back_serves_an_earlier_version_again(gateway: GatewayUnderTest) -> None:
    with pytest.raises(NotFoundError, match="no earlier revision"):
        moves.choose_earlier(admin(gateway), "m", to=None)
    gateway.put(version=2)
    eventually(lambda: gateway.status()["state"] == "running" and len(gateway.engine_pids()) == 1)
    with clients(gateway) as seen:
        gone, kept = moves.go_back(admin(gateway), "m", to=None, timeout_s=30, stopped=lambda: False)
        time.sleep(0.3)
    assert (gone.number, kept.number, kept.spec.model_version) == (2, 3, 1)
    assert set(seen) == {200}
    assert outcomes(gateway) == [(1, "replaced"), (2, "replaced"), (3, "serving")]
    assert admin(gateway).journal("m").history[-1].why == "went back to what revision 1 served"
    with pytest.raises(NotFoundError, match="no revision 9"):
        moves.choose_earlier(admin(gateway), "m", to=9)
    with pytest.raises(ConflictError, match="serves already"):
        moves.choose_earlier(admin(gateway), "m", to=3)
    assert moves.choose_earlier(admin(gateway), "m", to=2)[0].spec.model_version == 2


def test_going_back_to_what_cannot_start_changes_nothing(gateway: GatewayUnderTest) -> None:
    gateway.put(version=2)
    eventually(lambda: gateway.status()["state"] == "running" and len(gateway.engine_pids()) == 1)
    gateway.options["m/1"] = ["--die", "start"]
    (gateway.folder / "replicas" / "options.json").write_text(json.dumps(gateway.options))
    with pytest.raises(ProviderError, match="cannot start"):
        moves.go_back(admin(gateway), "m", to=1, timeout_s=30, stopped=lambda: False)
    assert shares(gateway) == {2: 100}
    assert gateway.chat().status == 200
    found: Any = outcomes(gateway)
    assert found[-1] == (3, "rolled back")


def test_going_back_goes_on_where_it_was_broken_off(gateway: GatewayUnderTest) -> None:
    gateway.put(version=2)
    eventually(lambda: gateway.status()["state"] == "running" and len(gateway.engine_pids()) == 1)
    endpoints = admin(gateway)
    spec = endpoints.journal("m").history[0].spec
    rollout = moves.begin(endpoints, spec, (100,), id_="back-1", back_to=1)
    assert endpoints.journal("m").rollout == rollout
    with pytest.raises(ConflictError, match="a rollback of m is under way") as refused:
        moves.take_up(endpoints, "m", (100,), id_="other")
    assert refused.value.next_step == "ai-how deploy rollback m    or end it: ai-how deploy rollback m --to 2"

    def finish() -> None:
        served.append(moves.finish_going_back(endpoints, "m", rollout, timeout_s=30, stopped=lambda: False)[1].number)

    served: list[int] = []
    both = [threading.Thread(target=finish) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert served == [3, 3]
    assert shares(gateway) == {3: 100}
    assert outcomes(gateway) == [(1, "replaced"), (2, "replaced"), (3, "serving")]
    assert endpoints.journal("m").rollout is None
