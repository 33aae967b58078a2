"""A replica that sleeps instead of ending: engines that behave as vLLM does, and those that do not."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .gateway import GatewayUnderTest
from .site import eventually


def made(folder: Path, *options: str) -> GatewayUnderTest:
    gateway = GatewayUnderTest(folder=folder, serving={"idle_after_s": 0.5, "when_idle": "sleep"})
    gateway.options = {"m": ["--sleep-mode", "sleeps", *options]}
    gateway.start()
    return gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayUnderTest]:
    one = made(tmp_path / "g", "--sleep-s", "0.2")
    yield one
    one.close()


def replica_states(gateway: GatewayUnderTest) -> list[str]:
    return [replica["state"] for replica in gateway.status()["replicas"]]


def until_asleep(gateway: GatewayUnderTest) -> dict[str, Any]:
    eventually(lambda: replica_states(gateway) == ["asleep"], timeout_s=60, every_s=0.05)
    eventually(lambda: gateway.engines()[0]["asleep"], timeout_s=60, every_s=0.05)
    return gateway.engines()[0]


def deployed(gateway: GatewayUnderTest, **more: Any) -> dict[str, Any]:
    gateway.put(replicas=(0, 1), engine="vllm", **more)
    gateway.wait_state("running")
    return until_asleep(gateway)


def test_it_sleeps_when_idle_and_the_held_request_wakes_the_same_process(gateway: GatewayUnderTest) -> None:
    asleep = deployed(gateway)
    status = gateway.status()
    assert (status["state"], asleep["level"]) == ("running", "1")
    assert "its weights in main memory" in status["message"]
    assert gateway.metric('aihow_replicas{state="asleep"}') == 1
    assert gateway.chat().status == 200
    awake = gateway.engines()[0]
    assert (awake["pid"], awake["woken"]) == (asleep["pid"], 1)
    start = eventually(lambda: next(s for s in (gateway.status()["last_start"],) if s["stages"][0]["name"] == "wake"))
    assert [stage["name"] for stage in start["stages"]] == ["wake", "first token"]
    assert until_asleep(gateway)["pid"] == asleep["pid"]


def test_requests_that_come_while_it_falls_asleep_reach_it_awake(gateway: GatewayUnderTest) -> None:
    gateway.put(replicas=(0, 1), engine="vllm")
    gateway.wait_state("running")
    pid = gateway.engines()[0]["pid"]
    gateway.tell_engines(sleep_s=1)
    eventually(lambda: replica_states(gateway) == ["asleep"], timeout_s=60, every_s=0.02)
    found: list[int] = []
    clients = [threading.Thread(target=lambda: found.append(gateway.chat().status)) for _ in range(6)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert found == [200] * 6
    assert [engine["pid"] for engine in gateway.engines()] == [pid]


def test_a_new_gateway_lets_it_sleep_on(gateway: GatewayUnderTest) -> None:
    asleep = deployed(gateway)
    gateway.kill()
    gateway.start()
    eventually(lambda: replica_states(gateway) == ["asleep"], timeout_s=60, every_s=0.05)
    assert gateway.status()["state"] == "running"
    assert gateway.chat().status == 200
    assert gateway.engines()[0]["pid"] == asleep["pid"]


def test_another_engine_a_stop_and_a_new_version_end_what_sleeps(gateway: GatewayUnderTest) -> None:
    first = deployed(gateway)
    deployed(gateway, version=2)
    eventually(lambda: gateway.engine_pids() == [engine["pid"] for engine in gateway.engines()])
    assert gateway.engines()[0]["pid"] != first["pid"]
    gateway.put(replicas=(0, 1), engine="vllm", version=2, stopped=True)
    gateway.wait_state("stopped")
    assert gateway.engine_pids() == []
    gateway.put("other", replicas=(0, 1))
    gateway.wait_state("running", "other")
    eventually(lambda: gateway.status("other")["replicas"] == [], timeout_s=60)


def test_one_that_is_kept_does_not_sleep_and_a_floor_wakes_it(gateway: GatewayUnderTest) -> None:
    pid = deployed(gateway)["pid"]
    gateway.put(replicas=(1, 1), engine="vllm")
    eventually(lambda: gateway.ready_replicas() == 1, timeout_s=60)
    assert gateway.engines()[0] == {**gateway.engines()[0], "pid": pid, "asleep": False}
    assert gateway.admin("PUT", "/m/replicas", {"replicas": 1}).status == 200


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--sleep-mode", "refuses"), "/sleep answers 500"),
        (("--sleep-mode", "stays awake"), "it says that it is awake"),
        (("--sleep-mode", ""), "/sleep answers 404"),
        (("--sleep-mode", "dies"), "/sleep failed"),
    ],
)
def test_one_that_cannot_sleep_is_stopped_and_the_status_says_why(
    tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    gateway = made(tmp_path / "g", *options)
    try:
        gateway.put(replicas=(0, 1), engine="vllm")
        gateway.wait_state("running")
        eventually(lambda: gateway.status()["replicas"] == [], timeout_s=60)
        status = gateway.status()
        assert (status["state"], gateway.engine_pids()) == ("running", [])
        assert "could not sleep" in status["message"]
        assert why in status["message"]
        assert '"replica_not_asleep"' in gateway.log
        assert gateway.chat().status == 200
    finally:
        gateway.close()


def test_too_little_main_memory_stops_it_unasked(gateway: GatewayUnderTest) -> None:
    told = gateway.folder / "replicas" / "no-room-to-sleep"
    told.write_text("its weights take 9.0 GiB of main memory")
    gateway.put(replicas=(0, 1), engine="vllm")
    gateway.wait_state("running")
    eventually(lambda: gateway.status()["replicas"] == [], timeout_s=60)
    assert "9.0 GiB of main memory" in gateway.status()["message"]
    told.unlink()
    told.mkdir()  # nobody can tell
    assert gateway.chat().status == 200
    eventually(lambda: "Is a directory" in gateway.status()["message"], timeout_s=60)
    eventually(lambda: gateway.status()["replicas"] == [], timeout_s=60)


def test_one_that_sleeps_gives_its_gpu_to_another_endpoint(gateway: GatewayUnderTest) -> None:
    (gateway.folder / "replicas" / "gpus").write_text("1")
    asleep = deployed(gateway)
    gateway.put("other", engine="vllm")
    gateway.wait_state("running", "other")
    assert gateway.status()["state"] == "running"
    assert gateway.status()["replicas"] == []
    assert asleep["pid"] not in gateway.engine_pids()
    assert gateway.metric('aihow_replica_failures_total{endpoint="other"}') == 0


def test_one_that_does_not_wake_is_replaced_and_the_request_answered(gateway: GatewayUnderTest) -> None:
    asleep = deployed(gateway)
    gateway.tell_engines(wake="refuses")
    assert gateway.chat().status == 200
    assert gateway.engines()[0]["pid"] != asleep["pid"]
    assert "it does not wake: /wake_up answers 500" in gateway.log


def test_one_that_dies_in_its_sleep_is_started_anew(gateway: GatewayUnderTest) -> None:
    asleep = deployed(gateway)
    os.kill(asleep["pid"], signal.SIGKILL)
    assert gateway.chat().status == 200
    assert gateway.engines()[0]["pid"] != asleep["pid"]
