"""Processors: physical cores and logical threads, sockets, virtualization flags, frequency governors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ai_how.host.facts.parse import cpu_list
from ai_how.host.root import Root

_CPUS = "sys/devices/system/cpu"


@dataclass(frozen=True, kw_only=True)
class CpuFacts:
    """The machine's processors that are online; None where it cannot be told.

    Args:
        architecture: As ``uname -m`` says it: ``x86_64``, ``aarch64``.
        cores: Physical cores.
        threads: Logical processors: with SMT, more than cores.
        offline: Logical processors that are there but switched off.
        virtualization: ``vmx`` (Intel), ``svm`` (AMD), empty for neither; None on ARM, which has no such flag.
        hypervisor: Whether this machine is a virtual one itself (x86 only).
        scaling_driver: What sets the frequency: ``intel_pstate``, ``acpi-cpufreq``; empty where nothing does.
        governors: Each frequency governor and on how many processors it is set; empty without frequency scaling.
        core_of: The core of each thread, as the lowest thread of it, ordered by thread.
    """

    architecture: str | None = None
    model: str = ""
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    offline: int = 0
    virtualization: str | None = None
    hypervisor: bool | None = None
    scaling_driver: str = ""
    governors: tuple[tuple[str, int], ...] = ()
    core_of: tuple[tuple[int, int], ...] = ()

    def cores_among(self, threads: Iterable[int]) -> int:
        """How many physical cores some logical processors belong to."""
        core_of = dict(self.core_of)
        return len({core_of[thread] for thread in threads if thread in core_of})


def observe_cpu(root: Root) -> CpuFacts:
    """Read the processors from sysfs, with ``/proc/cpuinfo`` where sysfs is silent."""
    entries = _entries(root.text("proc/cpuinfo") or "")
    online = _online(root) or tuple(number for number, _ in entries)
    core_of = _core_of(root, online)
    flags = _flags(entries)
    return CpuFacts(
        architecture=root.text("proc/sys/kernel/arch") or _architecture(entries),
        model=_first(entries, "model name", "Model", "Hardware", "cpu model"),
        sockets=_sockets(root, online, entries),
        cores=len(set(core_of.values())) or _cores_by_cpuinfo(entries),
        threads=len(online) or None,
        offline=_offline(root, online),
        virtualization=None if flags is None else next((flag for flag in ("vmx", "svm") if flag in flags), ""),
        hypervisor=None if flags is None else "hypervisor" in flags,
        scaling_driver=root.text(f"{_CPUS}/cpu{min(online, default=0)}/cpufreq/scaling_driver") or "",
        governors=_governors(root, online),
        core_of=tuple(sorted(core_of.items())),
    )


def _entries(text: str) -> list[tuple[int, dict[str, str]]]:
    """The processors of ``/proc/cpuinfo`` with their fields; what stands apart (ARM's ``Model``) joins the last."""
    entries: list[tuple[int, dict[str, str]]] = []
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and re.fullmatch("[0-9]{1,6}", value):
            entries.append((int(value), {}))
        elif colon and entries:
            entries[-1][1].setdefault(key, value)
    return entries


def _first(entries: list[tuple[int, dict[str, str]]], *names: str) -> str:
    return next((fields[name] for name in names for _, fields in entries if fields.get(name)), "")


def _flags(entries: list[tuple[int, dict[str, str]]]) -> set[str] | None:
    """The x86 flags; None where there is no such line (ARM calls its own ``Features``)."""
    text = _first(entries, "flags")
    return set(text.split()) if text else None


def _architecture(entries: list[tuple[int, dict[str, str]]]) -> str | None:
    """By the fields that only one architecture has: for captures, and kernels before 6.1."""
    flags = _flags(entries)
    if flags is not None:
        return "x86_64" if "lm" in flags else "i686"
    if _first(entries, "CPU architecture") in ("8", "AArch64"):
        return "aarch64"
    return "riscv64" if _first(entries, "isa").startswith("rv64") else None


def _online(root: Root) -> tuple[int, ...]:
    listed = cpu_list(root.text(f"{_CPUS}/online"))
    if listed:
        return listed
    numbers = sorted(int(name[3:]) for name in root.names(_CPUS) if re.fullmatch("cpu[0-9]{1,6}", name))
    # a processor that is off has no topology folder
    return tuple(number for number in numbers if root.names(f"{_CPUS}/cpu{number}/topology"))


def _offline(root: Root, online: tuple[int, ...]) -> int:
    present = cpu_list(root.text(f"{_CPUS}/present")) or ()
    return len(set(present) - set(online))


def _core_of(root: Root, online: tuple[int, ...]) -> dict[int, int]:
    """Each thread's core, named by the lowest thread of it; core ids are not unique across dies and sockets."""
    cores = {}
    for thread in online:
        folder = f"{_CPUS}/cpu{thread}/topology"
        siblings = cpu_list(root.text(f"{folder}/core_cpus_list") or root.text(f"{folder}/thread_siblings_list"))
        if siblings:
            cores[thread] = min(siblings)
    return cores if len(cores) == len(online) else {}


def _cores_by_cpuinfo(entries: list[tuple[int, dict[str, str]]]) -> int | None:
    cores = {(fields.get("physical id"), fields["core id"]) for _, fields in entries if "core id" in fields}
    return len(cores) or None


def _sockets(root: Root, online: tuple[int, ...], entries: list[tuple[int, dict[str, str]]]) -> int | None:
    ids = {root.text(f"{_CPUS}/cpu{thread}/topology/physical_package_id") for thread in online}
    if ids and None not in ids and "-1" not in ids:
        return len(ids)
    return len({fields["physical id"] for _, fields in entries if "physical id" in fields}) or None


def _governors(root: Root, online: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    found = (root.text(f"{_CPUS}/cpu{thread}/cpufreq/scaling_governor") for thread in online)
    return tuple(sorted(Counter(governor for governor in found if governor).items()))
