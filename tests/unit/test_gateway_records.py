"""Endpoint records, keys and error texts of the gateway."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware, ServedAdapter
from ai_how.errors import SpecError
from ai_how.gateway import api_errors
from ai_how.gateway.forward import whole_events
from ai_how.gateway.keys import Keys, parse_admin_key, parse_api_keys
from ai_how.gateway.records import (
    delete_record,
    first_record,
    load_records,
    parse_record,
    parse_spec,
    save_record,
)

SPEC = EndpointSpec(
    name="smol",
    model_name="smollm2",
    model_version=3,
    model_uri="s3://models/smollm2/abc",
    model_digest="ab" * 32,
    engine="llamacpp",
)


@pytest.mark.parametrize(
    "same",
    [
        {"stopped": True},
        {"created_at": "2026-01-01"},
        {"model_ref": "smol@best"},
        {"autoscaling": Autoscaling(min_replicas=0, max_replicas=9)},
    ],
)
def test_the_digest_leaves_out_what_needs_no_new_process(same: dict[str, Any]) -> None:
    assert process_digest(replace(SPEC, **same)) == process_digest(SPEC)


def test_adapters_that_cannot_be_are_refused() -> None:
    one = asdict(ServedAdapter(tag="a", model_name="m", model_version=1, model_uri="", model_digest=""))
    data = asdict(SPEC) | {"adapters": [one]}
    assert parse_spec(data, name="smol").adapters[0].tag == "a"
    wrong: list[tuple[object, str]] = [
        ([one, one], "each but once"),
        ([one | {"tag": "A b"}], "lower-case letters, digits and dashes"),
        ([one | {"color": 1}], "adapters.color: there is no such key"),
        ([{"tag": "a"}], "adapters.0.model_name"),
        ("a", "adapters"),
    ]
    for adapters, said in wrong:
        with pytest.raises(SpecError) as caught:
            parse_spec(data | {"adapters": adapters}, name="smol")
        assert said in caught.value.evidence


@pytest.mark.parametrize(
    "other",
    [
        {"model_version": 4},
        {"model_digest": "cd" * 32},
        {"engine": "vllm"},
        {"hardware": Hardware(accelerator="nvidia_l4", count=1)},
        {"adapter_base_digest": "ef" * 32},
    ],
)
def test_the_digest_changes_with_what_needs_a_new_process(other: dict[str, Any]) -> None:
    assert process_digest(replace(SPEC, **other)) != process_digest(SPEC)


@given(
    st.integers(0, 5),
    st.integers(1, 5),
    st.booleans(),
    st.text(max_size=30),
    st.one_of(st.none(), st.text(max_size=10)),
)
def test_a_record_is_read_as_it_was_written(least: int, more: int, stopped: bool, text: str, base: str | None) -> None:
    spec = replace(
        SPEC,
        autoscaling=Autoscaling(min_replicas=least, max_replicas=least + more),
        stopped=stopped,
        model_uri=text,
        adapter_base_uri=base,
    )
    assert parse_spec(json.loads(json.dumps(asdict(spec))), name="smol") == spec


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../../etc/passwd"}, "name: letters"),
        ({"name": "other"}, "it says 'other'"),
        ({"model_version": "3"}, "model_version"),
        ({"engin": "llamacpp"}, "engin: there is no such key"),
        ({"autoscaling": {"min_replicas": 2, "max_replicas": 1}}, "0 <= min_replicas <= max_replicas"),
        ({"autoscaling": {"min_replicas": -1, "max_replicas": 1}}, "0 <= min_replicas"),
        ({"autoscaling": {"min_replicas": 0, "max_replicas": 0}}, "from 1 to"),
        ({"autoscaling": {"min": 0}}, "autoscaling.min: there is no such key"),
        ({"hardware": {"accelerator": "cpu", "count": 0}}, "hardware.count"),
        ({"model_uri": None}, "model_uri"),
    ],
)
def test_wrong_specs_are_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_spec({**asdict(SPEC), **change}, name="smol")
    assert said in error.value.evidence


def test_a_spec_must_be_an_object() -> None:
    with pytest.raises(SpecError):
        parse_spec([], name="smol")


def test_a_record_of_an_earlier_version_holds_nothing_but_a_spec() -> None:
    record = parse_record(json.loads(json.dumps(asdict(SPEC))), name="smol")
    assert record.shares == {1: 100}
    assert record.main.spec == SPEC
    assert [entry.outcome for entry in record.journal.history] == ["serving"]
    assert parse_record(json.loads(json.dumps(asdict(record))), name="smol") == record


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"revisions": []}, "at least one"),
        ({"next_number": 1}, "below next_number"),
        ({"revisions": [{"number": 1, "first": 1, "share_percent": 60, "spec": asdict(SPEC)}]}, "add up to 100"),
        ({"revisions": [{"number": 1, "first": 1, "share_percent": 100, "spec": {"name": "smol"}}]}, "model_name"),
        ({"journal": {"history": [{"number": 1}]}}, "journal.history.0"),
    ],
)
def test_wrong_records_are_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_record({**json.loads(json.dumps(asdict(first_record(SPEC)))), **change}, name="smol")
    assert said in error.value.evidence


def test_records_survive_one_that_is_broken(tmp_path: Path) -> None:
    save_record(tmp_path, first_record(SPEC))
    (tmp_path / "half.json").write_text('{"name": "ha')
    (tmp_path / "odd.json").write_text('{"name": "odd"}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / ".smol.json.tmp123").write_text("left by a crash")
    found = load_records(tmp_path)
    assert found.sound == {"smol": first_record(SPEC)}
    assert set(found.broken) == {"half", "odd", "deep"}
    assert "model_name" in found.broken["odd"]
    delete_record(tmp_path, "smol")
    delete_record(tmp_path, "smol")
    assert load_records(tmp_path).sound == {}


def test_a_record_is_private(tmp_path: Path) -> None:
    save_record(tmp_path, first_record(SPEC))
    assert (tmp_path / "smol.json").stat().st_mode & 0o777 == 0o600


def test_keys_follow_their_file_and_survive_a_slip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "api-keys.json"
    file.write_text('{"default": "one"}')
    keys = Keys(file, parse_api_keys)
    assert keys.owner("Bearer one") == "default"
    assert keys.owner("bearer one") == "default"
    for wrong in (None, "", "Bearer", "Bearer ", "one", "Basic one", "Bearer on", "Bearer one two"):
        assert keys.owner(wrong) is None, wrong
    _rewrite(file, '{"default": "one", "ci": "two"}')
    assert keys.owner("Bearer two") == "ci"
    _rewrite(file, '{"default": "on')
    assert keys.owner("Bearer two") == "ci"
    _rewrite(file, '{"ci": "three"}')
    assert keys.owner("Bearer three") == "ci"
    assert keys.owner("Bearer one") is None
    logged = capsys.readouterr().out
    assert "keys_unreadable" in logged
    assert "three" not in logged


def test_an_empty_key_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "api-keys.json"
    file.write_text('{"default": ""}')
    assert Keys(file, parse_api_keys).owner("Bearer ") is None


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}'])
def test_no_gateway_starts_without_keys(tmp_path: Path, text: str) -> None:
    file = tmp_path / "api-keys.json"
    with pytest.raises(SpecError):
        Keys(file, parse_api_keys)
    file.write_text(text)
    with pytest.raises(SpecError):
        Keys(file, parse_api_keys)
    file.write_text(" \n")
    with pytest.raises(SpecError):
        Keys(file, parse_admin_key)


def test_an_unknown_model_names_the_nearest() -> None:
    said = api_errors.unknown_model("smoll", ["smol", "gemma"]).message
    assert "Did you mean 'smol'?" in said
    assert "Available: smol, gemma." in said
    assert "deploy up" in api_errors.unknown_model("smol", []).message
    assert len(api_errors.unknown_model("x" * 10_000, ["smol"] * 1000).message) < 1000


def test_an_error_event_can_follow_half_an_event() -> None:
    event = api_errors.engine_died("smol").event()
    assert event.startswith(b"\n\ndata: ")
    assert event.endswith(b"\n\n")
    assert set(json.loads(event.split(b"data: ")[1])["error"]) == {"message", "type", "param", "code"}


@given(st.lists(st.sampled_from([b"data: a", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"x"]), max_size=12).map(b"".join))
def test_only_whole_events_are_passed_on(data: bytes) -> None:
    end = whole_events(data)
    assert end == 0 or data[:end].endswith((b"\n\n", b"\r\n\r\n"))
    assert b"\n\n" not in data[end:]
    assert b"\r\n\r\n" not in data[end:]


def test_half_an_event_is_not_kept_for_ever() -> None:
    assert whole_events(b"x" * 2**21) == 2**21


def _rewrite(file: Path, text: str) -> None:
    """As an editor does: another file takes its place."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
