"""``ai-how vm`` on a real machine: off, started by hand, kept and put back, resized, removed and made anew.

The machine belongs to a cluster with ``start: manual``, so that one boot serves most of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .libvirt_guests import SSH_FAILED, BootImage
from .libvirt_host import LibvirtHost
from .site import eventually

NODE = "lab-controller-1"
SITE = """# kept: the head
name: vmtest
provider: libvirt
virtualization: emulated
hosts:
  - name: here
    uri: {uri}
    storage_path: {storage}
    declared: {{cores: 16, memory_gib: 64, disk_gib: 1000}}
    reserve: {{cores: 0, memory_gib: 1}}
clusters:
  lab:
    kind: hpc
    start: manual
    image: {image}
    subnet: 192.168.217.0/24
    nodes:
      - role: hpc-controller  # kept: beside a key
        vcpus: 1
        memory_gib: 1
        disk_gib: 8
"""
pytestmark = [pytest.mark.boots, pytest.mark.libvirt, pytest.mark.slow, pytest.mark.timeout(900, func_only=True)]


class Lab:
    """A site on a private libvirt host, driven by the command line from inside that host's network."""

    def __init__(self, host: LibvirtHost, folder: Path) -> None:
        self.host, self.folder = host, folder

    def run(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        argv = self.host.inside(str(Path(sys.executable).with_name("ai-how")), *words)
        began = time.monotonic()
        done = subprocess.run(argv, check=False, cwd=self.folder, capture_output=True, text=True, timeout=800)
        took = f"{done.returncode} in {time.monotonic() - began:.1f} s"
        print(f"$ ai-how {' '.join(words)} -> {took}\n{done.stdout}{done.stderr}", flush=True)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *words: str, code: int | None = 0) -> Any:
        return json.loads(self.run(*words, "-o", "json", code=code).stdout)

    def machine(self) -> dict[str, Any]:
        (found,) = self.json("vm", "list")["machines"]
        assert found["node"] == NODE
        return dict(found)

    def ssh(self, *words: str) -> str:
        """What a command on the machine printed. ssh's own failures are tried again, as one that was put back needs."""
        deadline = time.monotonic() + 180
        done = self.run("vm", "ssh", NODE, "--", *words, code=None)
        while done.returncode == SSH_FAILED and time.monotonic() < deadline:
            time.sleep(0.5)
            done = self.run("vm", "ssh", NODE, "--", *words, code=None)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@contextmanager
def site_of_lab(text: str, host: LibvirtHost, image: BootImage, folder: Path) -> Iterator[Lab]:
    """A site from the text of its file, not made yet; nothing of it is left behind."""
    (folder / "ai-how.yaml").write_text(text.format(uri=host.uri, storage=folder / "pool", image=image.name))
    lab = Lab(host, folder)
    try:
        yield lab
    finally:
        lab.run("destroy", "--yes")


@pytest.fixture(scope="module")
def lab(libvirt_host: LibvirtHost, boot_image: BootImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with site_of_lab(SITE, libvirt_host, boot_image, tmp_path_factory.mktemp("vm")) as made:
        yield made


def test_a_machine_is_started_by_hand_and_put_back(lab: Lab) -> None:
    assert lab.machine()["state"] == "not made"
    assert "not made yet" in lab.run("vm", "start", NODE, code=1).stderr
    lab.run("up", "--yes")
    made = lab.machine()
    assert (made["state"], made["agent"], made["disk_size_bytes"]) == ("off", None, 8 * 2**30)
    assert "is off" in lab.run("vm", "ssh", NODE, code=1).stderr

    # kept while it is off: disks only
    kept = lab.json("vm", "snapshot", NODE, "--name", "fresh")
    assert (kept["name"], kept["with_memory"]) == ("fresh", False)
    assert "has a snapshot fresh already" in lab.run("vm", "snapshot", NODE, "--name", "fresh", code=1).stderr

    _started_by_hand(lab)
    _back_with_memory(lab)


def test_a_running_machine_is_resized_and_made_anew(lab: Lab) -> None:
    lab.run("up", "--yes")
    lab.run("vm", "start", NODE)
    _grown_while_it_runs(lab)
    _restarted_with_more(lab)
    _made_anew(lab)


def _started_by_hand(lab: Lab) -> None:
    said = lab.run("vm", "start", NODE).stdout
    assert "ready" in said
    assert "runs already" in lab.run("vm", "start", NODE).stdout
    now = lab.machine()
    assert (now["state"], now["agent"]) == ("running", True)
    # a machine that was started by hand is as the site file says
    assert lab.run("plan").returncode == 0
    assert lab.run("status").returncode == 0
    assert lab.ssh("id", "-un") == "ai-how"
    assert lab.run("vm", "ssh", NODE, "--", "echo out; echo err >&2; exit 7", code=7).stdout == "out\n"


def _back_with_memory(lab: Lab) -> None:
    booted = lab.ssh("cat /proc/sys/kernel/random/boot_id")
    lab.ssh("echo before > here; sync")
    kept = lab.json("vm", "snapshot", NODE, "--name", "warm")
    assert kept["with_memory"] is True
    lab.ssh("echo after > here; sync")
    # so that a clock that is not set is further off than is allowed below
    eventually(lambda: time.time() > kept["taken_at_s"] + 6)
    assert "confirmed" in lab.run("vm", "rollback", NODE, code=1).stderr
    assert lab.ssh("cat here") == "after"
    assert "its clock is set" in lab.run("vm", "rollback", NODE, "--yes").stdout
    assert lab.ssh("cat here") == "before"
    assert lab.ssh("cat /proc/sys/kernel/random/boot_id") == booted
    before, guest, after = time.time(), int(lab.ssh("date +%s")), time.time()
    assert before - 3 <= guest <= after + 3
    assert lab.machine()["snapshots"] == ["fresh", "warm"]
    lab.run("vm", "snapshot", NODE, "--delete", "warm")
    assert "warm" not in lab.run("vm", "snapshot", NODE, "--list").stdout


def _grown_while_it_runs(lab: Lab) -> None:
    booted, size = lab.ssh("cat /proc/sys/kernel/random/boot_id"), int(lab.ssh("df -B1 --output=size / | tail -1"))
    assert "cannot shrink" in lab.run("vm", "resize", NODE, "--disk-gib", "7", "--yes", code=1).stderr
    lab.run("vm", "resize", NODE, "--disk-gib", "10", "--yes")
    assert int(lab.ssh("df -B1 --output=size / | tail -1")) - size > 1.8 * 2**30
    assert lab.ssh("cat /proc/sys/kernel/random/boot_id") == booted
    text = (lab.folder / "ai-how.yaml").read_text()
    assert "disk_gib: 10\n" in text and "# kept: beside a key" in text and text.startswith("# kept: the head")
    assert lab.run("plan").returncode == 0


def _restarted_with_more(lab: Lab) -> None:
    said = lab.run("vm", "resize", NODE, "--vcpus", "2", "--yes")
    assert "is restarted" in said.stderr
    assert lab.ssh("nproc") == "2"
    assert lab.machine()["vcpus"] == 2
    assert "shut down" in lab.run("down", "--cluster", "lab").stdout
    assert lab.machine()["state"] == "off"
    assert "start" in lab.run("up", "--cluster", "lab", "--dry-run").stdout


def _made_anew(lab: Lab) -> None:
    lab.run("vm", "snapshot", NODE, "--name", "off")
    assert "it is off" in lab.run("vm", "rollback", NODE, "--name", "off", "--yes").stdout
    lab.run("vm", "delete", NODE, "--yes")
    assert lab.machine()["state"] == "not made"
    left = {path.name for path in (lab.folder / "pool" / "vmtest").iterdir()}
    assert not [name for name in left if name.startswith(NODE)]
    lab.run("up", "--yes")
    again = lab.machine()
    assert (again["state"], again["snapshots"], again["vcpus"]) == ("off", [], 2)
    lab.run("destroy", "--yes")
    assert not (lab.folder / "pool" / "vmtest").exists()
