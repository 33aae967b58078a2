"""Bad input and bad luck on a libvirt host: one clear message each, and nothing half made that cannot be mended."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ai_how.errors import AiHowError
from ai_how.machines.connection import open_connection

from .libvirt_site import ONE_MACHINE, TWO_CLUSTERS, MachineSite, inventory
from .site import eventually

pytestmark = [pytest.mark.libvirt, pytest.mark.slow]


def starting(site: MachineSite, **changes: str) -> MachineSite:
    """The site with one machine that is started, and cannot boot: its disk is empty."""
    made = replace(site, start="start: always\n    ready_timeout_s: 600", clusters=ONE_MACHINE, **changes)
    made.write()
    return made


def test_names_and_addresses_that_are_taken_are_refused_when_planning(dry_site: MachineSite) -> None:
    connect = open_connection(dry_site.host.uri)
    size = "<memory>65536</memory><os><type>hvm</type></os>"
    address = "<bridge name='other0'/><ip address='192.168.200.9' netmask='255.255.255.0'/>"
    pool = "<pool type='dir'><name>ai-how-lab</name><target><path>/nowhere</path></target></pool>"
    theirs = [
        connect.defineXML(f"<domain type='qemu'><name>lab-hpc-controller-1</name>{size}</domain>"),
        connect.networkDefineXML(f"<network><name>other</name>{address}</network>"),
        connect.networkDefineXML("<network><name>ai-how-lab-cloud</name></network>"),
        connect.storagePoolDefineXML(pool, 0),
    ]
    before = inventory(dry_site.host)
    refused = dry_site.run("up", "--yes", code=1).stderr
    for said in (
        "a machine lab-hpc-controller-1 is there already",
        "network other has the addresses 192.168.200.0/24",
        "a network ai-how-lab-cloud is there already",
        "a storage pool ai-how-lab is there already",
        "Next:",
    ):
        assert said in refused
    dry_site.run("destroy", "--yes")
    assert inventory(dry_site.host) == before
    for one in theirs:
        one.undefine()
    dry_site.provider().plan()


def test_what_somebody_else_put_into_our_pool_stays(dry_site: MachineSite) -> None:
    dry_site.up()
    folder = dry_site.storage / "lab"
    (folder / "theirs.qcow2").write_bytes(b"x")
    (folder / "hpc-controller-1.log.0").write_bytes(b"put away by virtlogd")
    assert dry_site.provider().plan().actions == ()
    said = dry_site.run("destroy", "--yes")
    assert "theirs.qcow2 on here" in said.stderr
    assert {path.name for path in folder.iterdir()} == {"theirs.qcow2"}
    shutil.rmtree(folder)


def test_a_pool_whose_folder_was_removed_is_made_anew_or_forgotten(dry_site: MachineSite) -> None:
    before = inventory(dry_site.host)
    dry_site.up()
    for mend in (True, False):
        shutil.rmtree(dry_site.storage / "lab")
        status = dry_site.run("status", "-o", "json", code=1).json()
        assert "is not active" in {one["detail"] for one in status["components"]}
        if mend:
            assert [str(outcome.error) for outcome in dry_site.up() if outcome.result != "done"] == []
            assert dry_site.provider().plan().actions == ()
    assert dry_site.destroy() == []
    assert inventory(dry_site.host) == before


def test_seeds_cannot_be_read_by_others(dry_site: MachineSite) -> None:
    dry_site.up()
    seeds = list((dry_site.storage / "lab").glob("*-seed.iso"))
    assert len(seeds) == 3
    assert {stat.S_IMODE(seed.stat().st_mode) for seed in seeds} == {0o600}


def test_a_full_pool_says_so_and_goes_on_when_there_is_room(dry_site: MachineSite, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    here = ["nsenter", "-t", str(dry_site.host.pids[0]), "-m"]
    subprocess.run([*here, "mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)], check=True)
    site = replace(dry_site, pool=small)
    try:
        site.write()
        full = site.run("up", "--yes", code=1)
        assert "the pool is full" in full.stderr
        assert "free some space" in full.stderr
        subprocess.run([*here, "mount", "-o", "remount,size=100m", str(small)], check=True)
        site.run("up", "--yes")
        assert site.provider().plan().actions == ()
        assert site.destroy() == []
    finally:
        subprocess.run([*here, "umount", str(small)], check=True)


def test_an_image_that_is_missing_or_damaged(dry_site: MachineSite) -> None:
    replace(dry_site, image="nothing").write()
    missing = dry_site.run("up", "--yes", code=1)
    assert "there is no image 'nothing'" in missing.stderr
    assert dry_site.image in missing.stderr
    dry_site.write()
    disk = dry_site.cache / "ai-how" / "images" / dry_site.image / "disk.qcow2"
    whole = disk.read_bytes()
    disk.write_bytes(whole[:-1] + b"!")
    damaged = dry_site.run("up", "--yes", code=1)
    assert "is damaged" in damaged.stderr
    assert "SHA-256" in damaged.stderr
    disk.write_bytes(whole)
    dry_site.run("up", "--yes")
    # made machines need their image no longer
    shutil.rmtree(disk.parent)
    assert dry_site.provider().plan().actions == ()
    dry_site.run("destroy", "--yes")


def test_what_no_longer_fits_can_be_stopped_and_removed(dry_site: MachineSite) -> None:
    before = inventory(dry_site.host)
    dry_site.up()
    dry_site.file.write_text(dry_site.file.read_text().replace("cores: 32", "cores: 1"))
    assert "do not fit" in dry_site.run("up", "--yes", code=1).stderr
    dry_site.run("down")
    dry_site.run("destroy", "--yes")
    assert inventory(dry_site.host) == before


def test_no_libvirt_and_no_permission(dry_site: MachineSite) -> None:
    replace(dry_site, uri="qemu+unix:///system?socket=/nowhere/libvirt-sock").write()
    nothing = dry_site.run("up", "--yes", code=1)
    assert "libvirt does not answer" in nothing.stderr
    assert "apt-get install" in nothing.stderr
    dry_site.write()
    refused = as_nobody(lambda: open_connection(dry_site.host.uri))
    assert "no permission for" in refused
    assert "adduser" in refused


def as_nobody(do: Callable[[], object]) -> str:
    """What a function complains about when an account without rights calls it, in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            do()
        except AiHowError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_two_ups_at_once(dry_site: MachineSite) -> None:
    first, second = (dry_site.start_command("up", "--yes") for _ in range(2))
    said = [process.communicate(timeout=120)[1] for process in (first, second)]
    codes = sorted((first.returncode, second.returncode))
    assert codes in ([0, 1], [0, 0]), said
    if codes == [0, 1]:
        assert any("another command is changing this site" in text for text in said)
    assert dry_site.provider().plan().actions == ()


def test_a_connection_that_is_lost_in_the_middle(dry_site: MachineSite) -> None:
    broken = []
    starting_a_network = threading.Lock()

    def losing(perform):  # type: ignore[no-untyped-def]
        def do(action, resource):  # type: ignore[no-untyped-def]
            if action.resource.startswith("network/"):
                # what a daemon leaves that dies just then is another test's
                with starting_a_network:
                    return perform(action, resource)
            if action.resource.startswith("disk/") and not broken:
                broken.append(action.resource)
                with starting_a_network:
                    dry_site.host.restart_daemon()
            return perform(action, resource)

        return do

    outcomes = dry_site.up(losing)
    errors = {str(outcome.error) for outcome in outcomes if outcome.result == "failed"}
    assert errors
    assert all("the connection to libvirt broke" in error and "ai-how up" in error for error in errors)
    assert [str(outcome.error) for outcome in dry_site.up() if outcome.result != "done"] == []
    assert dry_site.provider().plan().actions == ()


def test_a_bridge_that_a_killed_daemon_left_is_told(dry_site: MachineSite) -> None:
    bridge = dry_site.provider().look.wanted.networks["hpc"].network.bridge
    subprocess.run(dry_site.host.inside("ip", "link", "add", bridge, "type", "bridge"), check=True)
    failed = dry_site.run("up", "--yes", code=1)
    assert f"a bridge {bridge} is there already" in failed.stderr
    assert f"ip link delete {bridge}" in failed.stderr
    subprocess.run(dry_site.host.inside("ip", "link", "delete", bridge), check=True)
    dry_site.run("up", "--yes")
    assert dry_site.provider().plan().actions == ()


def test_disks_whose_making_was_broken_off_are_made_anew(dry_site: MachineSite) -> None:
    dry_site.up()
    folder = dry_site.storage / "lab"
    node = "cloud-cpu-worker-1"
    for name in (f"{node}.qcow2", f"{node}-models.qcow2"):
        os.truncate(folder / name, 0)
    assert [str(outcome.error) for outcome in dry_site.up() if outcome.result != "done"] == []
    assert dry_site.provider().plan().actions == ()
    said = subprocess.run(["qemu-img", "info", folder / f"{node}.qcow2"], check=True, capture_output=True, text=True)
    assert f"backing file: {folder}/image-{dry_site.image}.qcow2" in said.stdout


def test_up_that_is_killed_anywhere(dry_site: MachineSite) -> None:
    before = inventory(dry_site.host)
    chance = random.Random(4)
    for _ in range(4):
        process = dry_site.start_command("up", "--yes")
        try:
            process.wait(timeout=chance.uniform(1.5, 6))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout and process.stderr:
            process.stdout.close()
            process.stderr.close()
        if chance.random() < 0.5:
            dry_site.destroy()
            assert inventory(dry_site.host) == before
            assert dry_site.files() == set()
    assert [str(outcome.error) for outcome in dry_site.up() if outcome.result != "done"] == []
    assert dry_site.provider().plan().actions == ()


def test_a_machine_that_never_boots_ends_in_an_error_with_its_log(dry_site: MachineSite) -> None:
    site = starting(dry_site)
    site.file.write_text(site.file.read_text().replace("ready_timeout_s: 600", "ready_timeout_s: 8"))
    failed = site.run("up", "--yes", code=1)
    assert "did not come up within 8 s" in failed.stderr
    assert "SeaBIOS" in failed.stderr or "boot" in failed.stderr.lower()
    status = site.run("status", "-o", "json", code=1).json()
    assert "has not been seen ready" in next(one["detail"] for one in status["components"] if "solo" in one["name"])
    site.run("destroy", "--yes")


def test_ctrl_c_while_a_machine_starts(dry_site: MachineSite) -> None:
    site = starting(dry_site)
    process = site.start_command("up", "--yes")
    eventually(lambda: site.host.processes("qemu-system"))
    events = site.root / "events.jsonl"
    eventually(lambda: '"machine/solo-controller-1","verb":"create","outcome":"started"' in events.read_text())
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    # the machine goes on starting; the next up waits for it
    assert site.host.processes("qemu-system")
    actions = site.provider().plan().actions
    assert [(action.resource, str(action.verb)) for action in actions] == [("machine/solo-controller-1", "repair")]


def test_names_change_while_the_network_runs(dry_site: MachineSite) -> None:
    dry_site.up()
    before = inventory(dry_site.host)["links"]
    network = open_connection(dry_site.host.uri).networkLookupByName("ai-how-lab-cloud")
    dry_site.write(TWO_CLUSTERS.replace("models_disk_gib: 1}", "models_disk_gib: 1, count: 2}"))
    outcomes = dry_site.up()
    assert [str(outcome.error) for outcome in outcomes if outcome.result != "done"] == []
    details = {outcome.action.resource: outcome.detail for outcome in outcomes}
    assert "changed while it runs" in details["network/cloud"]
    assert network.XMLDesc(0).count("cloud-cpu-worker-2") == 3
    assert dry_site.provider().plan().actions == ()
    dry_site.write()
    dry_site.up()
    assert network.XMLDesc(0).count("cloud-cpu-worker-2") == 0
    assert dry_site.provider().plan().actions == ()
    assert inventory(dry_site.host)["links"] == before
