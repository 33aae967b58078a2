"""What the gateway keeps of an endpoint's last start, with marks of the replica and without."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .gateway import GatewayUnderTest
from .site import eventually


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayUnderTest]:
    made = GatewayUnderTest(folder=tmp_path / "g", serving={"idle_after_s": 0.5})
    made.start()
    yield made
    made.close()


def names(gateway: GatewayUnderTest) -> list[str]:
    start = eventually(lambda: gateway.status()["last_start"], timeout_s=60)
    assert isinstance(start, dict)
    assert start["total_s"] == gateway.status()["last_start_s"]
    return [stage["name"] for stage in start["stages"] if stage["end_s"] is not None]


def test_a_replica_without_marks_tells_when_it_was_loaded(gateway: GatewayUnderTest) -> None:
    gateway.put()
    gateway.wait_state("running")
    assert names(gateway) == ["load", "first token"]


def test_marks_of_a_replica_become_stages(gateway: GatewayUnderTest) -> None:
    now = time.monotonic()
    marks = {"begun_s": now, "fetched_s": now, "prepared_s": now, "fetched": "in the cache"}
    (gateway.folder / "replicas" / "marks.json").write_text(json.dumps(marks))
    gateway.put()
    gateway.wait_state("running")
    assert names(gateway) == ["start process", "fetch weights", "convert", "load", "first token"]


def test_each_wake_is_a_start_of_its_own_and_a_new_gateway_has_seen_none(gateway: GatewayUnderTest) -> None:
    gateway.put(replicas=(0, 1))
    gateway.wait_state("running")
    first = eventually(lambda: gateway.status()["last_start"])
    eventually(lambda: gateway.status()["replicas"] == [])
    assert gateway.chat().status == 200
    eventually(lambda: gateway.status()["last_start"] not in (None, first))
    gateway.kill()
    gateway.start()
    assert gateway.status()["last_start"] is None
