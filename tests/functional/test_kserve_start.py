"""The last start of an endpoint on a cluster, read from a stand-in API server as a kubelet would have filled it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_how.endpoints.cold_start.waterfall import StageName
from ai_how.kserve.start import last_start
from ai_how.kubernetes_api.client import Client
from tests.unit.test_cold_start import EVENTS, LOG, pod

from .api_endpoint import Endpoint
from .api_server import Fault, StandIn, stand_in


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Endpoint, StandIn]]:
    with stand_in(tmp_path) as found:
        yield found


@pytest.fixture
def server(served: tuple[Endpoint, StandIn]) -> StandIn:
    return served[1]


@pytest.fixture
def client(served: tuple[Endpoint, StandIn]) -> Client:
    return served[0].client()


def put(server: StandIn, name: str, *, created: str = "2026-03-01T10:00:00Z", **status: Any) -> None:
    """A pod with its status, its events and its log, as kubelet and scheduler leave them."""
    write = server.store.write
    made = pod(**status)
    made["metadata"] |= {"name": name, "namespace": "default", "labels": {"ai-how/endpoint": "m"}}
    write(server.store.kind_of("", "v1", "pods"), "default", name, made, "kubelet", "Update")
    server.store.objects["", "pods", "default", name]["metadata"]["creationTimestamp"] = created
    for number, event in enumerate(EVENTS):
        about = {**event["involvedObject"], "name": name, "namespace": "default"}
        noted = {**event, "metadata": {"name": f"{name}.{number}", "namespace": "default"}, "involvedObject": about}
        write(server.store.kind_of("", "v1", "events"), "default", f"{name}.{number}", noted, "kubelet", "Update")
    server.logs["default", name] = "\n".join(LOG) + "\n"


def test_the_start_of_the_newest_replica_that_answers(server: StandIn, client: Client) -> None:
    put(server, "older", created="2026-03-01T09:00:00Z")
    put(server, "newest")
    put(server, "loading", created="2026-03-01T11:00:00Z", conditions=[])
    found = last_start(client, "m", namespace="default")
    assert found is not None
    assert found.replica == "newest"
    assert (found.total_s, found.until) == (170, "ready")
    assert found.took_s(StageName.PULL) == 17.5
    assert found.took_s(StageName.COMPILE) == 40


def test_an_endpoint_without_a_replica_that_answers_has_none(server: StandIn, client: Client) -> None:
    put(server, "loading", conditions=[])
    assert last_start(client, "m", namespace="default") is None
    assert last_start(client, "other", namespace="default") is None


def test_an_engine_that_was_started_again_is_not_blamed_for_the_first_start(server: StandIn, client: Client) -> None:
    ended = {"terminated": {"finishedAt": "2026-03-01T10:01:00Z"}}
    running = {"running": {"startedAt": "2026-03-01T10:01:08Z"}}
    put(server, "m", containerStatuses=[{"name": "kserve-container", "state": running, "lastState": ended}])
    found = last_start(client, "m", namespace="default")
    assert found is not None
    assert found.asked_at == "2026-03-01T10:01:00Z"
    assert found.total_s == 110
    assert found.took_s(StageName.SCHEDULE, StageName.FETCH) == 0


def test_a_log_that_cannot_be_read_leaves_the_pods_own_words(server: StandIn, client: Client) -> None:
    put(server, "m")
    server.faults.append(Fault(method="GET", path="/log", status=403))
    found = last_start(client, "m", namespace="default")
    assert found is not None
    assert found.took_s(StageName.LOAD) == 102
    assert StageName.COMPILE not in {stage.name for stage in found.stages}
