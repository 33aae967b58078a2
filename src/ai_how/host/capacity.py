"""What a machine offers to capacity planning: the host's facts as one ``HostCapacity``."""

from __future__ import annotations

from ai_how.capacity.types import GpuCapacity, HostCapacity, NumaCapacity
from ai_how.errors import ProviderError
from ai_how.host.checks.passthrough import gpu_capacities
from ai_how.host.facts.cpu import observe_cpu
from ai_how.host.facts.limits import observe_limits
from ai_how.host.facts.memory import observe_memory
from ai_how.host.facts.network import observe_network
from ai_how.host.facts.numa import observe_numa
from ai_how.host.facts.passthrough import observe_passthrough
from ai_how.host.facts.storage import observe_storage
from ai_how.host.root import Root

_GIB = 2**30


def observe_capacity(
    root: Root,
    *,
    name: str,
    disk_path: str,
    gpus: tuple[GpuCapacity, ...] | None = None,
    disk_gib: float | None = None,
) -> HostCapacity:
    """What this machine has, no more than a control group or a container lets us have of it.

    Args:
        disk_path: Folder where images and volumes will lie; it need not exist yet.
        gpus: Where they are known already; else they are looked at here, each with what keeps it from a guest.
        disk_gib: Free disk, where ``root`` is a capture: its own cannot be read.

    Raises:
        ProviderError: cores, memory or free disk cannot be told.
    """
    cpu, memory, limits = observe_cpu(root), observe_memory(root), observe_limits(root)
    online = tuple(thread for thread, _ in cpu.core_of)
    allowed = set(online if limits.cpus is None else limits.cpus) & set(online)
    cores = cpu.cores_among(allowed) if allowed else cpu.cores
    threads = len(allowed) or cpu.threads
    if disk_gib is None:
        free_bytes = observe_storage(root, path=disk_path).free_bytes
        disk_gib = None if free_bytes is None else free_bytes / _GIB
    missing = {"its cores": cores, "its memory": memory.total_gib, f"free space at {disk_path}": disk_gib}
    unknown = [what for what, value in missing.items() if value is None]
    if cores is None or threads is None or memory.total_gib is None or disk_gib is None:
        raise ProviderError(
            f"what {name} has cannot be told",
            evidence="not readable: " + ", ".join(unknown or ["its threads"]),
            next_step="ai-how doctor shows what could be read",
        )
    quota = limits.cores
    return HostCapacity(
        name=name,
        cores=cores if quota is None else max(1, min(cores, int(quota))),
        threads=threads if quota is None else max(1, min(threads, int(quota))),
        memory_gib=min(memory.total_gib, limits.memory_gib or memory.total_gib),
        disk_gib=disk_gib,
        gpus=gpu_capacities(observe_passthrough(root)) if gpus is None else gpus,
        numa=tuple(
            NumaCapacity(id=node.id, threads=len(allowed & set(node.cpus)), memory_gib=node.memory_gib or 0)
            for node in observe_numa(root)
        ),
        hugepages_gib=memory.hugepages_gib,
        network_mbps=observe_network(root).fastest_mbps,
    )
