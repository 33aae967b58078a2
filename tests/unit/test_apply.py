"""The engine runs what can run, stops what cannot, and leaves a trace."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.apply.engine import Outcome, apply_plan
from ai_how.apply.events import EventLog, failed_last
from ai_how.apply.files import read_json, write_atomic, write_json
from ai_how.apply.lock import locked
from ai_how.errors import LockedError, ProviderError
from ai_how.plan.compute import compute_plan
from ai_how.plan.model import Action, Plan, Resource


def quiet(_action: Action, _outcome: Outcome | None) -> None:
    """No progress."""


def plan_of(**needs: tuple[str, ...]) -> Plan:
    return compute_plan("demo", [Resource(name=name, needs=wants) for name, wants in needs.items()], {})


@given(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1), st.data())
def test_nothing_starts_before_what_it_needs(names: list[str], data: st.DataObject) -> None:
    needs = {
        name: tuple(data.draw(st.lists(st.sampled_from(names[:index]), unique=True))) if index else ()
        for index, name in enumerate(names)
    }
    done: set[str] = set()
    guard = threading.Lock()

    def perform(action: Action, _resource: Resource | None) -> str:
        with guard:
            assert set(needs[action.resource]) <= done
        with guard:
            done.add(action.resource)
        return "made"

    outcomes = apply_plan(plan_of(**needs), perform, events=EventLog(Path(os.devnull)), report=quiet)
    assert {outcome.result for outcome in outcomes} == {"done"}
    assert done == set(names)


def test_independent_actions_run_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=20)

    def perform(_action: Action, _resource: Resource | None) -> str:
        both.wait()  # breaks, and raises, unless two are inside at once
        return "met"

    outcomes = apply_plan(plan_of(a=(), b=()), perform, events=EventLog(tmp_path / "events"), report=quiet)
    assert [outcome.detail for outcome in outcomes] == ["met", "met"]


def test_a_failure_stops_only_what_needs_it(tmp_path: Path) -> None:
    def perform(action: Action, _resource: Resource | None) -> str:
        if action.resource == "store":
            raise ProviderError("no disk")
        return "made"

    plan = plan_of(store=(), bucket=("store",), upload=("bucket",), registry=())
    events = EventLog(tmp_path / "events")
    outcomes = {o.action.resource: o.result for o in apply_plan(plan, perform, events=events, report=quiet)}
    assert outcomes == {"store": "failed", "bucket": "skipped", "upload": "skipped", "registry": "done"}
    told = {(event.resource, event.outcome) for event in events.read()}
    assert {("store", "failed"), ("bucket", "skipped"), ("registry", "done")} <= told


def test_what_is_skipped_names_what_failed_and_not_what_was_skipped_between(tmp_path: Path) -> None:
    def perform(action: Action, _resource: Resource | None) -> str:
        if action.resource.startswith("server"):
            raise ProviderError("away")
        return "made"

    plan = plan_of(
        **{"server-1": (), "server-2": (), "server-3": (), "disk": ("server-2",)},
        cluster=("server-1", "server-2", "server-3"),
        stack=("cluster", "disk"),
        store=("disk",),
    )
    outcomes = apply_plan(plan, perform, events=EventLog(tmp_path / "events"), report=quiet, parallel=1)
    details = {each.action.resource: each.detail for each in outcomes}
    assert details["store"] == details["disk"] == "needs server-2"
    assert details["stack"] == details["cluster"] == "needs server-1, server-2 and 1 more"


def test_events_survive_a_line_cut_short(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    log.append("a", "create", "done")
    with log.path.open("a") as file:
        file.write('{"time": "2026')
    with log.path.open("ab") as binary:
        binary.write(b"\xff\xfe")
    log.append("b", "create", "done")
    assert [event.resource for event in log.read()] == ["a"]
    log.append("c", "create", "done", detail="x", duration_s=1.23456)
    assert [(e.resource, e.duration_s) for e in log.read()] == [("a", None), ("c", 1.235)]


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path), pytest.raises(LockedError) as caught, locked(path):
        pass
    assert str(os.getpid()) in caught.value.evidence
    with locked(path):
        pass


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    write_json(path, {"b": 1, "a": 2})
    assert read_json(path) == {"a": 2, "b": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    write_atomic(path, "not json")
    assert read_json(path) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    def full_mkstemp(*_args: object, **_kwargs: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "part")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ProviderError, match="disk is full") as caught:
        patch.setattr("tempfile.mkstemp", full_mkstemp)
        write_atomic(tmp_path / "state.json", "x" * 100_000)
    assert "free some space" in caught.value.next_step


def test_an_event_that_finds_no_room_names_its_file() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(ProviderError, match="the disk is full: cannot write /dev/full"):
        EventLog(Path("/dev/full")).append("a", "create", "done")
    with locked(Path("/dev/full")):
        pass


def test_what_failed_last_is_what_was_not_mended_since(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    for resource, outcome in (
        ("a", "failed"),
        ("b", "failed"),
        ("c", "skipped"),
        ("b", "done"),
        ("d", "failed"),
        ("a", "started"),
        ("a", "failed"),
        ("d", "skipped"),
    ):
        log.append(resource, "create", outcome, detail="why")
    assert [(event.resource, event.outcome) for event in failed_last(log.read())] == [("d", "failed"), ("a", "failed")]
