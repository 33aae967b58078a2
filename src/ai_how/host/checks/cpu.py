"""Checks of processors and NUMA nodes."""

from __future__ import annotations

from ai_how.capacity.tiers import Tier
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import at_least, plural
from ai_how.host.facts.cpu import CpuFacts
from ai_how.host.facts.limits import Limits
from ai_how.host.facts.numa import NumaNode

# drivers whose "powersave" still follows the load: the processor itself chooses the frequency
_SELF_SCALING = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")


def check_cpu(cpu: CpuFacts, *, limits: Limits, numa: tuple[NumaNode, ...], tier: Tier) -> list[Check]:
    """Cores against the tier, then what virtual machines need of the processor."""
    return [
        check_cores(cpu, tier=tier),
        _limits(cpu, limits),
        _architecture(cpu),
        _virtualization(cpu),
        _numa(numa),
        _governor(cpu),
    ]


def check_cores(cpu: CpuFacts, *, tier: Tier) -> Check:
    """Physical cores: two threads of one core share its units and are no two cores."""
    found = "cores cannot be read" if cpu.cores is None else plural(cpu.cores, "core")
    if cpu.threads is not None:
        found += f", {plural(cpu.threads, 'thread')}"
    if cpu.sockets and cpu.sockets > 1:
        found += f", {cpu.sockets} sockets"
    if cpu.offline:
        found += f", {plural(cpu.offline, 'thread')} off"
    return Check(
        id="cpu.cores",
        title="CPU cores",
        found=found,
        wanted=f"{tier.cores.least} cores",
        verdict=at_least(cpu.cores, tier.cores.least),
        why="The cluster's virtual machines share these cores; threads of one core are not two.",
        fix="Use a host with more cores, or a smaller layout: ai-how plan --fit",
    )


def _limits(cpu: CpuFacts, limits: Limits) -> Check:
    allowed = None if limits.cpus is None else cpu.cores_among(limits.cpus)
    few = [cores for cores in (allowed, limits.cores) if cores and cpu.cores and cores < cpu.cores]
    tightest = min(few, default=None)
    known = limits.cpus is not None or limits.cores is not None
    return Check(
        id="cpu.limits",
        title="CPU limits",
        found=f"{tightest:.3g} of {cpu.cores} cores" if tightest else ("no limit" if known else "cannot be read"),
        wanted="no limit",
        verdict=Verdict.WARN if tightest else (Verdict.PASS if known else Verdict.UNKNOWN),
        why="A control group, a container or an affinity keeps this process, and what it starts, from the other cores.",
        fix="Raise the container's or unit's CPU limit (systemctl set-property UNIT CPUQuota= AllowedCPUs=)",
    )


def _architecture(cpu: CpuFacts) -> Check:
    known = cpu.architecture is not None
    verdict = Verdict.PASS if cpu.architecture == "x86_64" else Verdict.FAIL
    return Check(
        id="cpu.architecture",
        title="CPU architecture",
        found=cpu.architecture or "cannot be read",
        wanted="x86_64",
        verdict=verdict if known else Verdict.UNKNOWN,
        why="The cluster's images and GPU drivers are made for x86_64; the local provider runs on ARM too.",
        fix="Use an x86_64 host for the cluster, or provider: local on this one",
    )


def _virtualization(cpu: CpuFacts) -> Check:
    flag = cpu.virtualization
    names = {"vmx": "vmx (Intel VT-x)", "svm": "svm (AMD-V)", "": "neither vmx nor svm"}
    arm = cpu.architecture == "aarch64"
    found = names[flag] if flag is not None else ("ARM has no such flag" if arm else "no flags to be read")
    within = cpu.hypervisor is True
    return Check(
        id="cpu.virtualization",
        title="Virtualization flag",
        found=found,
        wanted="vmx or svm",
        verdict=Verdict.UNKNOWN if flag is None else (Verdict.PASS if flag else Verdict.FAIL),
        why="Without it KVM cannot run virtual machines, and software emulation is many times slower.",
        fix="Turn on nested virtualization where this virtual machine is defined (CPU mode host-passthrough)"
        if within
        else "Turn on VT-x or SVM in the firmware's CPU settings; on ARM see whether /dev/kvm is there",
    )


def _numa(nodes: tuple[NumaNode, ...]) -> Check:
    with_cpus = [node for node in nodes if node.cpus]
    silent = [node.id for node in nodes if node.memory_gib is None]
    empty = [node.id for node in with_cpus if node.memory_gib == 0]
    found = plural(len(nodes), "node")
    if nodes and not silent:
        sizes = sorted({(len(node.cpus), round(node.memory_gib or 0)) for node in nodes})
        found += ": " + " or ".join(f"{plural(threads, 'thread')}, {gib} GiB" for threads, gib in sizes[:2])
        found += " each" if len(nodes) > 1 else ""
    if empty:
        found += f"; no memory at node {', '.join(map(str, empty))}"
    unknown = not nodes or silent
    return Check(
        id="numa.nodes",
        title="NUMA nodes",
        found=found if nodes else "the kernel shows none",
        wanted="memory at each node",
        verdict=Verdict.UNKNOWN if unknown else (Verdict.WARN if empty else Verdict.PASS),
        why="A virtual machine is fast when its cores, memory and GPU lie at one node.",
        fix="Put memory modules at every socket, and let the firmware show its NUMA nodes",
    )


def _governor(cpu: CpuFacts) -> Check:
    slow = [name for name, _ in cpu.governors if name == "powersave"]
    warn = bool(slow) and cpu.scaling_driver not in _SELF_SCALING
    found = ", ".join(f"{name} on {count}" for name, count in cpu.governors)
    if found and cpu.scaling_driver:
        found += f" ({cpu.scaling_driver})"
    return Check(
        id="cpu.governor",
        title="Frequency governor",
        found=found or "the kernel does not set it",
        wanted="follows the load",
        verdict=Verdict.WARN if warn else Verdict.PASS,
        why="powersave of this driver keeps every core at its lowest frequency.",
        fix="sudo apt install linux-cpupower && sudo cpupower frequency-set -g performance" if warn else "",
    )
