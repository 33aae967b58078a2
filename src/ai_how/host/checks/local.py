"""Checks of what the embedded provider needs: far less than the cluster."""

from __future__ import annotations

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import at_least
from ai_how.host.checks.storage import gb_text
from ai_how.host.facts.cpu import CpuFacts
from ai_how.host.facts.limits import Limits
from ai_how.host.facts.memory import MemoryFacts
from ai_how.host.facts.storage import StorageFacts
from ai_how.host.requirements import LocalNeeds


def check_local(
    cpu: CpuFacts, *, memory: MemoryFacts, limits: Limits, storage: StorageFacts, needs: LocalNeeds
) -> list[Check]:
    """Platform, memory and disk for a first, small model; ``storage`` is that of the site's folder."""
    available = memory.available_gib
    if available is not None and limits.memory_gib is not None:
        available = min(available, limits.memory_gib)
    ours = cpu.architecture in needs.architectures
    return [
        Check(
            id="local.platform",
            title="Platform",
            found=f"Linux on {cpu.architecture}" if cpu.architecture else "cannot be read",
            wanted=f"Linux on {' or '.join(needs.architectures)}",
            verdict=(Verdict.PASS if ours else Verdict.FAIL) if cpu.architecture else Verdict.UNKNOWN,
            why="The engine and the object store come as ready-made programs for these.",
            fix="Use a machine of one of these architectures",
        ),
        Check(
            id="local.memory",
            title="Free memory",
            found="cannot be read" if available is None else f"{available:.1f} GiB",
            wanted=f"{needs.memory_gib:g} GiB",
            verdict=at_least(available, needs.memory_gib),
            why="The object store, the registry, the gateway and a small model take about as much; larger models more.",
            fix="Close other programs; see who has it: ps aux --sort=-rss | head",
        ),
        Check(
            id="local.disk",
            title="Disk for the site",
            found="a capture tells no free space" if storage.free_bytes is None else _where(storage),
            wanted=f"{needs.disk_gb:g} GB",
            verdict=Verdict.FAIL if storage.read_only else at_least(storage.free_bytes, needs.disk_gb * 1e9),
            why="The registry's programs and the models lie in the site's folder.",
            fix="Free space there, or write another state_dir in ai-how.yaml",
        ),
    ]


def _where(storage: StorageFacts) -> str:
    return f"{storage.existing} is read-only" if storage.read_only else f"{gb_text(storage.free_bytes or 0)} free"
