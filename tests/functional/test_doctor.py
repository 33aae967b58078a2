"""``ai-how doctor`` on the machine that runs the tests: what it says agrees with others, and nothing is changed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from ai_how.host.capacity import observe_capacity
from ai_how.host.facts.sockets import observe_listeners, with_owners
from ai_how.host.facts.tools import observe_tools
from ai_how.host.root import Root

QEMU = f"qemu-system-{os.uname().machine}"


def run_doctor(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ai_how", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=60)


def answer(*words: str, cwd: Path) -> dict[str, Any]:
    done = run_doctor("-o", "json", *words, cwd=cwd)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == found["exit_code"]
    assert done.stderr == ""
    return found


def test_facts_agree_with_psutil(tmp_path: Path) -> None:
    facts = answer(cwd=tmp_path)["facts"]
    assert facts["cpu"]["threads"] == psutil.cpu_count()
    assert facts["cpu"]["cores"] == psutil.cpu_count(logical=False)
    assert facts["memory"]["total_gib"] * 2**30 == psutil.virtual_memory().total
    assert facts["cpu"]["architecture"] == os.uname().machine
    assert facts["system"]["kernel"] == os.uname().release
    assert facts["site_storage"]["size_bytes"] == psutil.disk_usage(str(tmp_path)).total
    assert set(facts["network"]["names"]) == set(psutil.net_if_addrs())


def test_text_ends_with_the_code_of_its_worst_verdict(tmp_path: Path) -> None:
    done = run_doctor("--for", "local", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "software.python" not in done.stdout  # it passes, so nothing is to be done
    assert "Platform" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_found_with_its_owner() -> None:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        wanted = {("tcp", tcp.getsockname()[1]), ("udp", udp.getsockname()[1])}
        root = Root()
        ours = [at for at in observe_listeners(root) or () if (at.protocol, at.port) in wanted]
        owners = {at.owner for at in with_owners(root, ours)}
    assert {(at.protocol, at.port) for at in ours} == wanted
    assert {owner.rpartition(" (")[2] for owner in owners} == {f"process {os.getpid()})"}


AS_NOBODY = """
import os, sys
import ai_how.host.doctor as doctor
from ai_how.host.facts.storage import IMAGES_FOLDER
from ai_how.host.root import Root
from ipaddress import ip_network
doctor.load_requirements()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
wanted = doctor.Wanted(tier="minimum", subnet=ip_network("192.168.200.0/24"))
report = doctor.examine(Root(), wanted=wanted, disk_path=IMAGES_FOLDER, site_path="/")
print(report.facts.cpu.cores, *(check.id for check in report.checks))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_gets_the_same_checks() -> None:
    # the interpreter may lie where another user cannot start it: so it changes its user when it runs
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], capture_output=True, text=True, check=False, timeout=60)
    as_root = answer(cwd=Path("/"))
    assert done.stderr == ""
    # whether guests run is told only to those who may open the device
    guests = {"kvm.guest", "kvm.firmware"}
    ids = [check["id"] for check in as_root["checks"] if check["id"] not in guests]
    assert [word for word in done.stdout.split() if word not in guests] == [str(as_root["facts"]["cpu"]["cores"]), *ids]


def test_programs_with_odd_output_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, body in (
        (QEMU, "printf '\\377\\000 nothing'"),
        ("libvirtd", "exit 3"),
        ("ansible-playbook", "echo 'ansible-playbook [core 2.19.1]'"),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    tools = observe_tools(Root())
    assert (tools.qemu.version, tools.libvirt.version) == (None, None)
    assert tools.qemu.unclear.endswith("says no version")
    assert tools.ansible.version == (2, 19, 1)


def test_a_program_that_cannot_be_started_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / QEMU
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "Exec format error" in observe_tools(Root()).qemu.unclear


def test_ansible_s_version_is_read_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "ansible-playbook"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "lib/python3.12/site-packages/ansible_core-2.18.9.dist-info").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert observe_tools(Root()).ansible.version == (2, 18, 9)


def test_capacity_of_this_machine(tmp_path: Path) -> None:
    host = observe_capacity(Root(), name="here", disk_path=str(tmp_path / "not" / "yet"))
    assert 1 <= host.cores <= host.threads <= (psutil.cpu_count() or 1)
    assert 0 < host.memory_gib * 2**30 <= psutil.virtual_memory().total
    assert host.observed
    assert host.disk_gib > 0
