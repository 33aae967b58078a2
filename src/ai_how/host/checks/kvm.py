"""Checks of KVM: the device opens, our own guest runs, a standard guest gets through its firmware.

Only a guest that has run counts. Where KVM does not work, software emulation (QEMU's TCG) remains, and is said.
"""

from __future__ import annotations

from ai_how.host.check import Check, Verdict
from ai_how.host.facts.kvm import Device, GuestFacts, KvmFacts

_WHY = "The cluster's nodes are virtual machines; without KVM they run under software emulation, many times slower."
# an interpreter of instructions stays below some millions a second; a processor, even an emulated one, far above
_INTERPRETED_BELOW_PER_S = 20_000_000
_BY_HAND = "virt-host-validate qemu (package libvirt-clients) tells a part; then start a guest by hand"
_EMULATION = "until then only software emulation (QEMU's TCG) runs guests here"


def kvm_checks(facts: KvmFacts) -> list[Check]:
    """The device, then the guests; the latter only where the device opens."""
    checks = [_device(facts)]
    if facts.device is Device.OPENS:
        checks += [_guest(facts), _firmware(facts)]
    return checks


def kvm_usable(facts: KvmFacts) -> bool:
    """Whether virtual machines may be started with KVM: both guests were run here, and the standard one booted.

    That of our own may warn (registers that KVM announces and refuses): the standard guest did without them.
    """
    verdicts = {check.id: check.verdict for check in kvm_checks(facts)}
    return verdicts.get("kvm.firmware") is Verdict.PASS and verdicts["kvm.guest"] in (Verdict.PASS, Verdict.WARN)


def _device(facts: KvmFacts) -> Check:
    verdict, found, fix = {
        Device.OPENS: (Verdict.PASS, _opened(facts), ""),
        Device.DENIED: (
            Verdict.FAIL,
            "/dev/kvm is there, but not for this user",
            "sudo usermod -aG kvm $USER, then log in again; ls -l /dev/kvm should show group kvm and mode crw-rw----",
        ),
        Device.MISSING: (Verdict.FAIL, _missing(facts), _missing_fix(facts)),
        Device.BROKEN: (Verdict.FAIL, f"/dev/kvm does not work: {facts.detail}", _missing_fix(facts)),
        Device.UNASKED: (
            Verdict.UNKNOWN,
            facts.detail,
            "Run ai-how on the machine itself, as a user who may start its Python",
        ),
    }[facts.device]
    return Check(
        id="kvm.device",
        title="KVM device",
        found=found,
        wanted="opens",
        verdict=verdict,
        why=_WHY,
        fix=fix,
        needs_root=facts.device is Device.DENIED,
    )


def _opened(facts: KvmFacts) -> str:
    nested = {True: "; nested guests allowed", False: "; no nested guests", None: ""}[facts.nested]
    return f"opens{nested}" + ("; this host is a virtual machine itself" if facts.in_guest else "")


def _missing(facts: KvmFacts) -> str:
    flag = f"the processor has {facts.flag}" if facts.flag else "the processor shows neither vmx nor svm"
    return f"no /dev/kvm; {flag}"


def _missing_fix(facts: KvmFacts) -> str:
    if facts.in_guest:
        return f"Turn on nested virtualization for this machine on its own host; {_EMULATION}"
    if facts.flag:
        module = "kvm_intel" if facts.flag == "vmx" else "kvm_amd"
        return f"sudo modprobe {module}; if it refuses, switch on virtualization (VT-x, SVM) in the firmware's set-up"
    return f"Switch on virtualization (VT-x, SVM) in the firmware's set-up; {_EMULATION}"


def _guest(facts: KvmFacts) -> Check:
    guest = facts.guest
    verdict, found = _judge(guest) if guest else (Verdict.UNKNOWN, facts.detail)
    if guest and guest.complete and guest.registers and facts.firmware and facts.firmware.booted:
        verdict = Verdict.WARN  # QEMU's own guest has shown that it can do without them
    return Check(
        id="kvm.guest",
        title="KVM guest",
        found=found,
        wanted="a guest runs like a kernel's start",
        verdict=verdict,
        why="A device that opens proves little: some hosts, nested ones above all, stop at a guest's first steps.",
        fix=_guest_fix(facts) if verdict is not Verdict.PASS else "",
    )


def _judge(guest: GuestFacts) -> tuple[Verdict, str]:
    if not guest.complete:
        last = f"after {guest.done[-1]}" if guest.done else "before its first instruction"
        code = f" at {' '.join(guest.code.split()[:4])}" if guest.code else ""
        return Verdict.FAIL, f"stopped {last}: {guest.stopped}{code}"
    if guest.instructions_per_s is not None and guest.instructions_per_s < _INTERPRETED_BELOW_PER_S:
        return Verdict.FAIL, f"interpreted: {guest.instructions_per_s / 1e6:.1f} million instructions a second"
    if guest.registers:
        return Verdict.FAIL, f"KVM refuses registers that it announces: {', '.join(guest.registers)}"
    return Verdict.PASS, "long mode, arithmetic, a timer's interrupt: all run"


def _guest_fix(facts: KvmFacts) -> str:
    if facts.guest is None:
        return _BY_HAND
    if facts.in_guest:
        return f"Run on hardware, or ask for true nested virtualization on this machine's host; {_EMULATION}"
    return f"Update kernel and firmware; see sudo dmesg | grep -i kvm; {_EMULATION}"


def _firmware(facts: KvmFacts) -> Check:
    firmware = facts.firmware
    booted = firmware.booted if firmware else None
    verdicts = {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.UNKNOWN}
    found = (
        "QEMU's firmware handed over to a boot sector" if booted else (firmware.detail if firmware else facts.detail)
    )
    install = "sudo apt install qemu-system-x86, then ai-how doctor again"
    fixes = {True: "", None: install if firmware else _BY_HAND, False: _guest_fix(facts)}
    return Check(
        id="kvm.firmware",
        title="Standard guest",
        found=found,
        wanted="boots under QEMU with KVM",
        verdict=verdicts[booted],
        why="This is how every node starts: QEMU, the host's own processor model, firmware, boot disk.",
        fix=fixes[booted],
    )
