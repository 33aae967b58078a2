"""Kubernetes of a site's clusters in plans: when it is wanted, what would run, what goes first; no machine is asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from ai_how.apply.site_folder import SiteFolder, remove_folder
from ai_how.apply.state import State
from ai_how.errors import NotFoundError, ProviderError, SpecError, TryAgainError, WorldChangedError
from ai_how.kubernetes.cluster_of_site import ClusterMachines, SiteKubernetes
from ai_how.kubernetes.kubeconfig import kubeconfig_text
from ai_how.kubernetes.merging import Merge
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.remembered import recall, remember
from ai_how.kubernetes_api.kubeconfig import access_from_text
from ai_how.plan.compute import compute_plan
from ai_how.plan.model import Condition, Observed, Plan, Resource, Verb, settings_digest
from ai_how.site.load import check_site_text
from tests.fake_cluster import admin_conf, cluster_of
from tests.kubernetes_nodes import nodes_of

NODES = nodes_of("four-machines")
NAMES = [node.name for node in NODES]
NAME = "kubernetes/cloud"
SITE = "name: lab\nprovider: libvirt\nclusters: {cloud: {KUBERNETES}}\n"


def kubernetes(folder: Path, section: str = "", *, pins: str = "") -> SiteKubernetes:
    site, mistakes = check_site_text(SITE.replace("KUBERNETES", section) + pins, folder / "ai-how.yaml")
    assert site is not None, mistakes
    kept = SiteFolder(root=folder / "site")
    return SiteKubernetes(
        site,
        folder / "ai-how.yaml",
        folder=kept,
        state=State(kept, "lab"),
        machine_of=lambda node: f"machine/{node}",
    )


def machines(
    nodes: Sequence[ClusterNode] = NODES, *, there: Sequence[str] | None = None, runs: bool = True
) -> ClusterMachines:
    there = [node.name for node in nodes] if there is None else there
    return ClusterMachines(cluster="cloud", nodes=tuple(nodes), there=frozenset(there), runs=runs)


def plan(one: SiteKubernetes, *clusters: ClusterMachines, standing: Sequence[str] = NAMES) -> Plan:
    wanted = [Resource(name=f"machine/{node.name}") for each in clusters for node in each.nodes]
    observed = {
        f"machine/{name}": Observed(name=f"machine/{name}", condition=Condition.HEALTHY, settings={})
        for name in standing
    }
    made = compute_plan("lab", [*wanted, *one.resources(clusters)], {**observed, **one.observed(clusters)})
    return one.explained(made, clusters)


def set_up(one: SiteKubernetes, *, nodes: Sequence[ClusterNode] = NODES) -> None:
    """As it is recorded when all playbooks ended well and the cluster was seen ready."""
    state = one.setups([machines(nodes)])["cloud"].state
    one.state.record(NAME, state.to_settings())
    one.state.record("kubernetes-ready/cloud", {"settings": settings_digest(state.to_settings())})
    kubeconfig = one.kubeconfig("cloud")
    access = access_from_text(admin_conf(), source="s", folder=Path("/"))
    kubeconfig.path.parent.mkdir(parents=True, exist_ok=True)
    kubeconfig.path.write_text(kubeconfig_text(access, name=kubeconfig.context, node=nodes[0]))


def said(made: Plan) -> dict[str, tuple[Verb, str]]:
    return {action.resource: (action.verb, action.reason) for action in made.actions}


def test_a_new_cluster_waits_for_its_machines(tmp_path: Path) -> None:
    made = plan(kubernetes(tmp_path), machines(there=[]), standing=[])
    assert said(made)[NAME] == (Verb.CREATE, "cluster.yml: does not exist yet")
    (action,) = [action for action in made.actions if action.resource == NAME]
    assert set(action.after) == {f"machine/{name}" for name in NAMES}


def test_one_that_is_set_up_is_left_alone(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    assert plan(one, machines()).empty


def test_a_cluster_that_was_set_up_but_not_seen_ready_is_asked_again(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    one.state.record("kubernetes-ready/cloud", None)
    assert said(plan(one, machines())) == {NAME: (Verb.REPAIR, "has not been seen ready since it was set up")}


def test_a_kubeconfig_that_is_missing_is_fetched_again_without_a_playbook(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    one.kubeconfig("cloud").path.unlink()
    assert said(plan(one, machines())) == {NAME: (Verb.REPAIR, "its kubeconfig is missing")}


def test_machines_that_were_off_are_waited_for_without_a_playbook(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    made = plan(one, replace(machines(), off=frozenset(NAMES[:2])))
    assert said(made) == {NAME: (Verb.REPAIR, f"has to be ready again: {', '.join(NAMES[:2])} were off")}


def test_a_lost_node_or_a_change_comes_before_what_the_cluster_says(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    one.state.record("kubernetes-ready/cloud", None)
    one.made_again("cloud", NAMES[-1])
    assert said(plan(one, machines()))[NAME][1].startswith("remove-node.yml")


@pytest.mark.parametrize("section", ["kubernetes: {enabled: false}", "kind: hpc"])
def test_a_cluster_without_kubernetes_has_none(tmp_path: Path, section: str) -> None:
    assert kubernetes(tmp_path, section).resources([machines()]) == []


def test_a_node_is_drained_before_its_machine_goes(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    made = plan(one, machines(NODES[:-1], there=NAMES))
    gone = NAMES[-1]
    assert said(made)[NAME] == (Verb.UPDATE, f"remove-node.yml: {gone} is drained and removed")
    deletion = next(action for action in made.actions if action.resource == f"machine/{gone}")
    assert NAME in deletion.after


def test_a_new_worker_is_named_with_its_playbooks(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one, nodes=NODES[:-1])
    _, reason = said(plan(one, machines()))[NAME]
    assert reason == f"facts.yml: facts of all nodes; scale.yml: {NAMES[-1]} is added"


def test_a_machine_that_was_made_again_is_replaced_although_it_is_there(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    one.made_again("cloud", NAMES[-1])
    one.made_again("cloud", NAMES[-1])
    one.made_again("cloud", "cloud-new-1")
    _, reason = said(plan(one, machines()))[NAME]
    assert reason.startswith(f"remove-node.yml: {NAMES[-1]} is lost; facts.yml")
    assert reason.endswith(f"scale.yml: {NAMES[-1]} is added")


def test_a_machine_that_is_gone_is_lost(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    _, reason = said(plan(one, machines(there=NAMES[:-1])))[NAME]
    assert reason.startswith(f"remove-node.yml: {NAMES[-1]} is lost")


def test_with_all_machines_the_cluster_is_gone_and_made_anew(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    assert said(plan(one, machines(there=[])))[NAME][1] == "cluster.yml: does not exist yet"


def test_the_first_control_plane_is_not_given_up(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    with pytest.raises(SpecError, match="first control plane"):
        plan(one, machines(there=NAMES[1:]))


def test_a_cluster_that_is_stopped_keeps_what_it_has(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    assert NAME not in said(plan(one, machines(runs=False)))
    set_up(one)
    assert plan(one, machines(NODES[:-1], there=NAMES, runs=False), standing=NAMES[:-1]).empty


def test_a_cluster_that_is_no_longer_asked_for_goes_before_its_machines(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    other = kubernetes(tmp_path, "kind: hpc")
    made = plan(other)
    assert said(made)[NAME] == (Verb.DELETE, "the site file no longer asks for it")
    assert all(NAME in action.after for action in made.actions if action.resource != NAME)
    action = next(action for action in made.actions if action.resource == NAME)
    assert other.perform(action, None, ()) == "gone with its machines"
    assert other.recorded() == {}


def test_kubernetes_that_is_left_out_later_is_taken_off_with_a_word_about_what_is_lost(tmp_path: Path) -> None:
    set_up(kubernetes(tmp_path))
    verb, reason = said(plan(kubernetes(tmp_path, "kubernetes: {enabled: false}"), machines()))[NAME]
    assert verb == Verb.DELETE
    assert reason.startswith("reset.yml: all that runs on it is lost")


def test_a_plan_for_another_site_file_is_refused(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    made = plan(one, machines())
    other = kubernetes(tmp_path, "kubernetes: {pod_cidr: 10.64.0.0/16}")
    with pytest.raises(WorldChangedError, match="changed since the plan"):
        other.perform(made.actions[0], made.resource(NAME), [machines()])


def test_another_version_comes_with_the_upgrade_playbook(tmp_path: Path) -> None:
    older = kubernetes(tmp_path, pins='pins: {kubernetes: "1.34"}\n')
    set_up(older)
    assert said(plan(kubernetes(tmp_path), machines()))[NAME][1].startswith("upgrade-cluster.yml: Kubernetes 1.34.")


def test_nodes_are_remembered_until_they_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "nodes.json"
    assert recall(file) == ()
    remember(file, NODES)
    moved = replace(NODES[0], address="192.168.200.99")
    remember(file, [moved])
    assert set(recall(file)) == {moved, *NODES[1:]}
    file.write_text('{"nodes": [{"name": "a"}]}')
    assert recall(file) == ()


def status(one: SiteKubernetes, *clusters: ClusterMachines) -> dict[str, tuple[Condition, str]]:
    return {each.name: (each.condition, each.detail) for each in one.components(clusters)}


def test_status_shows_the_cluster_and_its_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, api = kubernetes(tmp_path), cluster_of(NODES)
    monkeypatch.setattr("ai_how.kubernetes.status.open_api", lambda *_words, **_options: nullcontext(api))
    assert status(one, machines()) == {NAME: (Condition.ABSENT, "is not set up yet")}
    set_up(one)
    whole = status(one, machines())
    assert whole.pop(NAME) == (Condition.HEALTHY, "")
    assert whole == {f"{NAME}/{name}": (Condition.HEALTHY, "") for name in NAMES}
    del api.nodes[-1]
    broken = status(one, machines())
    assert broken[NAME] == (Condition.FAILING, "1 of 4 nodes are not ready")
    assert broken[f"{NAME}/{NAMES[-1]}"] == (Condition.FAILING, "is no node of the cluster")


def test_status_names_what_of_kubernetes_own_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, api = kubernetes(tmp_path), cluster_of(NODES)
    monkeypatch.setattr("ai_how.kubernetes.status.open_api", lambda *_words, **_options: nullcontext(api))
    set_up(one)
    network = {"observedGeneration": 1, "desiredNumberScheduled": 4, "updatedNumberScheduled": 4, "numberAvailable": 3}
    names = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    api.workloads = [
        {"kind": "DaemonSet", "metadata": {"name": "calico-node", "namespace": "kube-system"}, "status": network},
        {"kind": "Deployment", "metadata": {"name": "coredns", "namespace": "kube-system"}, "status": names},
        {"kind": "Deployment", "metadata": {"name": "other", "namespace": "mine"}, "status": {}},
    ]
    api.workloads[1]["spec"] = {"replicas": 2}
    found = one.components([machines()])
    assert (found[0].name, found[0].condition) == (NAME, Condition.FAILING)
    why = "daemonset/calico-node of kube-system does not work: 3 of 4 pods are available"
    assert found[0].detail == why
    assert found[0].remedy == "kubectl -n kube-system describe daemonset/calico-node"
    assert {each.condition for each in found[1:]} == {Condition.HEALTHY}
    names["availableReplicas"] = 0
    assert status(one, machines())[NAME] == (Condition.FAILING, f"{why}; nor does 1 more")
    # a node that is away takes its pods with it
    del api.nodes[-1]
    assert status(one, machines())[NAME] == (Condition.FAILING, "1 of 4 nodes are not ready")
    api.nodes = cluster_of(NODES).nodes
    network["numberAvailable"], names["availableReplicas"] = 4, 2
    assert status(one, machines())[NAME] == (Condition.HEALTHY, "")


def test_status_of_an_api_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = kubernetes(tmp_path)
    set_up(one)

    def refuse(*_words: object, **_options: object) -> None:
        raise TryAgainError("nothing listens there", next_step="see whether it runs")

    monkeypatch.setattr("ai_how.kubernetes.status.open_api", refuse)
    (found,) = one.components([machines()])
    assert found.condition is Condition.FAILING
    assert found.detail == "its API server cannot be asked: nothing listens there"
    assert found.remedy == "ai-how up"


def test_status_of_a_cluster_that_is_stopped_asks_nobody(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    assert one.components([machines(runs=False)]) == []
    set_up(one)
    (found,) = one.components([machines(runs=False)])
    assert (found.condition, found.address) == (Condition.HEALTHY, "stopped")


def test_the_newest_log_is_shown(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    assert one.log_of("cloud-cpu-worker-1") is None
    with pytest.raises(NotFoundError, match="no playbook has run for kubernetes/cloud"):
        one.log_of(NAME)
    logs = one.folder.logs
    logs.mkdir(parents=True)
    for name in ("cloud-20300101T000000", "cloud-20300102T000000", "cloud-two-20300103T000000"):
        (logs / f"kubespray-{name}.log").touch()
    assert one.log_of(NAME) == logs / "kubespray-cloud-20300102T000000.log"
    assert one.log_of(f"{NAME}/{NAMES[0]}") == one.log_of(NAME)


def test_removing_takes_our_context_out_of_the_users_file(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    Merge(one.kubeconfig("cloud")).add(tmp_path / "config")
    assert one.remove(lambda _doing: None) == []
    assert "lab-cloud" not in (tmp_path / "config").read_text()
    assert remove_folder(one.folder) == []


def test_removing_tells_what_the_user_changed(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    Merge(one.kubeconfig("cloud")).add(tmp_path / "config")
    (tmp_path / "config").write_text("[")
    assert one.remove(lambda _doing: None) == [
        f"context lab-cloud: {tmp_path / 'config'} is not YAML: nothing was changed"
    ]


def test_a_node_whose_way_is_forgotten_cannot_be_drained(tmp_path: Path) -> None:
    one = kubernetes(tmp_path)
    set_up(one)
    fewer = [machines(NODES[:-1], there=NAMES)]
    made = plan(one, *fewer)
    with pytest.raises(ProviderError, match="how cloud-gpu-worker-2 was reached is not known") as caught:
        one.perform(made.actions[0], made.resource(NAME), fewer)
    assert "put it back" in caught.value.next_step
