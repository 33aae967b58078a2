"""Four machines on a real libvirt host: up once, used, broken in every way, repaired, removed.

The tests stand in this order because booting is what takes the time: what leaves the machines running comes first, then
what breaks them, then what two of them prove as well as four. Kubernetes' set-up is that of a small playbook in
Kubespray's place: it gathers facts and leaves an administrator's file.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ai_how.kubernetes.environment import environment_of
from ai_how.machines import domains
from ai_how.machines.connection import open_connection

from .kubespray_stand_in import KUBESPRAY, write_facts_checkout
from .libvirt_guests import FOUR_MACHINES, NODES, OVMF, TWO_OF_FOUR, answers, ask, boot_ids, ssh
from .libvirt_site import MachineSite, inventory
from .site import eventually

pytestmark = [pytest.mark.boots, pytest.mark.libvirt, pytest.mark.slow, pytest.mark.timeout(900, func_only=True)]

TWO = NODES[:2]


def machine(site: MachineSite, node: str) -> Any:
    """libvirt's object of a machine."""
    return open_connection(site.host.uri).lookupByName(f"four-{node}")


def troubles(site: MachineSite) -> dict[str, str]:
    """What `status` has to say against each machine; empty where all is well."""
    found = site.run("status", "-o", "json", code=None).json()["components"]
    return {one["name"]: one["detail"] for one in found if one["condition"] != "healthy"}


def two_of_four(site: MachineSite, *, kubernetes: str = "{enabled: false}") -> None:
    """Ask for two machines in one cluster from now on."""
    site.write(TWO_OF_FOUR.replace("KUBERNETES", kubernetes))


def test_a_second_up_does_nothing(four_machines: MachineSite) -> None:
    assert four_machines.run("plan", "-o", "json").json()["actions"] == []
    assert "nothing to do" in four_machines.run("up", "--yes").stdout
    assert troubles(four_machines) == {}
    assert len(four_machines.host.processes("qemu-system")) == len(NODES)


@pytest.mark.skipif(not OVMF.exists(), reason="not installed: ovmf")
def test_one_image_boots_by_bios_and_by_uefi(four_machines: MachineSite) -> None:
    looked = "test -d /sys/firmware/efi && echo UEFI || echo BIOS"
    assert [ask(four_machines, node, looked) for node in NODES] == ["BIOS", "BIOS", "BIOS", "UEFI"]
    for node in (NODES[0], NODES[3]):
        log = four_machines.storage / "four" / f"{node}.log"
        eventually(lambda log=log: " login:" in log.read_text(errors="replace"))


def test_they_answer_with_their_own_keys_and_names(four_machines: MachineSite, tmp_path: Path) -> None:
    for node in NODES:
        assert ask(four_machines, node, "hostname") == node
    known = (four_machines.root / "secrets" / "ssh" / "known_hosts").read_text().splitlines()
    swapped = tmp_path / "known_hosts"
    addresses, keys = [line.split(" ", 1)[0] for line in known], [line.split(" ", 1)[1] for line in known]
    swapped.write_text("".join(f"{a} {k}\n" for a, k in zip(addresses, keys[1:] + keys[:1], strict=True)))
    refused = ssh(four_machines, NODES[0], "true", known_hosts=swapped)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_they_find_and_reach_each_other_by_name(four_machines: MachineSite) -> None:
    control, worker = NODES[0], NODES[1]
    address = ask(four_machines, control, "getent", "ahostsv4", worker).split()[0]
    assert address == ask(four_machines, control, "getent", "ahostsv4", f"{worker}.cloud.four.internal").split()[0]
    assert answers(four_machines, control, worker, timeout_s=60)
    assert answers(four_machines, worker, control, timeout_s=60)


def test_the_clusters_do_not_reach_each_other(four_machines: MachineSite) -> None:
    machines = four_machines.provider().look.wanted.machines
    assert not answers(four_machines, "hpc-controller-1", machines[NODES[0]].address)
    assert not answers(four_machines, NODES[0], machines["hpc-controller-1"].address)


def test_their_agents_report_and_their_disks_are_as_asked_for(four_machines: MachineSite) -> None:
    connect = open_connection(four_machines.host.uri)
    assert all(domains.agent_answers(connect, f"four-{node}", timeout_s=30) for node in NODES)
    assert int(ask(four_machines, NODES[1], "findmnt -bno SIZE /")) > 3.5 * 2**30
    assert ask(four_machines, NODES[1], "findmnt -no FSTYPE /var/lib/ai-how/models") == "ext4"


def test_secrets_are_on_the_seeds_alone_and_those_are_private(four_machines: MachineSite) -> None:
    kept = [path for path in (four_machines.root / "secrets" / "ssh").rglob("*") if path.is_file()]
    secrets = [path.read_text() for path in kept]
    lines = {line for text in secrets if "PRIVATE KEY" in text for line in text.splitlines() if len(line) > 40}
    assert lines
    said = four_machines.run("plan", "-o", "json").stdout
    others = [path.read_text() for path in four_machines.root.iterdir() if path.is_file()]
    marks = [machine(four_machines, node).XMLDesc(0) for node in NODES]
    assert not any(line in text for line in lines for text in (said, *marks, *others))
    for seed in (four_machines.storage / "four").glob("*-seed.iso"):
        assert stat.S_IMODE(seed.stat().st_mode) == 0o600


def test_a_disk_grows_under_a_running_machine(four_machines: MachineSite) -> None:
    before = boot_ids(four_machines, NODES[:1])
    four_machines.write(FOUR_MACHINES.replace("disk_gib: 4}", "disk_gib: 5}"))
    plan = four_machines.run("plan", "-o", "json", code=2).json()
    assert {action["resource"] for action in plan["actions"]} == {f"disk/{NODES[0]}", f"disk/{NODES[3]}"}
    four_machines.run("up", "--yes")
    assert ask(four_machines, NODES[0], "lsblk -bdno SIZE /dev/vda") == str(5 * 2**30)
    assert boot_ids(four_machines, NODES[:1]) == before


def test_a_snapshot_is_gone_back_to(four_machines: MachineSite) -> None:
    there = machine(four_machines, NODES[0])
    ask(four_machines, NODES[0], "touch before")
    snapshot = there.snapshotCreateXML("<domainsnapshot><name>now</name></domainsnapshot>", 0)
    ask(four_machines, NODES[0], "touch after; sync")
    there.revertToSnapshot(snapshot, 0)
    assert ask(four_machines, NODES[0], "ls") == "before"
    snapshot.delete(0)
    four_machines.run("up", "--yes")
    assert troubles(four_machines) == {}


def test_a_network_that_was_stopped_is_mended_without_a_restart(four_machines: MachineSite) -> None:
    before = boot_ids(four_machines)
    open_connection(four_machines.host.uri).networkLookupByName("ai-how-four-cloud").destroy()
    found = troubles(four_machines)
    assert set(found) >= set(NODES[:3])
    assert all("lost its link" in found[node] for node in NODES[:3])
    four_machines.run("up", "--yes")
    assert troubles(four_machines) == {}
    assert boot_ids(four_machines) == before


def test_libvirtd_may_go_and_come_back(four_machines: MachineSite) -> None:
    before = boot_ids(four_machines, NODES[:1])
    four_machines.host.restart_daemon()
    assert troubles(four_machines) == {}
    assert boot_ids(four_machines, NODES[:1]) == before


def test_one_killed_one_switched_off_one_without_its_disk(four_machines: MachineSite) -> None:
    killed, off, bare, well = NODES
    before = boot_ids(four_machines, [off, well])
    os.kill(qemu_pid(four_machines, killed), signal.SIGKILL)
    # its memory is kept, so it need not boot; the one that was killed does
    machine(four_machines, off).managedSave(0)
    pool = open_connection(four_machines.host.uri).storagePoolLookupByName("ai-how-four")
    for volume in (f"{bare}.qcow2", f"{bare}-seed.iso"):
        pool.storageVolLookupByName(volume).delete(0)
    eventually(lambda: not machine(four_machines, killed).isActive())
    found = troubles(four_machines)
    assert "killed" in found[killed]
    assert found[off] == "is off"
    assert "was removed while it runs" in found[bare]
    assert well not in found
    four_machines.run("up", "--yes")
    assert troubles(four_machines) == {}
    assert boot_ids(four_machines, [off, well]) == before
    assert {ask(four_machines, node, "hostname") for node in NODES} == set(NODES)
    assert answers(four_machines, bare, killed, timeout_s=60)


def test_what_the_file_no_longer_asks_for_goes_and_the_rest_stays(four_machines: MachineSite) -> None:
    before = boot_ids(four_machines, TWO)
    two_of_four(four_machines)
    four_machines.run("up", "--yes")
    assert troubles(four_machines) == {}
    there = inventory(four_machines.host)
    assert there["machines"] == [f"four-{node}" for node in TWO]
    assert there["networks"] == ["ai-how-four-cloud"]
    assert not [name for name in there["pools"]["ai-how-four"] if name.startswith((NODES[2], NODES[3]))]
    assert boot_ids(four_machines, TWO) == before


def test_the_host_is_started_again(four_machines: MachineSite) -> None:
    # one as libvirt-guests leaves it when a host is shut down, the other as a power cut does
    kept, lost = TWO
    before = boot_ids(four_machines, TWO)
    machine(four_machines, kept).managedSave(0)
    four_machines.host.reboot()
    # libvirt starts them by itself; until they were seen ready nobody says that they are
    eventually(lambda: len(four_machines.host.processes("qemu-system")) == len(TWO))
    found = troubles(four_machines)
    assert set(found) >= set(TWO)
    assert all("not been seen ready" in found[node] for node in TWO)
    four_machines.run("up", "--yes")
    assert troubles(four_machines) == {}
    after = boot_ids(four_machines, TWO)
    assert (after[kept] == before[kept], after[lost] == before[lost]) == (True, False)
    assert {ask(four_machines, node, "hostname") for node in TWO} == set(TWO)


def test_ansible_reaches_every_machine_and_learns_its_facts(four_machines: MachineSite, tmp_path: Path) -> None:
    checkout = write_facts_checkout(tmp_path)
    # the test's hosts reach no index
    environment_of(checkout, KUBESPRAY).install()
    two_of_four(four_machines, kubernetes=f"{{kubespray_path: {checkout}}}")
    reasons = {a["resource"]: a["reason"] for a in four_machines.run("plan", "-o", "json", code=2).json()["actions"]}
    assert reasons == {"kubernetes/cloud": "cluster.yml: does not exist yet"}
    # no API server runs there: the way ends where it would be asked, with a key that is none
    done = four_machines.run("up", "--yes", code=1)
    for name, address in ((TWO[0], "192.168.210.10"), (TWO[1], None)):
        learnt = json.loads((tmp_path / f"{name}.json").read_text())
        assert (learnt["host"], learnt["uid"]) == (name, "0"), done.stderr
        assert learnt["planned"] in learnt["addresses"]
        assert address in (None, learnt["planned"])
        assert 700 < learnt["memory_mb"] <= 1024
    kept = Path(four_machines.run("kubeconfig", "--path").stdout.strip())
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "server: https://192.168.210.10:6443" in kept.read_text()
    # set up, and asked again the next time; no playbook runs for that
    again = {a["resource"]: a["reason"] for a in four_machines.run("plan", "-o", "json", code=2).json()["actions"]}
    assert again == {"kubernetes/cloud": "has not been seen ready since it was set up"}
    assert "Be root" in four_machines.run("logs", "kubernetes/cloud", "-n", "500").stdout


def test_destroy_leaves_what_is_not_ours(four_machines: MachineSite, tmp_path: Path) -> None:
    connect = open_connection(four_machines.host.uri)
    connect.defineXML("<domain type='qemu'><name>theirs</name><memory>65536</memory><os><type>hvm</type></os></domain>")
    connect.networkDefineXML("<network><name>theirs</name><bridge name='theirs'/></network>").create()
    target = f"<target><path>{tmp_path}</path></target>"
    pool = connect.storagePoolCreateXML(f"<pool type='dir'><name>theirs</name>{target}</pool>")
    pool.createXML("<volume><name>theirs.img</name><capacity>1024</capacity></volume>", 0)
    four_machines.run("destroy", "--yes")
    assert inventory(four_machines.host) == {
        "machines": ["theirs"],
        "networks": ["theirs"],
        "pools": {"theirs": ["theirs.img"]},
        "links": ["lo", "theirs"],
        "qemu": 0,
        "dnsmasq": 0,
    }
    assert four_machines.files() == set()
    connect.lookupByName("theirs").undefine()
    pool.destroy()
    connect.networkLookupByName("theirs").destroy()
    connect.networkLookupByName("theirs").undefine()


def qemu_pid(site: MachineSite, node: str) -> int:
    """Pid of the QEMU that runs a machine."""
    for pid in site.host.processes("qemu-system"):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if any(word.startswith(f"guest=four-{node},".encode()) for word in words):
            return pid
    listed = subprocess.run(["ps", "-ef"], check=False, capture_output=True, text=True).stdout
    raise AssertionError(f"no QEMU of {node}:\n{listed}")
