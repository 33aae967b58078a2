"""Which playbooks run: no more than is needed, in an order that can be broken off anywhere, never what breaks etcd."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ai_how.errors import SpecError
from ai_how.kubernetes.playbooks import (
    CLUSTER,
    REMOVE,
    SCALE,
    UPGRADE,
    ClusterState,
    Step,
    network_first,
    steps,
    wanted_state,
)

THREE = {"control-plane-1": "control-plane", "cpu-worker-1": "cpu-worker", "gpu-worker-1": "gpu-worker"}


def state(nodes: dict[str, str] | None = None, **changes: object) -> ClusterState:
    recorded = changes.pop("recorded", None)
    given = {"kubespray": "2.31.0", "kubernetes": "1.35.3", "digest": "a", **changes}
    return wanted_state(recorded, nodes=nodes or THREE, **given)  # type: ignore[arg-type]


def names(found: tuple[Step, ...]) -> list[str]:
    return [step.playbook for step in found]


def control_planes(count: int) -> dict[str, str]:
    return {f"control-plane-{number}": "control-plane" for number in range(1, count + 1)}


def test_a_new_cluster_is_one_playbook() -> None:
    (step,) = steps(None, state())
    assert (step.playbook, step.limit, step.nodes) == (CLUSTER, (), tuple(THREE))


def test_the_network_comes_first_only_where_a_set_up_never_came_to_it() -> None:
    task = "Wait for new control plane nodes to be Ready"
    (step,) = steps(None, state())
    first = network_first(step, None, task)
    assert first is not None
    assert (first.playbook, first.tags, first.nodes, first.limit) == (CLUSTER, ("network",), step.nodes, ())
    assert network_first(step, None, "Wait for kube-apiserver") is None
    assert network_first(step, state(), task) is None
    assert network_first(replace(step, playbook=UPGRADE), None, task) is None


def test_nothing_changed_runs_nothing() -> None:
    assert steps(state(), state()) == ()


def test_new_workers_leave_the_others_alone() -> None:
    more = {**THREE, "gpu-worker-10": "gpu-worker", "gpu-worker-2": "gpu-worker"}
    facts, scale = steps(state(), state(more))
    assert (scale.playbook, scale.limit) == (SCALE, ("gpu-worker-2", "gpu-worker-10"))
    assert facts.limit == ()


def test_a_worker_is_drained_with_itself_in_the_inventory() -> None:
    fewer = {name: role for name, role in THREE.items() if name != "gpu-worker-1"}
    (step,) = steps(state(), state(fewer))
    assert step.playbook == REMOVE
    assert "gpu-worker-1" in step.nodes
    assert dict(step.extra_vars) == {"node": "gpu-worker-1", "skip_confirmation": True}
    assert set(step.after.nodes) == set(fewer)


def test_a_lost_worker_is_removed_undrained_and_added_again() -> None:
    found = steps(state(), state(), lost={"gpu-worker-1"})
    assert names(found)[0::2] == [REMOVE, SCALE]
    assert found[0].extra_vars["reset_nodes"] is False
    assert found[-1].limit == ("gpu-worker-1",)


def test_an_upgrade_and_a_new_worker() -> None:
    more = {**THREE, "gpu-worker-2": "gpu-worker"}
    found = steps(state(), state(more, kubernetes="1.35.4"))
    assert [names(found)[0], names(found)[-1]] == [UPGRADE, SCALE]
    assert "gpu-worker-2" not in found[0].nodes


def test_changed_settings_run_the_whole() -> None:
    (step,) = steps(state(), state(digest="b"))
    assert (step.playbook, step.reason) == (CLUSTER, "settings changed")


def test_a_node_whose_own_settings_changed_is_told() -> None:
    before, after = (dict.fromkeys(THREE, digest) for digest in "xy")
    (step,) = steps(state(node_digests=before), state(node_digests={**before, "gpu-worker-1": after["gpu-worker-1"]}))
    assert (step.playbook, step.reason) == (CLUSTER, "nodes' settings changed")


def test_more_control_planes_come_last_and_need_the_whole() -> None:
    before = state(control_planes(1) | {"cpu-worker-1": "cpu-worker"})
    after = state(control_planes(3) | {"cpu-worker-1": "cpu-worker"}, recorded=before)
    assert after.control_planes == ("control-plane-1", "control-plane-2", "control-plane-3")
    assert names(steps(before, after)) == [CLUSTER]


def test_the_others_hear_of_a_removed_control_plane_even_after_a_break() -> None:
    before = state(control_planes(3) | {"cpu-worker-1": "cpu-worker"})
    wanted = state(control_planes(1) | {"cpu-worker-1": "cpu-worker"}, recorded=before)
    found = steps(before, wanted)
    assert names(found) == [REMOVE, REMOVE, CLUSTER]
    assert names(steps(found[1].after, wanted)) == [CLUSTER]
    assert found[-1].after.complete


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"kubernetes": "1.35.3"}, {"kubernetes": "1.35.2"}, "Kubernetes cannot go back from 1.35.3 to 1.35.2"),
        ({"kubernetes": "1.33.1"}, {"kubernetes": "1.35.1"}, "one minor version at a time, not from 1.33.1 to 1.35.1"),
        ({"kubernetes": "1.35.1"}, {"kubernetes": "2.0.0"}, "one minor version at a time"),
        ({"kubespray": "2.29.0"}, {"kubespray": "2.31.0"}, "Kubespray goes one minor version at a time"),
        ({"kubespray": "2.31.0"}, {"kubespray": "2.30.0"}, "Kubespray cannot go back"),
    ],
)
def test_jumps_are_refused(before: dict[str, str], after: dict[str, str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        steps(state(**before), state(**after))


def test_the_first_control_plane_stays() -> None:
    before = state(control_planes(3) | {"w": "cpu-worker"})
    without = {name: role for name, role in before.nodes.items() if name != "control-plane-1"}
    with pytest.raises(SpecError, match="control-plane-1 is the cluster's first control plane"):
        steps(before, state(without, recorded=before))
    with pytest.raises(SpecError, match="control-plane-1 is the cluster's first control plane"):
        steps(before, before, lost={"control-plane-1"})


def test_address_ranges_stay() -> None:
    with pytest.raises(SpecError) as caught:
        steps(state(ranges={"pod_cidr": "10.0.0.0/16"}), state(ranges={"pod_cidr": "10.1.0.0/16"}))
    assert caught.value.evidence == "pod_cidr: 10.0.0.0/16 -> 10.1.0.0/16"


def test_without_a_majority_nothing_is_touched() -> None:
    before = state(control_planes(3) | {"w": "cpu-worker"})
    with pytest.raises(SpecError, match="etcd has lost its majority"):
        steps(before, before, lost={"control-plane-2", "control-plane-3"})


WORKERS = st.dictionaries(
    st.from_regex(r"w-[1-9]", fullmatch=True), st.sampled_from(["cpu-worker", "gpu-worker"]), min_size=1, max_size=4
)
STATES = st.builds(
    lambda count, workers, patch, digest, own: state(
        control_planes(count) | workers,
        kubernetes=f"1.35.{patch}",
        digest=digest,
        node_digests=dict.fromkeys(control_planes(count) | workers, own),
    ),
    st.sampled_from([1, 3, 5]),
    WORKERS,
    st.integers(1, 3),
    st.sampled_from("ab"),
    st.sampled_from("xy"),
)


@given(before=st.none() | STATES, after=STATES, data=st.data())
def test_any_change_arrives_even_when_it_is_broken_off_anywhere(
    before: ClusterState | None, after: ClusterState, data: st.DataObject
) -> None:
    assume(before is None or after.kubernetes >= before.kubernetes)
    now = before
    for attempt in range(12):
        wanted = replace(after, control_planes=wanted_state(now, **_given(after)).control_planes)
        found = steps(now, wanted)
        if not found:
            break
        _check_rules(found)
        # broken off again and again, but not for ever: facts alone bring nothing further
        for step in found[: data.draw(st.integers(1, len(found))) if attempt < 8 else len(found)]:
            now = step.after
    assert now is not None
    assert (dict(now.nodes), now.kubernetes, now.digest) == (dict(after.nodes), after.kubernetes, after.digest)
    assert dict(now.node_digests) == dict(after.node_digests)
    assert now.complete
    assert steps(now, wanted) == ()


def _given(wanted: ClusterState) -> dict[str, object]:
    return {key: getattr(wanted, key) for key in ("kubespray", "kubernetes", "nodes", "digest", "node_digests")}


def _check_rules(found: tuple[Step, ...]) -> None:
    for step in found:
        assert step.after.control_planes[0] == "control-plane-1"
        assert set(step.limit) <= set(step.nodes)
        if step.playbook == REMOVE:
            assert step.extra_vars["node"] in step.nodes
            assert step.extra_vars["node"] not in step.after.nodes
        else:
            assert set(step.after.nodes) <= set(step.nodes)


@given(STATES)
def test_a_state_survives_json(one: ClusterState) -> None:
    assert ClusterState.from_settings(json.loads(json.dumps(one.to_settings()))) == one
