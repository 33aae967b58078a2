"""Hosts and clusters in the site file: every mistake at its line, every warning, the defaults."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.capacity.demand import request_of
from ai_how.capacity.first_sizes import first_sizes
from ai_how.capacity.sizing import Fit, solve
from ai_how.capacity.types import GpuCapacity, HostCapacity
from ai_how.errors import SpecError
from ai_how.machines.desired import HostSetting, ImageFile, desired_of
from ai_how.machines.types import Virtualization
from ai_how.site.cluster_template import render_cluster_template
from ai_how.site.clusters import Declared, DeclaredGpus, Host, Node
from ai_how.site.load import check_site_text, read_site_text
from ai_how.site.roles import DEFAULTS
from ai_how.site.shapes import all_sections
from ai_how.site.spec import Site
from tests.golden.conftest import ROOT

LIBVIRT = "name: a\nprovider: libvirt\n"
INVENTORY = "name: a\nprovider: inventory\n"
FINGERPRINT = "SHA256:" + "A" * 43
SERVERS = (
    INVENTORY
    + "hosts: [{name: h, address: u@h}, {name: i, address: u@i}]\n"
    + "clusters: {c: {nodes: [{role: control-plane, host: h}, {role: cpu-worker, host: i}]}}\n"
)


def mistakes(text: str) -> list[str]:
    site, found = check_site_text(text, Path("f"))
    assert (site is None) == bool(found)
    return [str(mistake).removeprefix("f:") for mistake in found]


def cloud(*nodes: str) -> str:
    return LIBVIRT + "clusters:\n  cloud:\n    nodes:\n" + "".join(f"      - {{{node}}}\n" for node in nodes)


CONTROL, WORKER = "role: control-plane", "role: cpu-worker"


def test_a_site_for_libvirt_has_the_default_cluster() -> None:
    site, found = check_site_text(LIBVIRT, Path("f"))
    assert found == []
    assert site is not None
    needs = request_of(site, {"this-machine": None}).needs  # type: ignore[dict-item]
    assert [need.name for need in needs] == [
        "cloud-control-plane-1",
        "cloud-cpu-worker-1",
        "cloud-gpu-worker-1",
        "cloud-gpu-worker-2",
    ]


def test_sizes_that_are_written_replace_those_of_the_role() -> None:
    text = cloud(CONTROL, "role: gpu-worker, count: 2, vcpus: 8, gpus: 2", "role: gpu-worker, memory_gib: 48, host: h")
    site, found = check_site_text(
        text + "hosts: [{name: h, declared: {cores: 2, memory_gib: 3, disk_gib: 4}}]\n", Path()
    )
    assert found == []
    assert site is not None
    made = request_of(site, {})
    sizes = [(need.name, need.vcpus, need.memory_gib, need.gpus, need.host) for need in made.needs]
    assert sizes == [
        ("cloud-control-plane-1", 6, 12, 0, ""),
        ("cloud-gpu-worker-1", 8, 32, 2, ""),
        ("cloud-gpu-worker-2", 8, 32, 2, ""),
        ("cloud-gpu-worker-3", 12, 48, 1, "h"),
    ]
    (offer,) = made.hosts
    assert (offer.capacity.threads, offer.capacity.observed, offer.reserve.cores) == (2, False, 4)


def test_declared_gpus_are_dealt_out_over_numa_nodes() -> None:
    declared = Declared(
        cores=9,
        memory_gib=10,
        disk_gib=1,
        numa_nodes=2,
        gpus=[DeclaredGpus(model="T4", count=3), DeclaredGpus(model="Own", memory_gib=7, numa_node=1)],
    )
    site = Site(name="a", provider="libvirt", hosts=[Host(name="h", declared=declared)])
    capacity = request_of(site, {}).hosts[0].capacity
    assert [(gpu.name, gpu.memory_gib, gpu.numa_node) for gpu in capacity.gpus] == [
        ("NVIDIA Tesla T4", 16, 0),
        ("NVIDIA Tesla T4", 16, 1),
        ("NVIDIA Tesla T4", 16, 0),
        ("Own", 7, 1),
    ]
    assert [(cell.threads, cell.memory_gib) for cell in capacity.numa] == [(4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # lists and mappings of sections
        (LIBVIRT + "hosts: 3\n", "3:8: hosts: is not a list of sections; write its items below it, each behind a dash"),
        (
            LIBVIRT + "hosts:\n",
            "3:1: hosts: has no value; write its items below it, each behind a dash, or remove the line",
        ),
        (LIBVIRT + "hosts: [h]\n", "3:9: hosts[0]: is not a section; write its keys below it, one a line"),
        (
            LIBVIRT + "clusters: [c]\n",
            "3:11: clusters: is not sections by name; write names below it, and their keys below each",
        ),
        (
            LIBVIRT + "clusters:\n  My Cluster: {}\n",
            "4:3: clusters.My Cluster: cannot be a name here; write lower-case letters, digits and dashes, 40 at most",
        ),
        (
            LIBVIRT + "clusters:\n  c: {nodes: []}\n",
            "4:14: clusters.c.nodes: is empty; write its items below it, each behind a dash, or remove the line",
        ),
        (LIBVIRT + "clusters:\n  c:\n", "4:3: clusters.c: has no value; write its keys below it, or remove the line"),
        (LIBVIRT + "hosts:\n  - uri: qemu:///x\n", "4:5: hosts[0].name: missing; write name: and "),
        (
            cloud(CONTROL, "role: gpu-worker, gpu_addresses: [65.00.0]"),
            "7:44: clusters.cloud.nodes[1].gpu_addresses[0]: '65.00.0' is not allowed; write a PCI address",
        ),
        (
            cloud(CONTROL, "role: gpu-worker, count: 2, gpu_addresses: ['65:00.0']"),
            "7:35: clusters.cloud.nodes[1].count: 2 nodes cannot all have the same cards; write an entry for each node",
        ),
        (
            cloud(CONTROL, "role: gpu-worker, gpu_addresses: ['65:00.0', '0000:65:00.0']"),
            "7:43: clusters.cloud.nodes[1].gpu_addresses: names a card twice; write each address once",
        ),
        (
            cloud(CONTROL, "role: gpu-worker, gpus: 2, gpu_addresses: ['65:00.0']"),
            "7:34: clusters.cloud.nodes[1].gpus: 2 GPUs, but 1 in gpu_addresses; remove the line",
        ),
        (
            LIBVIRT + "hosts: [{name: h, cards: [{address: '65:00.0'}, {address: '0000:65:00.0'}]}]\n",
            "3:59: hosts[0].cards[1].address: 0000:65:00.0 has another entry already; write one entry a card",
        ),
        (
            LIBVIRT + "hosts: [{name: h, cards: [{rom_file: /a}]}]\n",
            "3:27: hosts[0].cards[0].address: missing; write address: and a PCI address, such as 65:00.0",
        ),
        (
            LIBVIRT + "hosts: [{name: h, declared: {cores: 1, memory_gib: 2, disk_gib: 3, "
            "gpus: [{model: T4, count: 2, addresses: ['65:00.0']}]}}]\n",
            "3:108: hosts[0].declared.gpus[0].addresses: 1 different addresses for 2 cards; write one",
        ),
        (
            cloud(CONTROL, "role: cpu-worker, vcpu: 3"),
            "7:28: clusters.cloud.nodes[1].vcpu: unknown key; did you mean vcpus?",
        ),
        (
            cloud(CONTROL, "role: cpu-wroker"),
            "7:16: clusters.cloud.nodes[1].role: 'cpu-wroker' is not allowed; did you mean cpu-worker? It takes ",
        ),
        (
            cloud(CONTROL, "role: cpu-worker, memory_gib: 16GB"),
            "7:40: clusters.cloud.nodes[1].memory_gib: '16GB' is not a number; write 16: GiB, without a unit",
        ),
        (
            cloud(CONTROL, "role: cpu-worker, count: 0"),
            "7:35: clusters.cloud.nodes[1].count: 0 is not allowed; write a whole number from 1 to 1000",
        ),
        (
            LIBVIRT + "hosts: [{name: h, declared: {cores: 4, memory_gib: 8, disk_gib: 9, network_mbps: 10 Gbps}}]\n",
            "3:82: hosts[0].declared.network_mbps: '10 Gbps' is not a number; write 10000: Mbit/s, without a unit",
        ),
        (LIBVIRT + "cores: 4\n", "3:1: cores: unknown key; it belongs under hosts[].declared or hosts[].reserve"),
        # one provider's keys in another's file
        (
            "name: a\nclusters: {c: {}}\n",
            "2:1: clusters: is not for provider local; write provider: libvirt or inventory",
        ),
        ("name: a\nschedule: in-turns\n", "2:1: schedule: is not for provider local; write provider: libvirt or inv"),
        (
            LIBVIRT + "hosts: [{name: h, address: u@h}]\n",
            "3:19: hosts[0].address: is for provider inventory; write uri, such as qemu+ssh://host/system",
        ),
        (
            SERVERS.replace("u@h", "u@h, uri: qemu:///x"),
            "3:33: hosts[0].uri: is for provider libvirt; remove it: a server is a node as a whole",
        ),
        (INVENTORY + "hosts: [{name: h}]\n", "3:9: hosts[0]: has no address; write address: and user@host, or declare"),
        # servers that exist
        ("name: a\nssh: {user: u}\n", "2:1: ssh: is for provider inventory; remove it, or write provider: inventory"),
        (
            LIBVIRT + "hosts: [{name: h, host_key: '" + FINGERPRINT + "'}]\n",
            "3:19: hosts[0].host_key: is for provider inventory; remove it",
        ),
        (INVENTORY + "hosts: [{name: h, address: u@h}]\n", "3:1: hosts: no cluster uses these servers; write clusters"),
        (SERVERS.replace("u@h", "h"), "3:28: hosts[0].address: does not say whom to log in as; write user@ before it"),
        (SERVERS.replace("u@h", "u@h:22"), "3:28: hosts[0].address: 'u@h:22' is no address of a server; write user@"),
        (SERVERS.replace("u@h", "'u@h -o X'"), "3:28: hosts[0].address: 'u@h -o X' is no address of a server"),
        (SERVERS.replace("u@h", "u@-oX"), "3:28: hosts[0].address: 'u@-oX' is no address of a server"),
        (
            SERVERS.replace("u@h}", "u@h, ssh: {user: v}}"),
            "3:45: hosts[0].ssh.user: the address has a user too: u; write one of them",
        ),
        (
            SERVERS.replace("u@h}", "u@h, ssh: {jump: -oProxyCommand=x}}"),
            "3:45: hosts[0].ssh.jump: '-oProxyCommand=x' is not allowed; write a machine as ssh takes it",
        ),
        (
            SERVERS.replace("u@h}", "u@h, host_key: SHA256:short}"),
            "3:43: hosts[0].host_key: 'SHA256:short' is not allowed; write a fingerprint, SHA256: and 43 letters",
        ),
        (
            SERVERS.replace("u@h}", "u@h, cluster_address: 300.1.1.1}"),
            "3:50: hosts[0].cluster_address: 300.1.1.1 is no address; write an IPv4 one",
        ),
        (
            SERVERS.replace("u@h}", "u@h, ssh: {usr: v}}"),
            "3:39: hosts[0].ssh.usr: unknown key; did you mean user?",
        ),
        (SERVERS.replace("u@i", "u@h"), "3:34: hosts[1]: is the same machine as host h: u@h; write its own uri or"),
        (SERVERS.replace(", host: i", ""), "4:56: clusters.c.nodes[1]: does not say which server; write host: h or i"),
        (
            SERVERS.replace("host: i", "host: h"),
            "4:81: clusters.c.nodes[1].host: h is a node of cluster c already; a server is one node",
        ),
        (
            SERVERS.replace("host: i", "host: i, count: 2"),
            "4:91: clusters.c.nodes[1].count: 2 nodes are not one server; write a line for each",
        ),
        (SERVERS + "schedule: in-turns\n", "5:11: schedule: is for provider libvirt; remove it: servers are not sw"),
        (
            SERVERS.replace("{nodes", "{start: manual, nodes"),
            "4:23: clusters.c.start: is for provider libvirt; remove it: servers are not started",
        ),
        (
            SERVERS.replace("{nodes", "{network: {mode: nat}, nodes"),
            "4:16: clusters.c.network: is for provider libvirt; remove it: servers are taken as they are",
        ),
        (
            INVENTORY + "hosts: [{name: h, address: u@h}]\nclusters: {c: {}}\n",
            "4:12: clusters.c: names no servers; write nodes:, such as - {role: control-plane, host: NAME}",
        ),
        (
            SERVERS.replace("address: u@i", "declared: {cores: 1, memory_gib: 2, disk_gib: 3}"),
            "4:81: clusters.c.nodes[1].host: i has no address; write address: under hosts",
        ),
        (
            SERVERS.replace("name: i", "name: worker-1").replace("host: i", "host: wroker-1"),
            "4:81: clusters.c.nodes[1].host: there is no host wroker-1; did you mean worker-1?",
        ),
        # hosts
        (
            LIBVIRT + "hosts: [{name: h, uri: 'http://foo;rm'}]\n",
            "3:24: hosts[0].uri: 'http://foo;rm' is not allowed; write libvirt's address of a host, such as qemu",
        ),
        (
            LIBVIRT + "hosts: [{name: h, uri: qemu:///x}, {name: h, uri: qemu:///y}]\n",
            "3:43: hosts[1].name: h is the name of another host too; write another one",
        ),
        (
            LIBVIRT + "hosts: [{name: h}, {name: i}]\n",
            "3:20: hosts[1]: is the same machine as host h: qemu:///system; write its own uri or address",
        ),
        (
            LIBVIRT + "hosts: [{name: h, declared: {cores: 4, threads: 2, memory_gib: 8, disk_gib: 9}}]\n",
            "3:49: hosts[0].declared.threads: 2 is less than the cores; write all threads",
        ),
        (
            LIBVIRT + "hosts: [{name: h, declared: {cores: 4, memory_gib: 8, disk_gib: 9, gpus: [{model: Own}]}}]\n",
            "3:83: hosts[0].declared.gpus[0].model: Own is not in the catalogue of GPUs; write its memory_gib too",
        ),
        (
            LIBVIRT
            + "hosts: [{name: h, declared: {cores: 4, memory_gib: 8, disk_gib: 9, gpus: [{model: T4, numa_node: 1}]}}]",
            "3:98: hosts[0].declared.gpus[0].numa_node: 1 is no NUMA node of h; it has 1, counted from 0: see numa",
        ),
        # clusters
        (cloud(WORKER), "5:5: clusters.cloud.nodes: a cloud cluster needs a control plane; add role: control-plane"),
        (
            cloud("role: control-plane, count: 2", WORKER),
            "6:38: clusters.cloud.nodes[0].count: 2 control plane nodes survive no more failures than 1: etcd needs a "
            "majority; write 1 or 3",
        ),
        (
            cloud(CONTROL, "role: control-plane, count: 3", WORKER),
            "7:38: clusters.cloud.nodes[1].count: 4 control plane nodes survive no more failures than 3: etcd needs a "
            "majority; write 3 or 5",
        ),
        (cloud(CONTROL), "5:5: clusters.cloud.nodes: a cloud cluster needs a worker; add role: cpu-worker or gpu-wo"),
        (
            cloud(CONTROL, "role: hpc-compute"),
            "7:16: clusters.cloud.nodes[1].role: hpc-compute does not belong in a cluster of kind cloud; write c",
        ),
        (
            cloud(CONTROL, "role: cpu-worker, gpus: 1"),
            "7:34: clusters.cloud.nodes[1].gpus: a cpu-worker gets no GPU; use role: gpu-worker for nodes with GPUs",
        ),
        (
            cloud(CONTROL, "role: gpu-worker, gpus: 0"),
            "7:34: clusters.cloud.nodes[1].gpus: a gpu-worker needs a GPU; use role: cpu-worker for nodes without",
        ),
        (
            cloud(CONTROL, "role: gpu-worker, gpus: 5"),
            "7:34: clusters.cloud.nodes[1].gpus: 5 GPUs in one worker, the limit is 4; use more workers with fewer",
        ),
        (
            cloud(CONTROL, "role: gpu-worker, gpu_model: ''"),
            "7:39: clusters.cloud.nodes[1].gpu_model: is empty; write a card's name, such as RTX A6000, or remove",
        ),
        (
            cloud(CONTROL, "role: cpu-worker, host: h"),
            "7:34: clusters.cloud.nodes[1].host: there is no host h; describe it under hosts",
        ),
        (
            LIBVIRT + "clusters: {c: {subnet: 10.0.0.1/24}}\n",
            "3:24: clusters.c.subnet: 10.0.0.1/24 is no network; 10.0.0.1/24 has host bits set",
        ),
        (
            LIBVIRT + "clusters: {c: {subnet: 10.0.0.0/30}}\n",
            "3:24: clusters.c.subnet: 10.0.0.0/30 has no addresses for 4 nodes; write a larger one",
        ),
        (
            LIBVIRT + "clusters: {c: {}, d: {kind: hpc, subnet: 192.168.200.0/25}}\n",
            "3:42: clusters.d.subnet: 192.168.200.0/25 overlaps 192.168.200.0/24 of cluster c; write another subnet",
        ),
        (
            LIBVIRT + "clusters: {c: {}, h: {kind: hpc}}\nschedule: in-turns\n",
            "3:22: clusters.h.start: c and h cannot start by themselves when they run in turns; write start: manual",
        ),
    ],
)
def test_one_mistake_gives_one_message(text: str, message: str) -> None:
    found = mistakes(text)
    assert len(found) == 1, found
    assert found[0].startswith(message), found


def test_a_bad_name_beside_other_mistakes() -> None:
    found = mistakes(LIBVIRT + "clusters:\n  A: {}\n  b: {nodes: [{role: x}, {role: cpu-worker, memory_gib: 0}]}\n")
    assert [line.split(": ")[1] for line in found] == [
        "clusters.A",
        "clusters.b.nodes[0].role",
        "clusters.b.nodes[1].memory_gib",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("role: cpu-worker, vcpus: 17", "vcpus: 17 vCPUs, the resource requirements go up to 16 for a cpu-worker"),
        ("role: cpu-worker, memory_gib: 65", "memory_gib: 65 GiB, the resource requirements go up to 64 for a cpu"),
        ("role: cpu-worker, count: 6", "count: 7 cpu-worker nodes, the resource requirements go up to 5"),
        ("role: gpu-worker, count: 9", "count: 9 gpu-worker nodes, the resource requirements go up to 8"),
        ("role: gpu-worker, gpus: 3", "gpus: 3 GPUs in one worker; 1 or 2 are typical with passthrough"),
        ("role: control-plane, vcpus: 9, count: 2", "vcpus: 9 vCPUs, the resource requirements go up to 8 for a contr"),
        ("role: control-plane, count: 4", "count: 5 control-plane nodes, the resource requirements go up to 3"),
    ],
)
def test_what_exceeds_the_requirements_is_warned_of(text: str, message: str) -> None:
    site, found, warnings = read_site_text(cloud(CONTROL, WORKER, text), Path("f"))
    assert (site is not None, found) == (True, [])
    (warning,) = warnings
    assert str(warning).startswith("f:8:")
    assert f"clusters.cloud.nodes[2].{message}" in str(warning)


@pytest.mark.parametrize("role", list(DEFAULTS))
def test_what_a_role_gets_exceeds_nothing(role: str) -> None:
    kind = "hpc" if role.startswith("hpc") else "cloud"
    text = LIBVIRT + f"clusters: {{c: {{kind: {kind}, nodes: [{{role: {role}}}, {{role: control-plane}}]}}}}\n"
    if kind == "hpc":
        text = text.replace(", {role: control-plane}", "")
    _, _, warnings = read_site_text(text, Path("f"))
    assert warnings == []


NESTED = [
    (place, key)
    for place, section in all_sections(Site)
    if place.startswith(("hosts", "clusters", "placement"))
    for key in section.model_fields
]
AROUND = {
    "hosts[]": ("hosts: [{name: h, ", "}]"),
    "hosts[].declared": ("hosts: [{name: h, declared: {cores: 1, memory_gib: 2, disk_gib: 3, ", "}}]"),
    "hosts[].declared.gpus[]": (
        "hosts: [{name: h, declared: {cores: 1, memory_gib: 2, disk_gib: 3, gpus: [{model: T4, ",
        "}]}}]",
    ),
    "clusters.<name>.network": ("clusters: {c: {network: {", "}}}"),
    "clusters.<name>.kubernetes": ("clusters: {c: {kubernetes: {", "}}}"),
    "clusters.<name>.stack": ("clusters: {c: {stack: {", "}}}"),
    **{
        f"clusters.<name>.stack.{part}": (f"clusters: {{c: {{stack: {{{part}: {{", "}}}}")
        for part in ("access", "object_store", "database", "monitoring", "gpus")
    },
    "hosts[].ssh": ("hosts: [{name: h, ssh: {", "}}]"),
    "hosts[].reserve": ("hosts: [{name: h, reserve: {", "}}]"),
    "hosts[].cards[]": ("hosts: [{name: h, cards: [{address: '65:00.0', ", "}]}]"),
    "clusters.<name>": ("clusters: {c: {", "}}"),
    "clusters.<name>.nodes[]": ("clusters: {c: {nodes: [{role: control-plane, ", "}]}}"),
    "placement": ("placement: {", "}"),
    "placement.vcpu_overcommit": ("placement: {vcpu_overcommit: {", "}}"),
}


def test_every_section_is_covered_by_the_next_test() -> None:
    assert {place for place, _ in NESTED} == set(AROUND)


@given(data=st.data())
def test_any_slip_of_one_letter_is_recognised_in_nested_sections(data: st.DataObject) -> None:
    place, key = data.draw(st.sampled_from(NESTED))
    at, letter = data.draw(st.integers(0, len(key) - 1)), data.draw(st.sampled_from(string.ascii_lowercase))
    slip = data.draw(st.sampled_from([key[:at] + letter + key[at:], key[:at] + letter + key[at + 1 :]]))
    if slip in dict(all_sections(Site))[place].model_fields:
        return
    before, after = AROUND[place]
    (found,) = [line for line in mistakes(f"{LIBVIRT}{before}{slip}: 1{after}\n") if "unknown key" in line]
    # a slip may lie as near to another key: httpa_port to http_port and to https_port
    meant = [name for name in dict(all_sections(Site))[place].model_fields if one_slip_away(name, slip)]
    assert key in meant
    assert any(re.search(rf"did you mean .*\b{name}\b", found) for name in meant), found


def one_slip_away(key: str, slip: str) -> bool:
    """Whether one letter more, or another one, makes the slip of the key."""
    added = (key[:at] + slip[at : at + 1] + key[at:] for at in range(len(key)))
    changed = (key[:at] + slip[at : at + 1] + key[at + 1 :] for at in range(len(key)))
    return slip in {*added, *changed}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Node.model_fields, *Host.model_fields, "nodes", "kind", "[key]"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(hosts=VALUES, clusters=VALUES, placement=VALUES)
def test_any_values_give_a_site_or_mistakes_with_lines(hosts: object, clusters: object, placement: object) -> None:
    import json

    data = {"name": "a", "provider": "libvirt", "hosts": hosts, "clusters": clusters, "placement": placement}
    site, found = check_site_text(json.dumps(data, indent=1), Path("f"))
    assert (site is None) == bool(found)
    assert all(mistake.line > 0 for mistake in found)


@pytest.mark.parametrize("gpus", [[], ["NVIDIA L4"], ["NVIDIA L4"] * 3])
def test_the_first_file_for_clusters_is_the_default_one(gpus: list[str]) -> None:
    text = render_cluster_template(name="demo", cpu_cores=64, memory_gib=251.4, gpus=gpus, with_schema=True)
    site, found = check_site_text(text, Path("f"))
    assert (found, max(map(len, text.splitlines())) <= 80) == ([], True)
    assert site is not None
    asked = request_of(site, {"this-machine": None})  # type: ignore[dict-item]
    default = request_of(Site(name="demo", provider="libvirt"), {"this-machine": None})  # type: ignore[dict-item]
    left_out = [f"cloud-gpu-worker-{number}" for number in range(1 + min(2, len(gpus)), 3)]
    expected = [need for need in default.needs if need.name not in left_out]
    assert (list(asked.needs), asked.rules) == (expected, default.rules)


@settings(max_examples=60)
@given(
    cores=st.integers(1, 40),
    memory_gib=st.integers(2, 160),
    disk_gib=st.integers(20, 1500),
    cards=st.integers(0, 3),
)
def test_the_first_file_for_clusters_fits_its_machine_or_says_that_nothing_does(
    cores: int, memory_gib: int, disk_gib: int, cards: int
) -> None:
    gpus = tuple(GpuCapacity(name="NVIDIA L4", memory_gib=24, pci_address=f"0000:0{i}:00.0") for i in range(cards))
    capacity = HostCapacity(
        name="this-machine", cores=cores, threads=cores, memory_gib=memory_gib, disk_gib=disk_gib, gpus=gpus
    )
    sizes = first_sizes(capacity, gpus=cards)
    names = [gpu.name for gpu in gpus]
    text = render_cluster_template(name="demo", cpu_cores=cores, memory_gib=memory_gib, gpus=names, sizes=sizes)
    site, found = check_site_text(text, Path("f"))
    assert (found, max(map(len, text.splitlines())) <= 80) == ([], True)
    assert site is not None
    fits = solve(request_of(site, {"this-machine": capacity})).fit is Fit.FITS
    assert fits is (sizes is not None)
    assert ("not even the smallest fit" in text) is not fits
    usual = render_cluster_template(name="demo", cpu_cores=cores, memory_gib=memory_gib, gpus=names)
    assert ("# What fits this machine" in text) is (fits and text != usual) is ("  # usually " in text)


def test_sizes_of_a_small_machine_name_the_usual_ones() -> None:
    capacity = HostCapacity(name="this-machine", cores=8, threads=16, memory_gib=23.5, disk_gib=250)
    sizes = first_sizes(capacity, gpus=0)
    assert sizes is not None
    text = render_cluster_template(name="demo", cpu_cores=8, memory_gib=23.5, sizes=sizes)
    assert "        vcpus: 6\n        memory_gib: 8  # usually 12\n        disk_gib: 110  # usually 150\n" in text
    assert "      # There is no NVIDIA GPU in this machine for a GPU worker.\n      #- role: gpu-worker\n" in text


def test_what_is_commented_out_in_it_loads_too() -> None:
    text = render_cluster_template(name="demo", cpu_cores=64, memory_gib=251.4)
    written_out = re.sub(r"^( *)#(?! [^ ])", r"\1", text, flags=re.MULTILINE)
    site, found = check_site_text(written_out, Path("f"))
    assert found == []
    assert site is not None
    assert site.planned_clusters["hpc"].start == "manual"
    assert site.planned_clusters["cloud"].node_groups[-1].role == "gpu-worker"
    assert site.hosts[0].declared is not None


BRIDGE = "bridge: br0, gateway: 10.0.0.1, nameservers: [192.0.2.1]"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (f"mode: bridge, {BRIDGE}", None),
        ("mode: bridge, bridge: br0", "mode: bridge needs bridge, gateway and nameservers"),
        ("mode: bridge, bridge: br0, gateway: 10.0.0.1", "mode: bridge needs bridge, gateway and nameservers"),
        ("gateway: 10.0.0.1", "bridge, gateway and nameservers are for mode: bridge only"),
        (f"mode: bridge, {BRIDGE}".replace("10.0.0.1", "10.1.0.1"), "10.1.0.1 is not in the cluster's subnet"),
        (f"mode: bridge, {BRIDGE}".replace("192.0.2.1", "192.0.2.300"), "192.0.2.300 is no address"),
        (f"mode: bridge, {BRIDGE}".replace("192.0.2.1", "dns"), "an IPv4 address, such as 192.168.200.1"),
    ],
)
def test_a_bridge_needs_what_its_machines_are_told(network: str, message: str | None) -> None:
    found = mistakes(f"{LIBVIRT}clusters:\n  c: {{subnet: 10.0.0.0/24, network: {{{network}}}}}\n")
    assert [message in line for line in found] == ([True] if message else [])


def test_a_router_is_no_machine() -> None:
    text = (ROOT / "examples" / "bridge.yaml").read_text().replace("gateway: 10.20.30.1", "gateway: 10.20.30.10")
    site, _ = check_site_text(text, Path("f"))
    assert site is not None
    placed = tuple(node for node in solve(request_of(site, {})).placed if not node.gpus)
    hosts = {
        host.name: HostSetting(name=host.name, uri="", storage_path="/p", virtualization=Virtualization.EMULATED)
        for host in site.hosts
    }
    images = {node.need.name: ImageFile(name="i", virtual_size_bytes=1) for node in placed}
    with pytest.raises(SpecError, match="is a router or name server"):
        desired_of(site, placed, owner="/o", hosts=hosts, images=images)
