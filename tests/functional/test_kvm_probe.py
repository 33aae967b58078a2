"""The probe's two guests, run for real: under software emulation everywhere, under KVM where there is a device."""

from __future__ import annotations

import gc
import os
import struct
import sys
from pathlib import Path

import psutil
import pytest

from ai_how.host.check import Verdict
from ai_how.host.checks.kvm import kvm_checks
from ai_how.host.facts.kvm import Device, observe_kvm, parse_report, read_guest
from ai_how.host.facts.kvm_firmware import observe_firmware
from ai_how.host.facts.kvm_guest import PORT, load, program
from ai_how.host.root import Root
from ai_how.run.process import run, which

needs_qemu = pytest.mark.skipif(which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed")
needs_kvm = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="/dev/kvm does not open")

# loads tables to 0x1000 and the program to 0x8000 with the firmware's disk service, then jumps to it
_LOADER = bytes.fromhex(
    "fa 31c0 8ed8 8ec0 8ed0 bc00f0 fb"  # no segments, a stack out of the way
    "be407c b442 cd13"  # read as the packet at 0x7c40 says
    "be507c b442 cd13"  # and that at 0x7c50
    "fa ea00800000"
)
_DEBUG_EXIT = 0xF4


def _disk() -> bytes:
    memory = bytearray(2 << 20)
    load(memory)
    end = 0x8000 + len(program())
    # a wrong result, or the end, leaves QEMU instead of reporting for ever
    last = memory.index(bytes((0xB0, 0xEE, 0xE6, PORT)), 0x8000, end)
    memory[last + 3] = _DEBUG_EXIT
    sector = bytearray(_LOADER.ljust(512, b"\0"))
    packets = ((54, 0x1000, 1), (1, 0x8000, 55))  # sectors, to where, from which
    sector[0x40:0x60] = b"".join(struct.pack("<BBHHHQ", 16, 0, count, to, 0, first) for count, to, first in packets)
    sector[510:] = b"\x55\xaa"
    return bytes(sector + memory[0x1000:0x7C00] + memory[0x8000:0x8200]).ljust(1 << 20, b"\0")


@needs_qemu
def test_our_guest_takes_every_step_on_an_emulated_processor(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(_disk())
    command = [
        "qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-machine", "pc,accel=tcg",
        "-cpu", "max", "-m", "64", "-nic", "none",
        "-drive", f"file={tmp_path / 'disk'},format=raw,if=ide",
        "-device", f"isa-debug-exit,iobase={_DEBUG_EXIT:#x},iosize=1",
        "-chardev", f"file,id=steps,path={tmp_path / 'steps'}",
        "-device", f"isa-debugcon,iobase={PORT:#x},chardev=steps",
    ]  # fmt: skip
    run(command, timeout_s=60, check=False)
    assert list((tmp_path / "steps").read_bytes()) == [1, 2, 3, 4, 5, 6, 5, 6, 5, 6, 7]


@needs_qemu
def test_the_standard_guest_boots_under_software_emulation() -> None:
    facts = observe_firmware(timeout_s=60, acceleration="tcg")
    assert (facts.booted, facts.detail) == (True, "")


@needs_qemu
def test_a_guest_that_takes_too_long_is_ended_and_said() -> None:
    children = _children()
    facts = observe_firmware(timeout_s=0.01, acceleration="tcg")
    assert facts.booted is False
    assert facts.detail == "the guest did not get through its firmware in 0.01 s"
    assert _children() == children


def test_without_qemu_the_standard_guest_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    facts = observe_firmware(timeout_s=1)
    if facts.program == "":
        assert (facts.booted, facts.detail) == (None, "QEMU is not installed")


def test_this_host_gets_a_verdict_and_nothing_is_left_behind() -> None:
    gc.collect()  # what other tests left open is closed now, not meanwhile
    children, descriptors = _children(), _descriptors()
    facts = observe_kvm(Root())
    checks = {check.id: check for check in kvm_checks(facts)}
    assert facts.device is not Device.UNASKED
    assert ("kvm.guest" in checks) == (facts.device is Device.OPENS)
    if facts.guest is not None:
        assert facts.guest.complete != bool(facts.guest.stopped)
        assert facts.guest.complete or checks["kvm.guest"].verdict is Verdict.FAIL
    assert _children() == children
    assert _descriptors() == descriptors


_ENDLESS = """
import json, dataclasses
from ai_how.host.facts import kvm_guest
kvm_guest.program = lambda: bytes.fromhex("eb fe")
print(json.dumps(dataclasses.asdict(kvm_guest.probe(0.3))))
"""


@needs_kvm
def test_a_guest_that_never_comes_back_is_ended() -> None:
    report = parse_report(run([sys.executable, "-c", _ENDLESS], timeout_s=60).stdout)
    guest = read_guest(report)
    assert not guest.complete
    assert guest.stopped == "no answer within 0.3 s"


def _descriptors() -> int:
    return psutil.Process().num_fds()


def _children() -> list[int]:
    return [child.pid for child in psutil.Process().children(recursive=True)]
