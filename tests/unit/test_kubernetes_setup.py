"""What is wanted of a cluster as a resource of the plan: it changes when it must, and says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.playbooks import SCALE, steps
from ai_how.kubernetes.setup import Setup, setup_of
from ai_how.plan.compute import compute_plan
from ai_how.plan.model import Verb
from ai_how.site.kubernetes import Kubernetes
from tests.kubernetes_nodes import SECRETS, VERSIONS, nodes_of


def setup(
    *,
    before: Setup | None = None,
    nodes: list[ClusterNode] | None = None,
    kubernetes: str = "1.35.4",
    wanted: Kubernetes | None = None,
) -> Setup:
    return setup_of(
        "cloud",
        wanted or Kubernetes(),
        nodes or nodes_of("four-machines"),
        versions={**VERSIONS, "kubespray": "2.31.0", "kubernetes": kubernetes},
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
    ((verb, reason),) = planned(setup(before=setup(kubernetes="1.34.7")))
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


def test_another_variable_is_a_change_of_settings() -> None:
    after = setup(before=setup(), wanted=Kubernetes(extra_vars={"kubelet_max_pods": 200}))
    assert [step.reason for step in steps(after.recorded, after.state)] == ["settings changed"]
