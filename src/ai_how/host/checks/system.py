"""Checks of the system: kernel, distribution, other hypervisors, clock, name resolution."""

from __future__ import annotations

from collections.abc import Mapping

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import version_at_least, version_text
from ai_how.host.facts.system import SystemFacts


def check_system(
    system: SystemFacts, *, software: Mapping[str, tuple[int, ...]], systems: Mapping[str, tuple[int, ...]]
) -> list[Check]:
    """All of them, against the requirements' software table."""
    return [
        _kernel(system, software["kernel"]),
        _distribution(system, systems),
        _machine(system),
        _hypervisors(system),
        _clock(system),
        _names(system),
    ]


def _kernel(system: SystemFacts, wanted: tuple[int, ...]) -> Check:
    fixes = {
        # Ubuntu's kernel team lists 6.8 as the last one for 22.04
        "ubuntu": "Ubuntu 24.04: sudo apt install linux-generic-hwe-24.04; 22.04 has none newer than 6.8: upgrade it",
        "debian": "Upgrade to Debian 13 (its kernel is 6.12), or take linux-image-amd64 from your release's backports",
    }
    return Check(
        id="system.kernel",
        title="Kernel",
        found=system.kernel or "cannot be read",
        wanted=f"{version_text(wanted)} or newer",
        verdict=version_at_least(system.kernel_version, wanted),
        why="The requirements name it for KVM and for passing GPUs through.",
        fix=fixes.get(system.os_id, f"Install a kernel of {version_text(wanted)} or newer"),
    )


def _distribution(system: SystemFacts, systems: Mapping[str, tuple[int, ...]]) -> Check:
    wanted = systems.get(system.os_id)
    new_enough = wanted is not None and system.os_version is not None and system.os_version >= wanted
    known = bool(system.os_id)
    return Check(
        id="system.os",
        title="Operating system",
        found=system.os_name or system.os_id or "cannot be read",
        wanted="Debian 13, Ubuntu 22.04 or newer",
        verdict=(Verdict.PASS if new_enough else Verdict.WARN) if known else Verdict.UNKNOWN,
        why="Package names and versions are known for these; others may work.",
        fix="Install Debian 13 or Ubuntu 24.04, or see which other checks do not pass",
    )


def _machine(system: SystemFacts) -> Check:
    kinds = [f"container ({system.container})" if system.container else ""]
    vm = system.virtual_machine
    kinds.append(("virtual machine" + ("" if vm == "unnamed" else f" ({vm})")) if vm else "")
    inside = " in a ".join(filter(None, kinds))
    known = bool(system.kernel or system.machine or inside)
    return Check(
        id="system.machine",
        title="Machine",
        found=inside or system.machine or ("hardware" if known else "cannot be read"),
        wanted="hardware",
        verdict=(Verdict.WARN if inside else Verdict.PASS) if known else Verdict.UNKNOWN,
        why="Virtual machines inside of another or of a container are slow or impossible; GPUs are seldom passed on.",
        fix="Run the cluster on the machine itself; provider: local needs no virtual machines",
    )


def _hypervisors(system: SystemFacts) -> Check:
    others = system.other_hypervisors
    dom0 = "Xen dom0" in (others or ())
    verdict = Verdict.FAIL if dom0 else (Verdict.WARN if others else Verdict.PASS)
    return Check(
        id="system.hypervisors",
        title="Other hypervisors",
        found="cannot be read" if others is None else ", ".join(others) or "none",
        wanted="none",
        verdict=Verdict.UNKNOWN if others is None else verdict,
        why="Only one hypervisor at a time can have the processor's virtualization.",
        fix="Boot the plain kernel instead of Xen"
        if dom0
        else "Stop its machines, then unload its modules; VirtualBox: sudo rmmod vboxnetadp vboxnetflt vboxdrv; "
        "VMware: sudo rmmod vmmon",
    )


def _clock(system: SystemFacts) -> Check:
    synchronised = system.clock_synchronised
    found = {True: "synchronised", False: "not synchronised", None: "the kernel does not say"}[synchronised]
    return Check(
        id="system.clock",
        title="Clock",
        found=found,
        wanted="synchronised",
        verdict={True: Verdict.PASS, False: Verdict.WARN, None: Verdict.UNKNOWN}[synchronised],
        why="Certificates and etcd fail when clocks differ.",
        fix="sudo apt install systemd-timesyncd && sudo timedatectl set-ntp true; then see: timedatectl",
    )


def _names(system: SystemFacts) -> Check:
    servers = system.nameservers
    return Check(
        id="system.dns",
        title="Name servers",
        found="/etc/resolv.conf cannot be read" if servers is None else ", ".join(servers) or "none",
        wanted="one or more",
        verdict=Verdict.UNKNOWN if servers is None else (Verdict.PASS if servers else Verdict.FAIL),
        why="Packages, container images and the nodes' names are looked up there (no name was looked up for this).",
        fix="Write one into /etc/resolv.conf (nameserver ADDRESS); see what systemd-resolved knows: resolvectl status",
    )
