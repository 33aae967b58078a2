"""Revisions of an endpoint beside each other: shares, the header that names one, restarts, and what clients notice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_how.bench.rollout import moves
from ai_how.endpoints.client import EndpointClient
from ai_how.endpoints.interface import REVISION_HEADER
from ai_how.endpoints.rollout.journal import Journal, Rollout, explained, history
from ai_how.errors import ConflictError, NotFoundError, SpecError
from ai_how.models.types import SecretText

from .gateway import ADMIN_KEY, CHAT, GatewayUnderTest
from .site import eventually

QUICK = {"scaling.MAX_BACKOFF_S": 0.1, "fleet.OBSERVE_INTERVAL_S": 0.1}
OLD, NEW = ["--tokens", "1"], ["--tokens", "2"]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayUnderTest]:
    made = GatewayUnderTest(
        folder=tmp_path / "g", limits=QUICK, options={"m/1": OLD, "m/2": NEW, "m/3": ["--die", "start"]}
    )
    made.start()
    made.put()
    made.wait_state("running")
    yield made
    made.close()


def client(gateway: GatewayUnderTest) -> EndpointClient:
    return EndpointClient(admin_url=f"http://127.0.0.1:{gateway.admin_port}", admin_key=SecretText(ADMIN_KEY))


def add(gateway: GatewayUnderTest, version: int = 2) -> int:
    admin = client(gateway)
    spec = admin.get("m").spec
    return admin.add_revision(replace(spec, model_version=version, model_digest=f"{version}" * 64)).number


def ready(gateway: GatewayUnderTest, number: int) -> bool:
    return any(one.number == number and one.state == "running" for one in client(gateway).revisions("m"))


def who(gateway: GatewayUnderTest, **headers: str) -> int:
    """Which revision answered: the new one says two words."""
    answer = gateway.post({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, **headers)
    assert answer.status == 200, answer.text
    assert REVISION_HEADER not in {name.lower() for name in answer.headers}
    return int(answer.json()["usage"]["completion_tokens"])


def test_requests_are_dealt_out_by_share_and_a_header_names_a_revision(gateway: GatewayUnderTest) -> None:
    admin = client(gateway)
    assert add(gateway) == 2
    eventually(lambda: ready(gateway, 2))
    assert Counter(who(gateway) for _ in range(10)) == {1: 10}, "a new revision gets nothing by itself"
    assert who(gateway, **{REVISION_HEADER: "2"}) == 2
    admin.set_shares("m", {1: 80, 2: 20})
    assert [(one.number, one.share_percent) for one in admin.revisions("m")] == [(1, 80), (2, 20)]
    assert Counter(who(gateway) for _ in range(50)) == {1: 40, 2: 10}
    assert {who(gateway, **{REVISION_HEADER: "1"}) for _ in range(5)} == {1}
    assert [one["id"] for one in gateway.get("/v1/models").json()["data"]] == ["m"]
    assert gateway.metric('aihow_requests_total{code="200",endpoint="m",revision="1"}') == 10 + 40 + 5
    assert gateway.metric('aihow_requests_total{code="200",endpoint="m",revision="2"}') == 1 + 10
    assert gateway.status()["spec"]["model_version"] == 1, "the endpoint is what most requests go to"
    assert {replica["revision"] for replica in gateway.status()["replicas"]} == {1, 2}


def test_where_one_revision_cannot_start_the_one_that_is_ready_answers(gateway: GatewayUnderTest) -> None:
    admin = client(gateway)
    assert add(gateway, version=3) == 2
    admin.set_shares("m", {1: 50, 2: 50})
    # some of these wait for the engine that never comes, until it has died often enough
    assert Counter(who(gateway) for _ in range(10)) == {1: 10}
    eventually(lambda: admin.revisions("m")[1].state == "error")
    admin.set_shares("m", {1: 0, 2: 100})
    assert Counter(who(gateway) for _ in range(10)) == {1: 10}
    answer = gateway.post({"model": "m"}, **{REVISION_HEADER: "2"})
    assert (answer.status, answer.json()["error"]["code"]) == (503, "endpoint_error"), "who names a revision means it"


def test_a_revision_that_is_not_there_is_named(gateway: GatewayUnderTest) -> None:
    for asked in ("2", "0", "-1", "one", "1" * 40, "1.0"):
        answer = gateway.post({"model": "m"}, **{REVISION_HEADER: asked})
        assert answer.status == 404, asked
        assert answer.json()["error"]["code"] == "revision_not_found"
        assert "Available: 1." in answer.json()["error"]["message"]


def test_the_engine_does_not_learn_of_revisions(gateway: GatewayUnderTest) -> None:
    assert who(gateway, **{REVISION_HEADER: "1"}) == 1
    (engine,) = gateway.engines()
    assert REVISION_HEADER not in {name.lower() for name in engine["last"]["headers"]}


def test_a_gateway_that_died_goes_on_with_the_same_shares_and_replicas(gateway: GatewayUnderTest) -> None:
    admin = client(gateway)
    add(gateway)
    eventually(lambda: ready(gateway, 2))
    admin.set_shares("m", {1: 50, 2: 50})
    begun = Rollout(id="x", old=1, new=2, steps=(50, 100), started_at="t", heard_at="t", step=1)
    journal = admin.journal("m")
    admin.keep_journal("m", Journal(history=explained(journal, 2, "because").history, rollout=begun))
    pids = gateway.engine_pids()
    gateway.kill()
    gateway.start()
    assert Counter(who(gateway) for _ in range(20)) == {1: 10, 2: 10}
    assert gateway.engine_pids() == pids
    assert admin.journal("m").rollout == begun
    assert [entry.why for entry in admin.journal("m").history] == ["", "because"]


def test_a_gateway_that_died_while_a_revision_left_stops_its_replicas(gateway: GatewayUnderTest) -> None:
    add(gateway)
    eventually(lambda: ready(gateway, 2))
    gateway.kill()
    record = gateway.folder / "endpoints" / "m.json"
    written = json.loads(record.read_text())
    written["revisions"] = written["revisions"][:1]
    record.write_text(json.dumps(written))
    gateway.start()
    eventually(lambda: len(gateway.engine_pids()) == 1)
    assert who(gateway) == 1


def test_a_record_of_an_earlier_version_is_taken_over_with_its_replica(gateway: GatewayUnderTest) -> None:
    pids = gateway.engine_pids()
    gateway.kill()
    record = gateway.folder / "endpoints" / "m.json"
    spec = json.loads(record.read_text())["revisions"][0]["spec"]
    del spec["model_ref"]
    record.write_text(json.dumps(spec))
    for replica in (gateway.folder / "replicas").glob("*.replica"):
        replica.write_text(json.dumps({**json.loads(replica.read_text()), "revision": 0}))
    gateway.start()
    assert who(gateway) == 1
    assert gateway.engine_pids() == pids
    assert [one.number for one in client(gateway).revisions("m")] == [1]


def test_nobody_notices_that_a_revision_leaves(gateway: GatewayUnderTest) -> None:
    admin = client(gateway)
    add(gateway)
    eventually(lambda: ready(gateway, 2))
    gateway.tell_engines(latency_s=0.2)
    with ThreadPoolExecutor(32) as pool:
        answers = [pool.submit(gateway.chat) for _ in range(32)]
        eventually(lambda: gateway.status()["held_requests"] > 0, every_s=0.01)
        admin.set_shares("m", {1: 0, 2: 100})
        admin.remove_revision("m", 1)
        assert {answer.result().status for answer in answers} == {200}
    assert [one.number for one in admin.revisions("m")] == [2]
    assert gateway.metric('aihow_requests_total{revision="1"}') == 0, "what is gone is not counted any more"
    assert len(gateway.engine_pids()) == 1


def test_those_who_wait_for_a_revision_that_never_comes_are_answered_by_the_other(
    gateway: GatewayUnderTest, tmp_path: Path
) -> None:
    admin = client(gateway)
    gateway.options["m/2"] = ["--start-when", str(tmp_path / "never")]
    (gateway.folder / "replicas" / "options.json").write_text(json.dumps(gateway.options))
    add(gateway)
    admin.set_shares("m", {1: 50, 2: 50})
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(who, gateway) for _ in range(8)]
        eventually(lambda: gateway.status()["held_requests"] == 4, every_s=0.01)
        admin.set_shares("m", {1: 100})
        assert {answer.result() for answer in answers} == {1}
    admin.remove_revision("m", 2)
    assert admin.journal("m").history[-1].outcome == "rolled back"


def test_a_revision_that_cannot_start_leaves_the_other_alone(gateway: GatewayUnderTest) -> None:
    add(gateway, version=3)

    def failed() -> Any:
        return next((one for one in client(gateway).revisions("m") if one.state == "error"), None)

    found: Any = eventually(failed)
    assert (found.number, found.share_percent) == (2, 0)
    assert "cannot load the model" in found.message
    assert gateway.status()["state"] == "running"
    assert who(gateway) == 1


def test_a_change_in_place_that_never_served_is_told_in_the_history(gateway: GatewayUnderTest) -> None:
    admin = client(gateway)
    spec = admin.get("m").spec

    def put(version: int, state: str) -> None:
        admin.put(replace(spec, model_version=version, model_digest=f"{version}" * 64))
        eventually(lambda: admin.get("m").state == state)

    def told() -> list[tuple[int, str]]:
        return [(one.number, str(one.outcome)) for one in history(admin.journal("m"), admin.revisions("m"))]

    put(3, "error")
    assert told() == [(1, "replaced"), (2, "could not start")]
    assert "cannot load the model" in history(admin.journal("m"), admin.revisions("m"))[-1].why
    put(2, "running")
    assert told() == [(1, "replaced"), (2, "could not start"), (3, "serving")]
    assert "cannot load the model" in admin.journal("m").history[1].why
    put(3, "error")
    gone, kept = moves.go_back(admin, "m", to=None, timeout_s=60, stopped=lambda: False)
    assert (gone.number, kept.spec.model_version) == (4, 2), "the one before that has served, not the one that failed"
    assert told()[2:] == [(3, "replaced"), (4, "could not start"), (5, "serving")]


def test_what_must_not_be_is_refused(gateway: GatewayUnderTest) -> None:
    admin = client(gateway)
    with pytest.raises(ConflictError):
        admin.remove_revision("m", 1)
    with pytest.raises(NotFoundError):
        admin.remove_revision("m", 5)
    with pytest.raises(SpecError, match="add up"):
        admin.set_shares("m", {1: 99})
    assert gateway.admin("PUT", "/m/shares", {"1": "100"}).status == 400
    assert gateway.admin("PUT", "/m/shares", {"one": 100}).status == 400
    assert gateway.admin("DELETE", "/m/revisions/x").status == 400
    assert gateway.admin("PUT", "/m/journal", {"history": 5}).status == 400
    for path in ("revisions", "journal"):
        assert gateway.admin("GET", f"/none/{path}").status == 404
    add(gateway)
    with pytest.raises(ConflictError, match="under way"):
        add(gateway)
    assert gateway.admin("PUT", "/m", {**gateway.status()["spec"], "model_version": 9}).status == 409
    assert gateway.admin("GET", "/m/revisions", key="wrong").status == 401


def test_stopping_and_deleting_take_all_revisions(gateway: GatewayUnderTest) -> None:
    add(gateway)
    eventually(lambda: ready(gateway, 2))
    spec = gateway.status()["spec"]
    gateway.admin("PUT", "/m", {**spec, "stopped": True})
    eventually(lambda: gateway.engine_pids() == [])
    eventually(lambda: gateway.status()["state"] == "stopped")
    gateway.admin("PUT", "/m", spec)
    eventually(lambda: ready(gateway, 2) and ready(gateway, 1))
    assert gateway.admin("DELETE", "/m").status == 204
    assert gateway.engine_pids() == []
    assert gateway.post({"model": "m"}, path=CHAT).status == 404


def test_each_revision_sleeps_for_itself(tmp_path: Path) -> None:
    gateway = GatewayUnderTest(folder=tmp_path / "g", limits=QUICK, serving={"idle_after_s": 0.5}, options={"m/2": NEW})
    gateway.start()
    try:
        gateway.put(replicas=(0, 1))
        gateway.wait_state("running")
        add(gateway)
        eventually(lambda: ready(gateway, 2))
        eventually(lambda: gateway.status()["replicas"] == [])
        assert who(gateway, **{REVISION_HEADER: "2"}) == 2, "it wakes"
        assert {replica["revision"] for replica in gateway.status()["replicas"]} == {2}
    finally:
        gateway.close()
