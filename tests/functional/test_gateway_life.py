"""How endpoints live: woken, grown, shrunk, replaced, drained, adopted; and what happens when engines fail."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ai_how.errors import TryAgainError
from ai_how.run.http import Response

from .gateway import CHAT, KEY, GatewayUnderTest
from .site import eventually

QUICK = {"scaling.MAX_BACKOFF_S": 0.1, "fleet.OBSERVE_INTERVAL_S": 0.1}
Make = Callable[..., GatewayUnderTest]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a gateway: sections of the site file, and the engines' options by endpoint."""
    made: list[GatewayUnderTest] = []

    def start(
        *,
        gateway: dict[str, Any] | None = None,
        serving: dict[str, Any] | None = None,
        options: dict[str, list[str]] | None = None,
        limits: dict[str, float] | None = None,
    ) -> GatewayUnderTest:
        found = GatewayUnderTest(
            folder=tmp_path / f"g{len(made)}",
            gateway=gateway or {},
            serving=serving or {},
            options=options or {},
            limits=limits or {},
        )
        made.append(found)
        found.start()
        return found

    yield start
    for gateway in made:
        gateway.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made


def send(pool: ThreadPoolExecutor, gateway: GatewayUnderTest, count: int, **more: Any) -> list[Future[Response]]:
    return [pool.submit(gateway.chat, **more) for _ in range(count)]


def statuses(answers: list[Future[Response]]) -> list[int]:
    return [answer.result().status for answer in answers]


def test_a_sleeping_endpoint_wakes_and_holds_what_arrives(make: Make, pool: ThreadPoolExecutor, tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    gateway = make(serving={"idle_after_s": 0.5}, options={"m": ["--start-when", str(loaded)]})
    loaded.touch()
    gateway.put(replicas=(0, 1))
    gateway.wait_state("running")
    assert gateway.status()["last_start_s"] > 0, "a new endpoint shows that it works before it sleeps"
    eventually(lambda: gateway.status()["replicas"] == [])
    asleep = gateway.status()
    assert (asleep["state"], asleep["message"]) == ("running", "asleep: the first request wakes it")
    assert gateway.get("/v2/models/m/ready", key=None).status == 200
    loaded.unlink()
    answers = send(pool, gateway, 20)
    eventually(lambda: gateway.status()["held_requests"] == 20)
    assert gateway.status()["state"] == "starting"
    assert gateway.metric('aihow_requests_held{endpoint="m"}') == 20
    loaded.touch()
    assert statuses(answers) == [200] * 20
    assert gateway.metric('aihow_cold_start_duration_seconds_count{endpoint="m"}') == 2


def test_a_start_that_takes_longer_than_idleness_is_waited_for(make: Make, tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    gateway = make(serving={"idle_after_s": 0.2}, options={"m": ["--start-when", str(loaded)]})
    gateway.put(replicas=(0, 1))
    eventually(lambda: gateway.status()["replicas"])
    first = gateway.status()["replicas"][0]["name"]
    time.sleep(1)
    assert gateway.status()["state"] == "starting"
    assert [replica["name"] for replica in gateway.status()["replicas"]] == [first]
    loaded.touch()
    gateway.wait_state("running")
    eventually(lambda: gateway.status()["replicas"] == [])
    assert gateway.status()["state"] == "running", "it worked, so it sleeps"


def test_a_new_endpoint_that_cannot_start_is_in_error_however_short_idleness_is(make: Make) -> None:
    gateway = make(serving={"idle_after_s": 0.2}, options={"m": ["--die", "start"]}, limits=QUICK)
    gateway.put(replicas=(0, 1))
    assert "cannot load the model: it is a fake" in gateway.wait_state("error")["message"]


def test_replicas_follow_the_load_and_shrink_when_idle(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(
        serving={"parallel_requests": 1, "scale_out_after_s": 0.3, "idle_after_s": 1.5},
        options={"m": ["--latency-s", "0.1"]},
    )
    gateway.put(replicas=(1, 3))
    gateway.wait_state("running")
    answers = send(pool, gateway, 60)
    eventually(lambda: gateway.ready_replicas() == 3, timeout_s=60)
    assert statuses(answers) == [200] * 60
    engines = gateway.engines()
    assert [engine["most"] for engine in engines] == [1, 1, 1], "more than parallel_requests at once"
    eventually(lambda: len(gateway.engine_pids()) == 1, timeout_s=60)
    assert gateway.chat().status == 200


def test_a_floor_raises_replicas_until_they_are_idle(make: Make) -> None:
    gateway = make(serving={"idle_after_s": 1.5})
    gateway.put(replicas=(1, 3))
    raised = gateway.admin("PUT", "/m/replicas", {"replicas": 9}).json()
    assert raised["spec"]["autoscaling"] == {"min_replicas": 1, "max_replicas": 3}
    eventually(lambda: gateway.ready_replicas() == 3, timeout_s=60)
    eventually(lambda: gateway.ready_replicas() == 1, timeout_s=60)


def test_requests_go_to_the_least_busy_replica(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(options={"m": ["--latency-s", "0.5"]})
    gateway.put(replicas=(2, 2))
    eventually(lambda: gateway.ready_replicas() == 2, timeout_s=60)
    assert statuses(send(pool, gateway, 4)) == [200] * 4
    assert [engine["most"] for engine in gateway.engines()] == [2, 2]


def test_too_many_and_too_long_held_requests_are_refused(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(
        gateway={"max_held_requests": 2, "hold_timeout_s": 1},
        serving={"parallel_requests": 1},
        options={"m": ["--latency-s", "3"]},
    )
    gateway.put()
    gateway.wait_state("running")
    working = pool.submit(gateway.chat)
    eventually(lambda: gateway.status()["replicas"][0]["in_flight"] == 1, timeout_s=5)
    held = send(pool, gateway, 2)
    eventually(lambda: gateway.status()["held_requests"] == 2, timeout_s=5)
    refused = gateway.chat()
    assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many_requests")
    assert int(refused.headers["retry-after"]) > 0
    for answer in held:
        late = answer.result()
        assert (late.status, late.json()["error"]["code"]) == (503, "hold_timeout")
        assert int(late.headers["retry-after"]) > 0
    assert working.result().status == 200


def test_a_killed_engine_under_load_loses_no_unanswered_request(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(serving={"parallel_requests": 4}, options={"m": ["--latency-s", "0.05"]})
    gateway.put(replicas=(2, 2))
    eventually(lambda: gateway.ready_replicas() == 2, timeout_s=60)
    first = gateway.engine_pids()
    answers = send(pool, gateway, 200)
    eventually(lambda: sum(engine["finished"] for engine in gateway.engines()) > 20, timeout_s=60, every_s=0.01)
    os.kill(first[0], signal.SIGKILL)
    assert statuses(answers) == [200] * 200
    eventually(lambda: gateway.ready_replicas() == 2 and first[0] not in gateway.engine_pids(), timeout_s=60)
    assert first[1] in gateway.engine_pids()


def test_the_only_engine_killed_holds_requests_until_it_is_replaced(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(options={"m": ["--latency-s", "0.1"]})
    gateway.put()
    gateway.wait_state("running")
    answers = send(pool, gateway, 12)
    eventually(lambda: gateway.status()["held_requests"] > 0, timeout_s=5, every_s=0.01)
    os.kill(gateway.engine_pids()[0], signal.SIGKILL)
    assert statuses(answers) == [200] * 12
    assert gateway.metric('aihow_replica_failures_total{endpoint="m"}') == 1


def test_an_engine_that_dies_in_a_stream_ends_it_with_an_error_event(make: Make) -> None:
    gateway = make(options={"m/1": ["--die", "middle"]}, limits=QUICK)
    gateway.put()
    gateway.wait_state("running")
    lines = gateway.chat(stream=True).text.splitlines()
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert json.loads(events[-1])["error"]["code"] == "engine_died"
    assert json.loads(events[0])["choices"]
    gateway.wait_state("running")
    whole = gateway.chat()
    assert (whole.status, whole.json()["error"]["code"]) == (502, "engine_died")


def test_an_engine_that_dies_at_each_request_is_not_fed_for_ever(make: Make) -> None:
    gateway = make(options={"m": ["--die", "before"]}, limits=QUICK)
    gateway.put()
    gateway.wait_state("running")
    answer = gateway.chat()
    assert (answer.status, answer.json()["error"]["code"]) == (502, "engine_died")
    assert gateway.metric('aihow_engine_retries_total{endpoint="m"}') == 1


def test_an_engine_that_cannot_start_puts_the_endpoint_in_error_and_a_put_heals_it(make: Make) -> None:
    gateway = make(options={"m/1": ["--die", "start"]}, limits=QUICK)
    gateway.put(replicas=(0, 1))
    held = gateway.chat()
    assert (held.status, held.json()["error"]["code"]) == (503, "endpoint_error")
    assert "cannot load the model: it is a fake" in held.json()["error"]["message"]
    assert held.headers["x-should-retry"] == "false"
    status = gateway.wait_state("error")
    assert "cannot load the model: it is a fake" in status["message"]
    refused = gateway.chat()
    assert (refused.status, refused.json()["error"]["code"]) == (503, "endpoint_error")
    gateway.put(replicas=(0, 1), version=2)
    assert gateway.chat().status == 200
    assert gateway.wait_state("running")["message"] == ""


def test_an_engine_that_starts_too_slowly_is_given_up(make: Make) -> None:
    gateway = make(serving={"start_timeout_s": 0.5}, options={"m": ["--start-s", "60"]}, limits=QUICK)
    gateway.put()
    assert "not ready within 0.5 s" in gateway.wait_state("error")["message"]


def test_a_hanging_start_does_not_block_the_others(make: Make) -> None:
    gateway = make(options={"slow": ["--start-s", "60"]})
    gateway.put("slow")
    gateway.put("m")
    assert gateway.chat().status == 200
    assert gateway.status("slow")["state"] == "starting"


def test_a_stopped_endpoint_says_so_and_starts_again(make: Make) -> None:
    gateway = make()
    gateway.put()
    gateway.wait_state("running")
    gateway.put(stopped=True)
    gateway.wait_state("stopped")
    assert gateway.engine_pids() == []
    answer = gateway.chat()
    assert (answer.status, answer.json()["error"]["code"]) == (503, "endpoint_stopped")
    assert gateway.get("/v1/models").json()["data"] == []
    assert gateway.get("/v2/models/m/ready", key=None).status == 503
    assert gateway.admin("PUT", "/m/replicas", {"replicas": 1}).status == 409
    gateway.put(stopped=False)
    assert gateway.chat().status == 200


def test_a_stop_lets_requests_in_flight_finish(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(options={"m": ["--latency-s", "1"]})
    gateway.put()
    gateway.wait_state("running")
    answers = send(pool, gateway, 4)
    eventually(lambda: gateway.status()["replicas"][0]["in_flight"] == 4, timeout_s=5)
    gateway.put(stopped=True)
    assert gateway.status()["state"] == "stopping"
    assert statuses(answers) == [200] * 4
    gateway.wait_state("stopped")


def test_a_new_version_takes_over_without_losing_a_request(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(options={"m": ["--latency-s", "0.03"], "m/2": ["--tokens", "1"]})
    gateway.put(version=1)
    gateway.wait_state("running")
    old = gateway.engine_pids()
    answers = send(pool, gateway, 100)
    assert gateway.put(version=2)["state"] in ("pending", "starting")
    answers += send(pool, gateway, 100)
    assert statuses(answers) == [200] * 200
    eventually(lambda: old[0] not in gateway.engine_pids(), timeout_s=60)
    gateway.wait_state("running")
    assert gateway.chat().json()["usage"]["completion_tokens"] == 1


def test_a_new_version_that_fails_leaves_the_old_one_answering(make: Make) -> None:
    gateway = make(options={"m/2": ["--die", "start"]}, limits=QUICK)
    gateway.put(version=1)
    gateway.wait_state("running")
    gateway.put(version=2)
    assert "replicas of the earlier spec still answer" in gateway.wait_state("error")["message"]
    assert gateway.chat().status == 200


def test_a_change_of_bounds_starts_no_new_process(make: Make) -> None:
    gateway = make()
    gateway.put(replicas=(1, 1))
    gateway.wait_state("running")
    before = gateway.engine_pids()
    gateway.put(replicas=(1, 2))
    gateway.chat()
    assert gateway.engine_pids() == before


def test_deleting_drains_and_forgets(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(options={"m": ["--latency-s", "0.5"]})
    gateway.put()
    gateway.wait_state("running")
    answers = send(pool, gateway, 2)
    eventually(lambda: gateway.status()["replicas"][0]["in_flight"] == 2, timeout_s=5)
    assert gateway.admin("DELETE", "/m").status == 204
    assert statuses(answers) == [200, 200]
    assert gateway.engine_pids() == []
    assert gateway.admin("GET").json() == []
    assert list((gateway.folder / "endpoints").iterdir()) == []
    assert gateway.chat().status == 404
    gateway.put()
    assert gateway.chat().status == 200


def test_what_was_counted_of_a_deleted_endpoint_goes_with_it(
    make: Make, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    never = str(tmp_path / "never")
    gateway = make(options={"slow": ["--start-when", never], "dies": ["--drop", "1"]})
    for name in ("stays", "goes", "slow", "dies"):
        gateway.put(name)
    for name in ("stays", "goes", "dies"):
        assert gateway.chat(name).status == 200
        assert gateway.chat(name, stream=True).status == 200
    held = pool.submit(gateway.chat, "slow")
    eventually(lambda: gateway.status("slow")["held_requests"] == 1)
    for name in ("goes", "slow", "dies"):
        assert f'endpoint="{name}"' in gateway.get("/metrics", key=None).text
        assert gateway.admin("DELETE", f"/{name}").status == 204
    assert held.result().status == 503
    shown = gateway.get("/metrics", key=None).text
    assert not [name for name in ("goes", "slow", "dies") if f'endpoint="{name}"' in shown]
    assert gateway.metric('aihow_requests_total{code="200",endpoint="stays",path="/v1/chat/completions"}') == 2
    gateway.put("goes")
    assert gateway.chat("goes").status == 200
    assert gateway.metric('aihow_requests_total{code="200",endpoint="goes",path="/v1/chat/completions"}') == 1


def test_a_killed_gateway_finds_its_replicas_again(make: Make) -> None:
    gateway = make()
    gateway.put("m", replicas=(1, 2))
    gateway.put("gone")
    gateway.admin("PUT", "/m/replicas", {"replicas": 2})
    eventually(lambda: gateway.ready_replicas() == 2, timeout_s=60)
    gateway.wait_state("running", "gone")
    before = {replica["name"] for replica in gateway.status()["replicas"]}
    pids = gateway.engine_pids()
    gateway.kill()
    (gateway.folder / "endpoints" / "gone.json").unlink()
    gateway.start()
    assert gateway.chat().status == 200
    eventually(lambda: gateway.ready_replicas() == 2, timeout_s=60)
    assert {replica["name"] for replica in gateway.status()["replicas"]} == before
    eventually(lambda: len(gateway.engine_pids()) == 2, timeout_s=5)
    assert set(gateway.engine_pids()) < set(pids), "the orphan was not stopped, or a replica was started anew"


def test_a_gateway_that_died_in_a_rollout_finishes_it(make: Make) -> None:
    gateway = make(options={"m/2": ["--tokens", "1"]})
    gateway.put(version=1)
    gateway.wait_state("running")
    gateway.kill()
    record = gateway.folder / "endpoints" / "m.json"
    written = json.loads(record.read_text())
    (revision,) = written["revisions"]
    revision["number"], written["next_number"] = 2, 3
    revision["spec"].update(model_version=2, model_digest="2" * 64)
    record.write_text(json.dumps(written))
    old = gateway.engine_pids()
    gateway.start()
    assert gateway.chat().status == 200
    eventually(lambda: old[0] not in gateway.engine_pids(), timeout_s=60)
    assert gateway.chat().json()["usage"]["completion_tokens"] == 1


def test_a_broken_record_is_shown_and_harms_no_other(make: Make) -> None:
    gateway = make()
    gateway.put("m")
    gateway.wait_state("running")
    gateway.kill()
    (gateway.folder / "endpoints" / "odd.json").write_text('{"name": "od')
    gateway.start()
    assert gateway.chat().status == 200
    shown = {status["spec"]["name"]: status for status in gateway.admin("GET").json()}
    assert shown["odd"]["state"] == "error"
    assert "odd.json" in shown["odd"]["message"]
    gateway.put("odd")
    assert gateway.chat("odd").status == 200
    assert gateway.admin("DELETE", "/odd").status == 204


def test_a_stopping_gateway_finishes_what_is_in_flight_and_leaves_replicas(
    make: Make, pool: ThreadPoolExecutor
) -> None:
    gateway = make(serving={"parallel_requests": 2}, options={"m": ["--latency-s", "1", "--token-s", "0.1"]})
    gateway.put()
    gateway.wait_state("running")
    streams = send(pool, gateway, 2, stream=True)
    eventually(lambda: gateway.status()["replicas"][0]["in_flight"] == 2, timeout_s=5)
    held = send(pool, gateway, 3)
    eventually(lambda: gateway.status()["held_requests"] == 3, timeout_s=5)
    gateway.terminate()
    for answer in held:
        assert (answer.result().status, answer.result().json()["error"]["code"]) == (503, "gateway_stopping")
        assert answer.result().headers["retry-after"]
    assert gateway.chat().json()["error"]["code"] == "gateway_stopping"
    assert gateway.get("/v2/health/ready", key=None).status == 503
    assert gateway.get("/v2/health/live", key=None).status == 200
    assert statuses(streams) == [200, 200]
    assert all(answer.result().text.endswith("data: [DONE]\n\n") for answer in streams)
    assert gateway.process is not None
    assert gateway.process.wait(60) == 0
    assert len(gateway.engine_pids()) == 1


def test_a_stopping_gateway_does_not_wait_for_ever(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(serving={"drain_timeout_s": 0.5}, options={"m": ["--latency-s", "60"]})
    gateway.put()
    gateway.wait_state("running")
    answer = pool.submit(gateway.chat)
    eventually(lambda: gateway.status()["replicas"][0]["in_flight"] == 1, timeout_s=5)
    gateway.terminate()
    assert gateway.process is not None
    assert gateway.process.wait(60) == 0
    assert isinstance(answer.exception(), TryAgainError)


def test_a_slow_head_and_a_slow_body_are_bounded(make: Make) -> None:
    gateway = make(limits={"listener.KEEPALIVE_TIMEOUT_S": 1.0, "http_edge.BODY_TIMEOUT_S": 1.0})
    with gateway.connect() as silent, gateway.connect() as half_a_head, gateway.connect() as half_a_body:
        half_a_head.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n"
        half_a_body.sendall(head.encode() + b"{")
        assert silent.recv(1000) == b""
        assert half_a_head.recv(1000) == b""
        assert half_a_body.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_client_that_does_not_read_loses_its_place(make: Make) -> None:
    gateway = make(limits={"forward.CLIENT_STALL_S": 1.0}, options={"m": ["--tokens", "200000"]})
    gateway.put()
    gateway.wait_state("running")
    with gateway.connect() as client:
        body = b'{"model": "m", "stream": true}'
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        eventually(lambda: gateway.status()["replicas"][0]["in_flight"] == 1, timeout_s=5)
        eventually(lambda: gateway.status()["replicas"][0]["in_flight"] == 0, timeout_s=60)


def test_first_come_first_served(make: Make, pool: ThreadPoolExecutor) -> None:
    gateway = make(serving={"parallel_requests": 1}, options={"m": ["--latency-s", "0.1"]})
    gateway.put()
    gateway.wait_state("running")
    ended: list[int] = []
    began = []
    for number in range(6):
        began.append(pool.submit(lambda n=number: (gateway.chat(), ended.append(n))))
        time.sleep(0.03)
    for future in began:
        future.result()
    assert ended == sorted(ended)


def test_a_frozen_engine_is_replaced(make: Make, pool: ThreadPoolExecutor) -> None:
    limits = QUICK | {
        "probing.UNRESPONSIVE_AFTER_S": 1.0,
        "probing.HEALTH_INTERVAL_S": 0.5,
        "probing.PROBE_TIMEOUT_S": 1.0,
    }
    gateway = make(limits=limits)
    gateway.put()
    gateway.wait_state("running")
    frozen = gateway.engine_pids()[0]
    os.kill(frozen, signal.SIGSTOP)
    answer = pool.submit(gateway.chat)
    assert answer.result(30).status == 200
    assert frozen not in gateway.engine_pids()
