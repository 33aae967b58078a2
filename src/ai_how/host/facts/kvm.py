"""Whether this host runs virtual machines: the device, the processor's flag, and two guests that are really run.

Owns what is asked and in what order; ``checks.kvm`` judges. Takes at most ``LIMIT_S`` seconds, changes nothing and
needs no root: access to ``/dev/kvm`` is enough.
"""

from __future__ import annotations

import errno
import json
import platform
import sys
from dataclasses import dataclass, replace
from enum import StrEnum

from ai_how.errors import AiHowError
from ai_how.host.facts.kvm_firmware import FirmwareFacts, observe_firmware
from ai_how.host.root import Root
from ai_how.run.process import run

LIMIT_S = 5.0
_GUEST_LIMIT_S = 1.5
_FIRMWARE_LIMIT_S = 3.0
# the guest's process stops itself; this only ends one that cannot
_PROCESS_LIMIT_S = 2.0


class Device(StrEnum):
    """``/dev/kvm`` as we see it. ``UNASKED``: nothing can be run, as for a capture."""

    MISSING = "missing"
    DENIED = "denied"
    BROKEN = "broken"
    OPENS = "opens"
    UNASKED = "unasked"


@dataclass(frozen=True, kw_only=True)
class GuestFacts:
    """How far our own guest came; see ``kvm_guest``. ``done`` are the steps that it passed, in order."""

    done: tuple[str, ...] = ()
    complete: bool = False
    registers: tuple[str, ...] = ()
    instructions_per_s: int | None = None
    stopped: str = ""
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class KvmFacts:
    """Facts about KVM. ``guest`` and ``firmware`` are None where they could not be tried; ``detail`` says why.

    ``flag`` is ``vmx`` or ``svm`` where the processor has it; ``nested`` the kvm module's parameter, where readable;
    ``in_guest`` whether this host is a virtual machine itself.
    """

    device: Device
    architecture: str
    detail: str = ""
    flag: str | None = None
    nested: bool | None = None
    in_guest: bool | None = None
    api_version: int | None = None
    guest: GuestFacts | None = None
    firmware: FirmwareFacts | None = None


def observe_kvm(root: Root) -> KvmFacts:
    """Look at KVM and, on the live machine, run both guests."""
    flags = _flags(root)
    facts = KvmFacts(
        device=Device.UNASKED,
        architecture=platform.machine() if root.live else "",
        detail="guests can only be run on the live machine",
        flag=next((flag for flag in ("vmx", "svm") if flag in flags), None),
        nested=_nested(root),
        in_guest="hypervisor" in flags if flags else None,
    )
    if not root.live:
        return facts
    if not root.exists("dev/kvm"):
        return replace(facts, device=Device.MISSING, detail="there is no /dev/kvm")
    if facts.architecture != "x86_64":
        return replace(facts, device=Device.OPENS, detail=f"there is no guest program for {facts.architecture}")
    return _probe(facts)


def _probe(facts: KvmFacts) -> KvmFacts:
    try:
        report = _guest_report()
    except OSError as error:  # our own Python, in a folder that this user may not enter
        return replace(facts, detail=f"{sys.executable} cannot be started: {error.strerror}")
    refused, api_version = str(report.get("refused") or ""), report.get("api_version")
    if not isinstance(api_version, int):
        denied = report.get("errno") in (errno.EPERM, errno.EACCES)
        return replace(facts, device=Device.DENIED if denied else Device.BROKEN, detail=refused)
    return replace(
        facts,
        device=Device.OPENS,
        detail=refused,
        api_version=api_version,
        guest=read_guest(report),
        firmware=observe_firmware(timeout_s=_FIRMWARE_LIMIT_S),
    )


def _guest_report() -> dict[str, object]:
    command = [sys.executable, "-m", "ai_how.host.facts.kvm_guest", str(_GUEST_LIMIT_S)]
    try:
        return parse_report(run(command, timeout_s=_PROCESS_LIMIT_S).stdout)
    except AiHowError as error:
        return {"api_version": 0, "stopped": error.evidence.splitlines()[-1] if error.evidence else error.brief}


def parse_report(text: str) -> dict[str, object]:
    """The guest program's report; what is no report says so as ``stopped``."""
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    return report if isinstance(report, dict) else {"api_version": 0, "stopped": "its report is no report"}


def read_guest(report: dict[str, object]) -> GuestFacts:
    """The guest's part of a report."""
    from ai_how.host.facts.kvm_guest import STEPS

    steps, registers = report.get("steps"), report.get("registers")
    done = tuple(map(str, steps)) if isinstance(steps, list) else ()
    speed = report.get("instructions_per_s")
    return GuestFacts(
        done=done,
        complete=done == tuple(STEPS.values()),
        registers=tuple(map(str, registers)) if isinstance(registers, list) else (),
        instructions_per_s=speed if isinstance(speed, int) else None,
        stopped=str(report.get("stopped") or report.get("refused") or ""),
        code=str(report.get("code") or ""),
    )


def _flags(root: Root) -> frozenset[str]:
    for line in (root.text("proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def _nested(root: Root) -> bool | None:
    for module in ("kvm_intel", "kvm_amd"):
        text = root.text(f"sys/module/{module}/parameters/nested")
        if text:
            return text in ("1", "Y", "y")
    return None
