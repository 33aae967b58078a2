"""Virtual machines as the nodes that Kubernetes is set up on, on libvirt's own test driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_how.machines.desired import resources
from ai_how.machines.keys import KeyPair
from ai_how.machines.provider import LibvirtProvider
from ai_how.plan.compute import compute_plan
from ai_how.plan.model import Plan, Verb
from tests.libvirt_test_driver import TestHost, new_test_host

SITE = """name: lab
provider: libvirt
virtualization: emulated
hosts:
- name: one
  declared: {cores: 32, memory_gib: 128, disk_gib: 4000}
clusters:
  cloud:
    START
    nodes:
    - {role: control-plane, vcpus: 2, memory_gib: 2, disk_gib: 8}
    - {role: cpu-worker, count: COUNT, vcpus: 2, memory_gib: 3, disk_gib: 8}
  hpc:
    kind: hpc
    nodes: [{role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 8}]
"""
CONTROL, FIRST, SECOND = "cloud-control-plane-1", "cloud-cpu-worker-1", "cloud-cpu-worker-2"
NAME = "kubernetes/cloud"


def text(count: int = 2, start: str = "start: always") -> str:
    return SITE.replace("COUNT", str(count)).replace("START", start)


def host(folder: Path, monkeypatch: pytest.MonkeyPatch, *, start: str = "start: always") -> TestHost:
    return new_test_host(folder, text(start=start), monkeypatch)


def plan(one: TestHost) -> Plan:
    """The part of a plan that is about Kubernetes and the machines that go; the driver cannot be asked for more."""
    provider = one.provider
    sight = provider.look
    made = compute_plan("lab", provider.kubernetes.resources(sight.clusters), sight.observed)
    return provider.kubernetes.explained(made, sight.clusters)


def test_nodes_are_the_machines_of_the_cloud_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = host(tmp_path, monkeypatch)
    one.domain(FIRST).create()
    (cluster,) = one.provider.look.clusters
    assert (cluster.cluster, cluster.runs) == ("cloud", True)
    assert {node.name: (node.role, node.address, node.memory_gib) for node in cluster.nodes} == {
        CONTROL: ("control-plane", "192.168.200.10", 2),
        FIRST: ("cpu-worker", "192.168.200.91", 3),
        SECOND: ("cpu-worker", "192.168.200.92", 3),
    }
    assert {CONTROL, FIRST, SECOND} <= cluster.there
    assert {CONTROL, SECOND} <= cluster.off
    assert FIRST not in cluster.off
    access = cluster.nodes[0].access
    assert (access.user, access.known_hosts) == ("ai-how", one.provider.keys.known_hosts)


def test_a_cluster_that_is_started_by_hand_waits_for_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = host(tmp_path, monkeypatch, start="start: manual")
    assert one.provider.look.clusters[0].runs is False
    assert [action for action in plan(one).actions if action.resource == NAME] == []


def test_a_machine_goes_after_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = host(tmp_path, monkeypatch)
    provider = one.provider
    state = provider.kubernetes.setups(provider.look.clusters)["cloud"].state
    provider.state.record(NAME, state.to_settings())
    one.site_file.write_text(text(count=1))
    made = {action.resource: action for action in plan(one).actions}
    assert made[NAME].reason == f"remove-node.yml: {SECOND} is drained and removed"
    assert made[f"machine/{SECOND}"].verb is Verb.DELETE
    assert NAME in made[f"machine/{SECOND}"].after


def perform(provider: LibvirtProvider, name: str) -> None:
    """Do one action of the plan for machines."""
    made = compute_plan("lab", resources(provider.look.wanted), provider.look.observed)
    action = next(each for each in made.actions if each.resource == name)
    provider.perform(action, made.resource(name))


def test_a_node_is_lost_from_before_its_disk_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = host(tmp_path, monkeypatch)
    provider = one.provider
    state = provider.kubernetes.setups(provider.look.clusters)["cloud"].state
    provider.state.record(NAME, state.to_settings())
    pool = one.connect.storagePoolLookupByName(one.wanted.pool)
    pool.storageVolLookupByName(f"{SECOND}.qcow2").delete()

    def killed(*_words: object, **_options: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("ai_how.machines.provider.ensure_machine_disk", killed)
    with pytest.raises(KeyboardInterrupt):
        perform(one.provider, f"disk/{SECOND}")
    assert one.provider.kubernetes.recorded()["cloud"]["lost"] == [SECOND]


def test_keys_of_machines_that_leave_stay_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = host(tmp_path, monkeypatch)
    one.site_file.write_text(text(count=1))

    def make_key(pair: KeyPair) -> None:
        pair.private.touch()
        pair.public_file.write_text(f"ssh-ed25519 {pair.private.name}")

    monkeypatch.setattr("ai_how.machines.keys.make_key", make_key)
    perform(one.provider, "keys")
    known = one.provider.keys.known_hosts.read_text().splitlines()
    assert f"192.168.200.92 ssh-ed25519 {SECOND}" in known
