"""All checks of GPUs and of giving them to virtual machines, and what of them capacity planning may count on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ai_how.capacity.types import GpuCapacity
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.gpus import gpu_checks
from ai_how.host.checks.iommu import group_checks, iommu_checks
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.passthrough import PassthroughFacts

_DRIVER_FLOOR = 535
_GUEST_DRIVERS = ("vfio-pci", "pci-stub")
_INSTALL = "Debian: sudo apt install nvidia-driver (non-free); Ubuntu: sudo ubuntu-drivers install --gpgpu"


def passthrough_checks(facts: PassthroughFacts) -> list[Check]:
    """The IOMMU's, the driver's and every GPU's checks, GPUs by address."""
    checks = [*iommu_checks(facts), _driver(facts)]
    for gpu in facts.gpus:
        checks += gpu_checks(gpu, facts)
        checks += group_checks(gpu, facts) if gpu.supported else []
    return checks


def gpu_capacities(facts: PassthroughFacts) -> tuple[GpuCapacity, ...]:
    """The NVIDIA GPUs, by address, each with what keeps it from a guest. Memory that is not known is 0."""
    return tuple(
        GpuCapacity(
            name=gpu.name,
            memory_gib=gpu.memory_gib or 0,
            compute_capability=gpu.compute_capability,
            pci_address=gpu.address,
            numa_node=gpu.device.numa_node,
            power_limit_w=gpu.power_limit_w,
            blocked="; ".join(_blockers(gpu, facts)),
        )
        for gpu in facts.nvidia
    )


def _blockers(gpu: Gpu, facts: PassthroughFacts) -> Iterable[str]:
    """What failed, but for the card's age: that is a matter of what runs on it."""
    machine = [check for check in iommu_checks(facts) if check.id in ("iommu.interrupts", "iommu.vfio")]
    checks = [*machine, *group_checks(gpu, facts), *gpu_checks(gpu, facts)]
    failed = (check for check in checks if check.verdict is Verdict.FAIL and not check.id.endswith(".model"))
    return (f"{check.title}: {check.found}" for check in failed)


def _driver(facts: PassthroughFacts) -> Check:
    verdict, found, fix = _judge_driver(facts)
    return Check(
        id="software.nvidia-driver",
        title="NVIDIA driver",
        found=found,
        wanted=f"{_DRIVER_FLOOR} or newer",
        verdict=verdict,
        why="CUDA 12 containers need it; the requirements name it for hosts whose own programs use the GPUs.",
        fix=fix,
    )


def _judge_driver(facts: PassthroughFacts) -> tuple[Verdict, str, str]:
    version = facts.driver_version
    if not facts.nvidia:
        return Verdict.PASS, "not needed: no NVIDIA GPU", ""
    if facts.smi.problem:
        found = f"{version or 'installed'}, but {facts.smi.problem.splitlines()[-1]}"
        return Verdict.FAIL, found, f"sudo reboot, if the driver was updated; else install it again. {_INSTALL}"
    if version:
        return _judge_version(version)
    drivers = {gpu.device.driver for gpu in facts.nvidia}
    if "nvidia" in drivers:
        return Verdict.UNKNOWN, "loaded, of a version that cannot be read", "cat /proc/driver/nvidia/version"
    if drivers <= set(_GUEST_DRIVERS):
        return Verdict.PASS, "not needed: every GPU is kept for guests, which bring their own", ""
    return Verdict.WARN, "not loaded", f"Only if the host itself shall use the GPUs. {_INSTALL}"


def _judge_version(version: str) -> tuple[Verdict, str, str]:
    major = version.partition(".")[0]
    if not re.fullmatch(r"[0-9]{1,6}", major):
        return Verdict.UNKNOWN, f"version {version!r} is none", "cat /proc/driver/nvidia/version"
    return (Verdict.PASS, version, "") if int(major) >= _DRIVER_FLOOR else (Verdict.FAIL, version, _INSTALL)
