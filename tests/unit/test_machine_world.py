"""What was seen of a site on its hosts, as resources; names that are ours; what a host lacks. No libvirt is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.capacity.demand import hosts_of
from ai_how.machines.capabilities import missing
from ai_how.machines.desired import Desired, HostSetting, ImageFile, desired_of, machine_settings, resources
from ai_how.machines.domains import Found
from ai_how.machines.marks import is_disk, is_image, is_log_of, is_ours, is_seed
from ai_how.machines.numa import cpus_of, ranges
from ai_how.machines.placing import place_nodes
from ai_how.machines.types import Card, Disk, Firmware, PciAddress, Virtualization
from ai_how.machines.world import HostWorld, observed_resources
from ai_how.machines.xml.domain import domain_xml
from ai_how.machines.xml.network import network_xml, settings_of
from ai_how.plan.compute import compute_plan
from ai_how.plan.model import Condition, Verb
from ai_how.site.load import load_site

IMAGE = "image-base-0123456789ab.qcow2"
ROOM = "declared: {cores: 32, memory_gib: 128, disk_gib: 2000}"
TEXT = f"""
name: lab
provider: libvirt
hosts: [{{name: one, {ROOM}}}, {{name: two, uri: "qemu+ssh://two/system", {ROOM}}}]
clusters: {{hpc: {{kind: hpc, nodes: [{{role: hpc-controller, host: one}}]}}}}
"""
NODE = "hpc-controller-1"
RUN = "3/port"


@pytest.fixture
def wanted(tmp_path: Path) -> Desired:
    path = tmp_path / "ai-how.yaml"
    path.write_text(TEXT)
    site = load_site(path)
    placed = place_nodes(site, {}, kept={})
    hosts = {
        host.name: HostSetting(
            name=host.name, uri=host.uri, storage_path="/pool", virtualization=Virtualization.EMULATED
        )
        for host in hosts_of(site)
    }
    image = ImageFile(name="base-0123456789ab", virtual_size_bytes=0)
    return desired_of(site, placed, owner="me", hosts=hosts, images={node.need.name: image for node in placed})


def whole(wanted: Desired, **changes: Any) -> HostWorld:
    """Host ``one`` as it is when everything was made and runs."""
    wish = wanted.machines[NODE]
    found = Found(
        name=wish.machine.name,
        state="running",
        mark={"site": "lab", "owner": "me", "node": NODE, "cluster": "hpc", "settings": machine_settings(wish)},
        run=RUN,
        ports=("port",),
    )
    disk = wish.machine.disks[0]
    names = (IMAGE, f"{IMAGE}.sha256", f"{NODE}-seed.iso", f"{NODE}-seed.iso.sha256", f"{NODE}.log", "theirs.qcow2")
    world = HostWorld(
        pool=True,
        volumes={disk.volume: disk, **{name: Disk(volume=name, size_bytes=1) for name in names}},
        machines={NODE: found},
        networks={"hpc": (settings_of(network_xml(wanted.networks["hpc"].network)), True)},
        ports=frozenset({"port"}),
    )
    return replace(world, **changes)


def actions(wanted: Desired, world: HostWorld, *, run: str = RUN) -> dict[str, str]:
    """What a plan would do, with the reason; the keys are well."""
    observed = observed_resources(
        {"one": world, "two": HostWorld(pool=None)}, wanted, ready={f"machine/{NODE}": {"run": run}}
    )
    plan = compute_plan("lab", [one for one in resources(wanted) if one.name != "keys"], observed)
    return {f"{action.verb} {action.resource}": action.reason for action in plan.actions}


def test_nothing_to_do_though_one_of_two_hosts_is_empty(wanted: Desired) -> None:
    assert actions(wanted, whole(wanted)) == {}


def test_names_say_the_host_where_the_site_has_several(wanted: Desired) -> None:
    names = {resource.name for resource in resources(wanted)}
    assert {"pool@one", f"image/{IMAGE}@one", "network/hpc@one"} <= names
    assert not any(name.endswith("@two") for name in names)


def test_a_pool_on_a_host_that_is_no_longer_used_is_removed(wanted: Desired) -> None:
    worlds = {"one": whole(wanted), "two": HostWorld(pool=True)}
    observed = observed_resources(worlds, wanted, ready={f"machine/{NODE}": {"run": RUN}})
    plan = compute_plan("lab", [one for one in resources(wanted) if one.name != "keys"], observed)
    assert [(action.verb, action.resource) for action in plan.actions] == [(Verb.DELETE, "pool@two")]


def test_a_broken_off_upload_is_repaired_and_never_taken_for_a_disk(wanted: Desired) -> None:
    there = whole(wanted)
    for name in (IMAGE, f"{NODE}-seed.iso"):
        volumes = {key: disk for key, disk in there.volumes.items() if key != f"{name}.sha256"}
        found = actions(wanted, replace(there, volumes=volumes))
        assert list(found.values()) == ["was not written to its end"]
        assert all(action.startswith("repair") for action in found)


def test_a_stopped_pool_is_started_and_no_machine_is_called_bare(wanted: Desired) -> None:
    found = actions(wanted, whole(wanted, pool=False, volumes={}))
    assert found["start pool@one"] == "is not active"
    assert not any("machine" in action for action in found)


@pytest.mark.parametrize(
    ("changes", "run", "said"),
    [
        ({"ports": frozenset()}, RUN, "lost its link when its network was stopped"),
        ({"ports": None}, RUN, ""),
        ({"volumes": {}}, RUN, "its disk hpc-controller-1.qcow2 was removed while it runs"),
        ({}, "2/port", "has not been seen ready since it started"),
    ],
)
def test_a_machine_that_runs_but_is_not_well(wanted: Desired, changes: dict[str, Any], run: str, said: str) -> None:
    found = actions(wanted, whole(wanted, **changes), run=run)
    assert found.get(f"repair machine/{NODE}", "") == said


def test_a_machine_that_was_killed_says_so(wanted: Desired) -> None:
    there = whole(wanted)
    dead = replace(there.machines[NODE], state="off", reason="its QEMU process was killed or crashed", run="", ports=())
    world = replace(there, machines={NODE: dead})
    assert actions(wanted, world) == {f"start machine/{NODE}": dead.reason}
    observed = observed_resources({"one": world}, wanted, ready={})
    assert observed[f"machine/{NODE}"].condition is Condition.STOPPED


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("image-base-0123456789ab.qcow2", is_image),
        ("cloud-gpu-worker-12.qcow2", is_disk),
        ("image-controller-1.qcow2", is_disk),
        ("hpc-compute-1-models.qcow2", is_disk),
        ("cloud-control-plane-1-seed.iso", is_seed),
    ],
)
def test_names_of_ours(name: str, kind: Any) -> None:
    assert [one(name) for one in (is_image, is_disk, is_seed)].count(True) == 1
    assert kind(name)
    assert is_ours(name)
    assert is_ours(f"{name}.sha256")


def test_logs_of_a_machine_are_its_own_alone() -> None:
    assert is_log_of(NODE, f"{NODE}.log")
    assert is_log_of(NODE, f"{NODE}.log.2")
    assert not is_log_of(NODE, f"{NODE}2.log")
    assert not is_log_of("controller-1", f"{NODE}.log")


@given(st.text(alphabet="abcz0-._qiow2", max_size=30))
def test_names_of_others_are_left_alone(name: str) -> None:
    assert not is_ours(f"backup of {name}")
    assert not is_ours(f"{name}.img")


CAPABILITIES = """<domainCapabilities><vcpu max='8'/><os supported='yes'><enum name='firmware'>FIRMWARE</enum></os>
<cpu><mode name='host-passthrough' supported='CPU'/></cpu><devices><disk supported='yes'><enum name='bus'>
<value>virtio</value><value>sata</value></enum></disk><hostdev supported='yes'><enum name='subsysType'>
<value>DEVICES</value></enum></hostdev><rng supported='yes'/></devices></domainCapabilities>"""


def said(wanted: Desired, text: str, **changes: Any) -> list[str]:
    return list(missing(text, [replace(wanted.machines[NODE].machine, **changes)]))


def test_a_host_that_can_run_it(wanted: Desired) -> None:
    assert said(wanted, CAPABILITIES) == []


def test_what_a_host_lacks_is_named(wanted: Desired) -> None:
    card = Card(name="card", functions=(PciAddress(bus=1, slot=0, function=0),))
    cpu = replace(wanted.machines[NODE].machine.cpu, count=9)
    lines = said(
        wanted,
        CAPABILITIES.replace("sata", "ide").replace("<rng supported='yes'/>", ""),
        cpu=cpu,
        firmware=Firmware.UEFI,
        cards=(card,),
        virtualization=Virtualization.KVM,
    )
    assert lines == [
        f"{NODE}: 9 vCPUs, at most 8 in one machine",
        f"{NODE}: no UEFI firmware for guests",
        f"{NODE}: no PCI devices can be passed through",
        f"{NODE}: the processor cannot be passed through to guests",
        "no disks on the bus sata",
        "no random number generator for guests",
    ]


def test_a_host_with_all_of_it(wanted: Desired) -> None:
    card = Card(name="card", functions=(PciAddress(bus=1, slot=0, function=0),))
    text = CAPABILITIES.replace("FIRMWARE", "<value>efi</value>").replace("'CPU'", "'yes'").replace("DEVICES", "pci")
    changes = {"firmware": Firmware.UEFI, "cards": (card,), "virtualization": Virtualization.KVM}
    assert said(wanted, text, **changes) == []


def test_a_machine_that_is_bound_to_a_numa_node_runs_on_its_processors(tmp_path: Path) -> None:
    path = tmp_path / "ai-how.yaml"
    path.write_text(
        "name: lab\nprovider: libvirt\nhosts: [{name: one, declared: {cores: 32, memory_gib: 256, disk_gib: 2000, "
        "numa_nodes: 2, gpus: [{model: T4, numa_node: 1}]}}]\n"
        "clusters: {hpc: {kind: hpc, nodes: [{role: hpc-controller}, {role: hpc-compute, vcpus: 2, memory_gib: 8}]}}\n"
    )
    site = load_site(path)
    placed = place_nodes(site, {}, kept={})
    card = Card(name="T4", functions=(PciAddress(bus=1, slot=0, function=0),))
    host = HostSetting(
        name="one",
        uri="",
        storage_path="/pool",
        virtualization=Virtualization.KVM,
        cards=(card,),
        numa_cpus={0: "0-15", 1: "16-31"},
    )
    image = ImageFile(name="base-0123456789ab", virtual_size_bytes=0)
    made = desired_of(site, placed, owner="me", hosts={"one": host}, images={n.need.name: image for n in placed})
    bound = domain_xml(made.machines["hpc-compute-1"].machine)
    assert '<vcpupin vcpu="1" cpuset="16-31" />' in bound
    assert '<emulatorpin cpuset="16-31" />' in bound
    assert '<memory mode="strict" nodeset="1" />' in bound
    assert machine_settings(made.machines["hpc-compute-1"])["pins"] == ["16-31", "16-31"]
    assert "vcpupin" not in domain_xml(made.machines[NODE].machine)


@given(st.sets(st.integers(min_value=0, max_value=200)))
def test_ranges_hold_every_number_and_no_other(numbers: set[int]) -> None:
    spread = [part.split("-") for part in ranges(sorted(numbers)).split(",") if part]
    assert {number for part in spread for number in range(int(part[0]), int(part[-1]) + 1)} == numbers


def test_processors_by_numa_node() -> None:
    cells = "".join(
        f"<cell id='{node}'><cpus>{''.join(f'<cpu id={chr(39)}{cpu}{chr(39)}/>' for cpu in cpus)}</cpus></cell>"
        for node, cpus in {0: (0, 1, 4, 5), 1: (2, 3), 2: ()}.items()
    )
    text = f"<capabilities><host><topology><cells>{cells}</cells></topology></host></capabilities>"
    assert cpus_of(text) == {0: "0-1,4-5", 1: "2-3"}
