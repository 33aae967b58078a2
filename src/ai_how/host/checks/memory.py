"""Checks of memory and huge pages."""

from __future__ import annotations

import math

from ai_how.capacity.tiers import Tier
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import at_least
from ai_how.host.facts.limits import Limits
from ai_how.host.facts.memory import MemoryFacts


def check_memory(memory: MemoryFacts, *, limits: Limits, tier: Tier) -> list[Check]:
    """Installed memory against the tier, limits, huge pages."""
    return [check_installed(memory, tier=tier), _limits(memory, limits), _hugepages(memory)]


def check_installed(memory: MemoryFacts, *, tier: Tier) -> Check:
    """What is installed: firmware and kernel keep a part of it, so 64 GB of modules never show as 64 GiB."""
    installed, total = memory.installed_gib, memory.total_gib
    # modules come in whole GiB; what firmware kept for itself is missing from the memory blocks
    modules = math.ceil(installed) if installed is not None else None
    known = modules if modules is not None else (None if total is None else total * 2**30 / 1e9)
    parts = [f"{modules} GiB" if modules is not None else ""]
    parts.append(f"{total:.1f} GiB usable" if total is not None else "")
    parts.append(f"{memory.available_gib:.1f} free" if memory.available_gib is not None else "")
    return Check(
        id="memory.installed",
        title="Memory",
        found=", ".join(filter(None, parts)) or "cannot be read",
        wanted=f"{tier.memory_gib.least} GB",
        verdict=at_least(known, tier.memory_gib.least),
        why="Memory of virtual machines is not shared out twice: what is not there cannot be given.",
        fix="Add memory, or use a smaller layout: ai-how plan --fit",
    )


def _limits(memory: MemoryFacts, limits: Limits) -> Check:
    limit = limits.memory_gib
    limited = limit is not None and (memory.total_gib is None or limit < memory.total_gib)
    return Check(
        id="memory.limits",
        title="Memory limit",
        found=f"{limit:.1f} GiB" if limited else "no limit",
        wanted="no limit",
        verdict=Verdict.WARN if limited else Verdict.PASS,
        why="A control group or a container lets this process, and what it starts, have no more.",
        fix="Raise the container's or unit's memory limit (systemctl set-property UNIT MemoryMax=)" if limited else "",
    )


def _hugepages(memory: MemoryFacts) -> Check:
    names = {2048: "2 MiB", 1048576: "1 GiB"}
    sizes = [
        f"{pages.total} x {names.get(pages.size_kib, f'{pages.size_kib} KiB')}"
        for pages in memory.hugepages
        if pages.total or pages.size_kib in names
    ]
    return Check(
        id="memory.hugepages",
        title="Huge pages set aside",
        found=", ".join(sizes) if sizes else "the kernel shows none",
        wanted="optional",
        verdict=Verdict.PASS if memory.hugepages else Verdict.UNKNOWN,
        why="Virtual machines whose layout asks for huge pages get their memory from these alone.",
        fix="" if memory.hugepages else "See the kernel's own list: grep Huge /proc/meminfo",
    )
