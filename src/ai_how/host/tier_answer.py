"""Which tier a host is, and what it lacks for the next one. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.capacity.tiers import Tier
from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import plural, version_text
from ai_how.host.checks.cpu import check_cores
from ai_how.host.checks.memory import check_installed
from ai_how.host.checks.network import check_bond, check_speed
from ai_how.host.checks.storage import check_storage
from ai_how.host.facts.cpu import CpuFacts
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.memory import MemoryFacts
from ai_how.host.facts.network import NetworkFacts
from ai_how.host.facts.storage import StorageFacts


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The facts that tiers are about. ``gpus`` are NVIDIA's; None where the PCI bus cannot be read."""

    cpu: CpuFacts
    memory: MemoryFacts
    storage: StorageFacts
    network: NetworkFacts
    gpus: tuple[Gpu, ...] | None


@dataclass(frozen=True, kw_only=True)
class TierAnswer:
    """The answer.

    Args:
        reached: The highest tier with nothing missing and nothing unknown in it or below it; None: not even the first.
        next: The tier above; None at the top.
        missing: What ``next`` wants and the host has not, as ``CPU cores: 2 cores, 2 threads (wanted: 16 cores)``.
        unclear: What could not be told about ``next``, in the same form.
    """

    reached: str | None
    next: str | None
    missing: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


def tier_checks(hardware: Hardware, *, tier: Tier) -> list[Check]:
    """The checks whose figures depend on the tier."""
    return [
        check_cores(hardware.cpu, tier=tier),
        check_installed(hardware.memory, tier=tier),
        *check_storage(hardware.storage, tier=tier),
        check_gpu_count(hardware.gpus, tier=tier),
        check_speed(hardware.network, tier=tier),
        *([check_bond(hardware.network, tier=tier)] if tier.bonding else []),
    ]


def check_gpu_count(gpus: tuple[Gpu, ...] | None, *, tier: Tier) -> Check:
    """How many GPUs are new enough; whether each can be passed through are other checks."""
    verdict, found = _count_gpus(gpus, tier)
    return Check(
        id="gpu.count",
        title="NVIDIA GPUs",
        found=found,
        wanted=f"{plural(tier.gpus.least, 'GPU')}, capability {version_text(tier.compute_capability)}",
        verdict=verdict,
        why="Each GPU node of the cluster gets one or more whole GPUs.",
        fix="Add GPUs, or use a smaller layout: ai-how plan --fit",
    )


def _count_gpus(gpus: tuple[Gpu, ...] | None, tier: Tier) -> tuple[Verdict, str]:
    if gpus is None:
        return Verdict.UNKNOWN, "the PCI bus cannot be read"
    known = [gpu.compute_capability for gpu in gpus if gpu.compute_capability is not None]
    new_enough = sum(capability >= tier.compute_capability for capability in known)
    unknown, old = len(gpus) - len(known), len(known) - new_enough
    found = plural(len(gpus), "GPU")
    found += f", {old} below capability {version_text(tier.compute_capability)}" if old else ""
    found += f", {unknown} of unknown capability" if unknown else ""
    if new_enough >= tier.gpus.least:
        return Verdict.PASS, found
    return Verdict.UNKNOWN if new_enough + unknown >= tier.gpus.least else Verdict.FAIL, found


def assess(hardware: Hardware, *, tiers: tuple[Tier, ...]) -> TierAnswer:
    """Walk up the tiers, ordered from the least, to the first that is not reached. Warnings do not hold a host back."""
    reached: str | None = None
    for tier in tiers:
        checks = tier_checks(hardware, tier=tier)
        missing = tuple(_text(check) for check in checks if check.verdict is Verdict.FAIL)
        unclear = tuple(_text(check) for check in checks if check.verdict is Verdict.UNKNOWN)
        if missing or unclear:
            return TierAnswer(reached=reached, next=tier.name, missing=missing, unclear=unclear)
        reached = tier.name
    return TierAnswer(reached=reached, next=None)


def _text(check: Check) -> str:
    return f"{check.title}: {check.found} (wanted: {check.wanted})"
