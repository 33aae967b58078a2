"""All checks of GPUs and of giving them to virtual machines, and what of them capacity planning may count on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ai_how.capacity.tiers import Tier
from ai_how.capacity.types import GpuCapacity
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import version_text
from ai_how.host.checks.gpus import gpu_checks, model_check
from ai_how.host.checks.iommu import group_checks, iommu_checks
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.passthrough import PassthroughFacts

_GUEST_DRIVERS = ("vfio-pci", "pci-stub")
_INSTALL = "Debian (non-free): sudo apt install nvidia-driver; Ubuntu: sudo ubuntu-drivers install --gpgpu"


def passthrough_checks(facts: PassthroughFacts, *, tier: Tier, software: Mapping[str, tuple[int, ...]]) -> list[Check]:
    """The IOMMU's, the driver's and every GPU's checks, GPUs by address; of one not supported only what it is."""
    checks = [*iommu_checks(facts), _driver(facts, least=software["nvidia_driver"])]
    for gpu in facts.gpus:
        checks.append(model_check(gpu, least=tier.compute_capability, named=facts.named))
        checks += [*gpu_checks(gpu, facts), *group_checks(gpu, facts)] if gpu.supported else []
    return checks


def gpu_capacities(facts: PassthroughFacts, *, allow_in_use: Collection[str] = ()) -> tuple[GpuCapacity, ...]:
    """The NVIDIA GPUs, by address, each with what keeps it from a guest. Memory that is not known is 0.

    Args:
        allow_in_use: Addresses of GPUs that may be taken although the host uses them.
    """
    return tuple(
        GpuCapacity(
            name=gpu.name,
            memory_gib=gpu.memory_gib or 0,
            compute_capability=gpu.compute_capability,
            pci_address=gpu.address,
            numa_node=gpu.device.numa_node,
            power_limit_w=gpu.power_limit_w,
            blocked="; ".join(blockers(gpu, facts, allow_in_use=gpu.address in allow_in_use)),
        )
        for gpu in facts.nvidia
    )


def blockers(gpu: Gpu, facts: PassthroughFacts, *, allow_in_use: bool = False) -> Iterable[str]:
    """What keeps a GPU from a guest. The card's age is none of it: that is a matter of what runs on it.

    That it is the firmware's first display is a warning for who owns the host, but no card to give away unasked.
    """
    machine = [check for check in iommu_checks(facts) if check.id in ("iommu.interrupts", "iommu.vfio")]
    checks = [*machine, *group_checks(gpu, facts), *gpu_checks(gpu, facts)]
    use, screen = f"gpu.{gpu.address}.use", f"gpu.{gpu.address}.display"
    for check in checks:
        bad = check.verdict is Verdict.FAIL or (check.id == screen and check.verdict is Verdict.WARN)
        if bad and not (allow_in_use and check.id in (use, screen)):
            yield f"{check.title}: {check.found}"


def _driver(facts: PassthroughFacts, *, least: tuple[int, ...]) -> Check:
    verdict, found, fix = _judge_driver(facts, least)
    return Check(
        id="software.nvidia-driver",
        title="NVIDIA driver",
        found=found,
        wanted=f"{version_text(least)} or newer",
        verdict=verdict,
        why="CUDA 12 containers need it; the requirements name it for hosts whose own programs use the GPUs.",
        fix=fix,
    )


def _judge_driver(facts: PassthroughFacts, least: tuple[int, ...]) -> tuple[Verdict, str, str]:
    version = facts.driver_version
    if not facts.nvidia:
        return Verdict.PASS, "not needed: no NVIDIA GPU", ""
    if facts.smi.problem:
        found = f"{version or 'installed'}, but {facts.smi.problem.splitlines()[-1]}"
        return Verdict.FAIL, found, f"sudo reboot, if the driver was updated; else install it again; {_INSTALL}"
    if version:
        return _judge_version(version, least)
    drivers = {gpu.device.driver for gpu in facts.nvidia}
    if "nvidia" in drivers:
        return Verdict.UNKNOWN, "loaded, of a version that cannot be read", "cat /proc/driver/nvidia/version"
    if drivers <= set(_GUEST_DRIVERS):
        return Verdict.PASS, "not needed: every GPU is kept for guests, which bring their own", ""
    return Verdict.WARN, "not loaded", f"Only if the host itself shall use the GPUs; {_INSTALL}"


def _judge_version(version: str, least: tuple[int, ...]) -> tuple[Verdict, str, str]:
    major = version.partition(".")[0]
    if not re.fullmatch(r"[0-9]{1,6}", major):
        return Verdict.UNKNOWN, f"version {version!r} is none", "cat /proc/driver/nvidia/version"
    return (Verdict.PASS, version, "") if (int(major),) >= least else (Verdict.FAIL, version, _INSTALL)
