"""Verdicts about KVM: only guests that have run count."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ai_how.host.check import Verdict
from ai_how.host.checks.kvm import kvm_checks, kvm_usable
from ai_how.host.facts import kvm
from ai_how.host.facts.kvm import Device, GuestFacts, KvmFacts, observe_kvm, parse_report, read_guest
from ai_how.host.facts.kvm_firmware import FirmwareFacts
from ai_how.host.facts.kvm_guest import STEPS, program
from ai_how.host.root import Root
from tests.pci_tree import sound_host

ALL = tuple(STEPS.values())
SOUND = GuestFacts(done=ALL, complete=True, instructions_per_s=2_000_000_000)
BOOTED = FirmwareFacts(program="qemu-system-x86_64", booted=True)
NO_QEMU = FirmwareFacts(detail="QEMU is not installed")
STUCK = FirmwareFacts(
    program="qemu-system-x86_64", booted=False, detail="the guest did not get through its firmware in 3 s"
)
MSR = FirmwareFacts(program="qemu-system-x86_64", booted=False, detail="failed to set MSR 0x10a to 0x69")
# what a host said that interprets guests instead of running them
INTERPRETED = {
    "api_version": 12,
    "steps": list(ALL[:3]),
    "registers": ["0x10a"],
    "stopped": "internal error of KVM",
    "code": "66 0f 6e c0 66 0f fe c0",
}


def opened(guest: GuestFacts | None, firmware: FirmwareFacts | None, detail: str = "") -> KvmFacts:
    return KvmFacts(
        device=Device.OPENS, architecture="x86_64", guest=guest, firmware=firmware, detail=detail, in_guest=True
    )


def verdicts(facts: KvmFacts) -> dict[str, str]:
    checks = kvm_checks(facts)
    for check in checks:
        assert check.found and check.why
        assert (check.fix == "") == (check.verdict is Verdict.PASS), check
    return {check.id: check.verdict.value for check in checks}


@pytest.mark.parametrize(
    ("guest", "firmware", "expected"),
    [
        (SOUND, BOOTED, ("pass", "pass")),
        (SOUND, NO_QEMU, ("pass", "unknown")),
        (SOUND, STUCK, ("pass", "fail")),
        (read_guest(INTERPRETED), MSR, ("fail", "fail")),
        (read_guest(INTERPRETED), BOOTED, ("fail", "pass")),
        (GuestFacts(done=ALL, complete=True, instructions_per_s=1_500_000), BOOTED, ("fail", "pass")),
        (GuestFacts(done=ALL, complete=True, registers=("0x10a",)), NO_QEMU, ("fail", "unknown")),
        (GuestFacts(done=ALL, complete=True, registers=("0x10a",)), BOOTED, ("warn", "pass")),
        (GuestFacts(stopped="no answer within 1.5 s"), NO_QEMU, ("fail", "unknown")),
        (None, None, ("unknown", "unknown")),
    ],
)
def test_verdicts(guest: GuestFacts | None, firmware: FirmwareFacts | None, expected: tuple[str, str]) -> None:
    found = verdicts(opened(guest, firmware, detail="there is no guest program for aarch64"))
    assert (found["kvm.device"], found["kvm.guest"], found["kvm.firmware"]) == ("pass", *expected)
    assert kvm_usable(opened(guest, firmware)) == (expected in (("pass", "pass"), ("warn", "pass")))


def test_a_python_that_cannot_be_started_leaves_kvm_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(kvm, "run", refuse)
    monkeypatch.setattr(Root, "exists", lambda _self, _path: True)
    monkeypatch.setattr(kvm.platform, "machine", lambda: "x86_64")
    facts = observe_kvm(Root())
    assert facts.device is Device.UNASKED
    assert facts.detail.endswith("cannot be started: Permission denied")
    assert verdicts(facts) == {"kvm.device": "unknown"}
    assert not kvm_usable(facts)


@pytest.mark.parametrize("device", [device for device in Device if device is not Device.OPENS])
def test_without_the_device_kvm_is_not_usable(device: Device) -> None:
    assert not kvm_usable(KvmFacts(device=device, architecture="x86_64", guest=SOUND, firmware=BOOTED))


def test_where_a_guest_stopped_is_said() -> None:
    checks = {check.id: check for check in kvm_checks(opened(read_guest(INTERPRETED), MSR))}
    found = "stopped after long mode with paging: internal error of KVM at 66 0f 6e c0"
    assert checks["kvm.guest"].found == found
    assert checks["kvm.firmware"].found == "failed to set MSR 0x10a to 0x69"
    assert "software emulation" in checks["kvm.guest"].fix


@pytest.mark.parametrize(
    ("device", "flag", "in_guest", "verdict", "fix"),
    [
        (Device.DENIED, "vmx", False, "fail", "usermod -aG kvm"),
        (Device.MISSING, "svm", False, "fail", "sudo modprobe kvm_amd"),
        (Device.MISSING, "vmx", False, "fail", "sudo modprobe kvm_intel"),
        (Device.MISSING, None, False, "fail", "firmware's set-up"),
        (Device.MISSING, None, True, "fail", "nested virtualization"),
        (Device.BROKEN, None, None, "fail", "firmware's set-up"),
        (Device.UNASKED, None, None, "unknown", "on the machine itself"),
    ],
)
def test_a_device_that_does_not_open(
    device: Device, flag: str | None, in_guest: bool | None, verdict: str, fix: str
) -> None:
    facts = KvmFacts(device=device, architecture="x86_64", detail="why", flag=flag, in_guest=in_guest)
    assert verdicts(facts) == {"kvm.device": verdict}
    assert fix in kvm_checks(facts)[0].fix


def test_a_capture_tells_the_flag_and_nesting_but_runs_nothing(tmp_path: Path) -> None:
    tree = sound_host(tmp_path)
    tree.write("sys/module/kvm_intel/parameters/nested", "Y\n")
    facts = observe_kvm(tree.root)
    assert (facts.device, facts.flag, facts.nested, facts.in_guest) == (Device.UNASKED, "vmx", True, False)


def test_the_guest_program_is_what_its_listing_says() -> None:
    code = program()
    assert len(code) == 282
    # jumps in it are absolute: to 32-bit code, to 64-bit code, to the end for a wrong result, to the tick
    assert code[0x1B:0x1F] == bytes.fromhex("66b81000")
    assert code[0x64:0x68] == bytes.fromhex("b003e610")
    assert code[0x10C:0x112] == bytes.fromhex("b0eee610ebfa")
    assert code[0x112:] == bytes.fromhex("ffc3b020e62048cf")


@pytest.mark.parametrize(
    ("number", "device"), [(errno.EACCES, Device.DENIED), (errno.EPERM, Device.DENIED), (errno.EBUSY, Device.BROKEN)]
)
def test_a_device_that_refuses_is_told_from_one_that_is_broken(
    monkeypatch: pytest.MonkeyPatch, number: int, device: Device
) -> None:
    monkeypatch.setattr(kvm, "_guest_report", lambda: {"errno": number, "refused": "why", "api_version": None})
    monkeypatch.setattr(kvm.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(Root, "exists", lambda _root, _path: True)
    facts = observe_kvm(Root())
    assert (facts.device, facts.detail, facts.guest) == (device, "why", None)


def test_other_architectures_have_no_guest_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(Root, "exists", lambda _root, _path: True)
    assert verdicts(observe_kvm(Root())) == {"kvm.device": "pass", "kvm.guest": "unknown", "kvm.firmware": "unknown"}


def test_a_report_that_is_none_is_a_stop() -> None:
    assert read_guest(parse_report("Killed")).stopped == "its report is no report"
