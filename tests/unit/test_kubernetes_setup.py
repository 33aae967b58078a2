"""What is wanted of a cluster as a resource of the plan: it changes when it must, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ai_how.errors import SpecError
from ai_how.kubernetes.playbooks import SCALE, steps
from ai_how.kubernetes.setup import Setup, setup_of
from ai_how.kubernetes.versions import versions_of
from ai_how.plan.compute import compute_plan
from ai_how.plan.model import Verb
from ai_how.site.kubernetes import Kubernetes
from tests.kubernetes_nodes import SECRETS, nodes_of


def setup(wanted: Kubernetes | None = None, *, before: Setup | None = None, **changes: object) -> Setup:
    wanted = wanted or Kubernetes()
    return setup_of(
        "cloud",
        wanted,
        changes.pop("nodes", nodes_of("four-machines")),  # type: ignore[arg-type]
        versions=versions_of(wanted),
        recorded=before.state.to_settings() if before else None,
        credentials_dir=SECRETS,
        site_folder=Path("/site"),
    )


def planned(after: Setup, lost: tuple[str, ...] = ()) -> list[tuple[Verb, str]]:
    plan = compute_plan("lab", [after.resource(["machine/a"])], {after.name: after.observed(lost)})
    return [(action.verb, action.reason) for action in plan.actions]


def test_it_is_made_once_and_then_left_alone() -> None:
    assert planned(setup())[0][0] == Verb.CREATE
    assert planned(setup(before=setup())) == []


def test_another_version_is_named_in_the_plan() -> None:
    older = Kubernetes(pins=["kubernetes=1.34.7"])
    ((verb, reason),) = planned(setup(before=setup(older)))
    assert verb == Verb.UPDATE
    assert "kubernetes: 1.34.7 -> 1.35.4" in reason


def test_a_new_worker_is_added_without_touching_the_others() -> None:
    nodes = nodes_of("four-machines")
    after = setup(before=setup(nodes=nodes[:-1]))
    found = steps(after.recorded, after.state)
    assert (found[-1].playbook, found[-1].limit) == (SCALE, ("cloud-gpu-worker-2",))


def test_the_first_cpu_worker_changes_what_gpu_workers_are_told() -> None:
    nodes = [node for node in nodes_of("four-machines") if node.role != "cpu-worker"]
    after = setup(before=setup(nodes=nodes))
    assert steps(after.recorded, after.state)[-1].reason == "nodes' settings changed"


def test_how_a_node_is_reached_is_no_change_of_kubernetes() -> None:
    moved = [
        replace(node, access=replace(node.access, jump="admin@elsewhere", port=2222))
        for node in nodes_of("four-machines")
    ]
    assert planned(setup(nodes=moved, before=setup())) == []


def test_a_lost_node_is_repaired() -> None:
    assert planned(setup(before=setup()), lost=("cloud-gpu-worker-1",)) == [
        (Verb.REPAIR, "lost: cloud-gpu-worker-1"),
    ]


def test_pins_replace_versions_of_the_set() -> None:
    found = versions_of(Kubernetes(pins=["kubernetes=1.34.7"]))
    assert (found["kubernetes"], found["kubespray"]) == ("1.34.7", "2.31.0")
    assert versions_of(Kubernetes())["kubernetes"] == "1.35.4"


def test_pins_that_clash_are_refused_with_the_clash() -> None:
    with pytest.raises(SpecError) as caught:
        versions_of(Kubernetes(pins=["kubernetes=1.28.0"]))
    assert "do not go together with release set current" in caught.value.brief
    assert "kubernetes=1.28.0 (kubernetes.pins) and " in caught.value.evidence
    assert caught.value.next_step == "ai-how versions check --pin kubernetes=1.28.0"
