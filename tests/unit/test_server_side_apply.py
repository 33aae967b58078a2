"""Server-side apply as the API server's stand-in has it, together with our way around conflicts: properties."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.kubernetes_api.differences import differences
from ai_how.kubernetes_api.field_paths import without_fields
from ai_how.kubernetes_api.refusals import field_conflicts, read_refusal
from tests.functional.api_fields import from_fields_v1, to_fields_v1
from tests.functional.api_refusal import RefusalError
from tests.functional.api_store import ServedKind, Store

Object = dict[str, Any]
NAMES = st.sampled_from(["server", "proxy", "sidecar"])
VALUES = st.sampled_from(["1", "2", "3"])
LABELS = st.dictionaries(st.sampled_from(["app", "a.example.org/b", "tier"]), VALUES, min_size=1, max_size=3)
ENTRIES = st.dictionaries(st.sampled_from(["A", "B", "C"]), VALUES, max_size=3)
CONTAINERS = st.dictionaries(
    NAMES, st.fixed_dictionaries({"image": VALUES}, optional={"env": ENTRIES}), min_size=1, max_size=3
)
SPECS = st.fixed_dictionaries(
    {"containers": CONTAINERS, "labels": LABELS}, optional={"replicas": st.integers(0, 3), "paused": st.booleans()}
)


def deployment(spec: Object) -> Object:
    """A Deployment from a short description of it."""
    containers = [
        {
            "name": name,
            "image": content["image"],
            **({"env": [{"name": k, "value": v} for k, v in content["env"].items()]} if content.get("env") else {}),
        }
        for name, content in spec["containers"].items()
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x", "namespace": "default", "labels": dict(spec["labels"])},
        "spec": {
            **{key: spec[key] for key in ("replicas", "paused") if key in spec},
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": containers}},
        },
    }


def kind_of(store: Store) -> ServedKind:
    return store.kind_of("apps", "v1", "deployments")


def apply(store: Store, thing: Object, manager: str = "ai-how", *, force: bool = False, dry: bool = False) -> Object:
    return store.apply(kind_of(store), "default", thing, manager, force=force, dry=dry)


def live(store: Store) -> Object:
    return store.get(kind_of(store), "default", "x")


@given(SPECS)
@settings(max_examples=40)
def test_applying_twice_changes_nothing(spec: Object) -> None:
    store = Store()
    first = apply(store, deployment(spec))
    assert differences(first, apply(store, deployment(spec), dry=True)) == ()
    assert apply(store, deployment(spec)) == first


@given(SPECS, SPECS)
@settings(max_examples=40)
def test_what_is_applied_is_what_is_there(one: Object, other: Object) -> None:
    """Whatever was applied before, nothing of it is left that the newest lacks."""
    store = Store()
    apply(store, deployment(one))
    after = apply(store, deployment(other))
    wanted = deployment(other)
    assert after["metadata"]["labels"] == wanted["metadata"]["labels"]
    assert {key: after["spec"].get(key) for key in ("replicas", "paused")} == {
        key: wanted["spec"].get(key) for key in ("replicas", "paused")
    }
    assert containers(after) == containers(wanted)


@given(SPECS, SPECS, SPECS)
@settings(max_examples=40)
def test_what_another_owns_is_respected(ours: Object, theirs: Object, newer: Object) -> None:
    """Another manager takes what it wants; our next apply leaves it that, gives the rest, and is stable."""
    store = Store()
    apply(store, deployment(ours))
    taken = apply(store, deployment(theirs), "other", force=True)
    wanted = deployment(newer)
    sent = applied_around(store, wanted)
    after = live(store)
    assert shares(after, theirs)
    assert after["metadata"]["labels"].items() >= deployment(theirs)["metadata"]["labels"].items()
    for key in ("replicas", "paused"):
        expected = theirs.get(key, newer.get(key))
        assert after["spec"].get(key) == expected
    assert differences(after, apply(store, sent, dry=True)) == ()
    assert taken["metadata"]["uid"] == after["metadata"]["uid"]


def applied_around(store: Store, wanted: Object) -> Object:
    """Apply as ``object_plan`` does when fields are left to their owners; what was sent in the end."""
    sent = copy.deepcopy(wanted)
    for _ in range(5):
        try:
            apply(store, sent)
        except RefusalError as refusal:
            conflicts = field_conflicts(read_refusal(refusal.code, refusal.status))
            assert conflicts
            sent, missed = without_fields(sent, [conflict.path for conflict in conflicts])
            assert missed == []
        else:
            return sent
    raise AssertionError("it does not end")


def containers(thing: Object) -> dict[str, Any]:
    return {
        one["name"]: (one.get("image"), {entry["name"]: entry.get("value") for entry in one.get("env", [])})
        for one in thing["spec"]["template"]["spec"]["containers"]
    }


def shares(after: Object, theirs: Object) -> bool:
    """Images and variables of the other manager are as it wants them, though ours may stand beside."""
    found = containers(after)
    return all(
        found[name][0] == content["image"] and found[name][1].items() >= content.get("env", {}).items()
        for name, content in theirs["containers"].items()
    )


@given(SPECS)
@settings(max_examples=30)
def test_field_sets_survive_their_written_form(spec: Object) -> None:
    store = Store()
    (entry,) = apply(store, deployment(spec))["metadata"]["managedFields"]
    assert to_fields_v1(from_fields_v1(entry["fieldsV1"])) == entry["fieldsV1"]


def test_a_conflict_is_named_as_the_api_names_it() -> None:
    store = Store()
    spec = {"containers": {"server": {"image": "1", "env": {"A": "1"}}}, "labels": {"app": "1"}, "replicas": 1}
    apply(store, deployment(spec))
    other = {"containers": {"server": {"image": "2", "env": {"A": "2"}}}, "labels": {"app": "2"}, "replicas": 2}
    with pytest.raises(RefusalError) as caught:
        apply(store, deployment(other), "other")
    assert [cause["field"] for cause in caught.value.status["details"]["causes"]] == [
        ".metadata.labels.app",
        ".spec.replicas",
        '.spec.template.spec.containers[name="server"].env[name="A"].value',
        '.spec.template.spec.containers[name="server"].image',
    ]
