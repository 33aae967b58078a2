"""Inventory and variables of Kubespray: groups, order, labels, reservations, what a user may say and what not."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ai_how.errors import SpecError
from ai_how.kubernetes.group_vars import FIXED, OWN_KEYS, ClusterVars, all_vars, cluster_vars, names_in
from ai_how.kubernetes.inventory import inventory, inventory_text, ssh_arguments
from ai_how.kubernetes.nodes import GPU_TAINT, label_value, natural
from ai_how.kubernetes.reservations import reservation
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.site.kubernetes import Kubernetes
from tests.kubernetes_nodes import SECRETS, VERSIONS, access, nodes_of


def decided() -> ClusterVars:
    return cluster_vars(Kubernetes(), VERSIONS, credentials_dir=SECRETS)


def test_etcd_is_on_the_control_planes_and_new_ones_come_last() -> None:
    first = ("cloud-control-plane-3", "cloud-control-plane-1")
    groups = inventory(nodes_of("high-availability"), first=first)["all"]["children"]
    assert list(groups["kube_control_plane"]["hosts"]) == [*first, "cloud-control-plane-2"]
    assert groups["etcd"] == groups["kube_control_plane"]
    assert list(groups["kube_node"]["hosts"]) == ["cloud-cpu-worker-1", "cloud-gpu-worker-1"]


def test_gpu_workers_are_kept_free_only_where_something_else_takes_the_rest() -> None:
    with_others = inventory(nodes_of("four-machines"))["all"]["hosts"]
    alone = inventory(nodes_of("minimal"))["all"]["hosts"]
    assert with_others["cloud-gpu-worker-1"]["node_taints"] == [GPU_TAINT]
    assert "node_taints" not in with_others["cloud-cpu-worker-1"]
    assert "node_taints" not in alone["cloud-gpu-worker-1"]


def test_only_the_pinned_host_key_counts_also_behind_a_jump() -> None:
    words = shlex.split(ssh_arguments(access("192.0.2.7", jump="admin@big host")))
    assert "StrictHostKeyChecking=yes" in words
    assert "UserKnownHostsFile=/site/secrets/ssh/known_hosts" in words
    assert words[-1] == "ProxyCommand=ssh -o BatchMode=yes -W %h:%p 'admin@big host'"


def test_the_inventory_reads_back_as_it_was_meant() -> None:
    nodes = nodes_of("four-machines")
    assert YAML(typ="safe").load(inventory_text(nodes)) == inventory(nodes)


@pytest.mark.parametrize("name", [*OWN_KEYS, *FIXED])
def test_what_has_a_key_of_its_own_is_not_an_extra_variable(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        all_vars(decided(), {name: "x"})
    assert name in caught.value.brief
    assert OWN_KEYS.get(name, "rely on") in caught.value.evidence


def test_the_users_variables_win() -> None:
    found = all_vars(decided(), {"kube_proxy_mode": "nftables", "kubelet_max_pods": 200})
    assert (found["kube_proxy_mode"], found["kubelet_max_pods"]) == ("nftables", 200)


def test_every_name_but_ansibles_own_is_to_be_checked() -> None:
    names = names_in(inventory(nodes_of("four-machines")), all_vars(decided(), {"mine": 1}))
    assert {"mine", "ip", "node_labels", "kube_version"} <= set(names)
    assert not [name for name in names if name.startswith("ansible_")]


def test_a_reservation_of_the_resource_requirements_nodes() -> None:
    # 25 % of 4 GiB, 20 % of 4, 10 % of 8: 2.6 GiB of the CPU worker's 16
    kept = reservation(16)
    assert kept.kube_memory_mib + kept.system_memory_mib == int(2.6 * 1024)


@given(st.floats(0.5, 4096), st.floats(0.5, 4096))
def test_a_larger_node_keeps_more_and_a_smaller_part(one: float, other: float) -> None:
    small, large = sorted((one, other))
    kept = [reservation(size) for size in (small, large)]
    less, more = (each.kube_memory_mib + each.system_memory_mib for each in kept)
    assert less <= more
    assert more / large <= less / small + 0.001 * 1024 / small


@given(st.text(max_size=200))
def test_any_text_becomes_a_label(text: str) -> None:
    assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", label_value(text))


def test_names_sort_by_their_numbers() -> None:
    assert sorted(["n-10", "n-9", "n", "m-11"], key=natural) == ["m-11", "n", "n-9", "n-10"]


SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(min_codepoint=32, max_codepoint=126))
KEYS = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)


@settings(max_examples=30)
@given(st.dictionaries(KEYS, st.recursive(SCALARS, lambda x: st.lists(x) | st.dictionaries(KEYS, x), max_leaves=8)))
def test_values_survive_the_writing(data: dict[str, object]) -> None:
    loaded = YAML(typ="safe").load(yaml_text(data, head="x"))
    assert (loaded or {}) == data
