"""What a control group or a container lets this process have of the machine: processors, processor time, memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ai_how.host.facts.parse import cpu_list
from ai_how.host.root import Root

_GIB = 2**30
# version 1 says "no limit" with the largest whole pages; no machine has an exbibyte
_NO_MEMORY_LIMIT = 1 << 60


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of this process; None where there is none, or none can be read.

    Args:
        cpus: Processors that it may run on (affinity, cpusets).
        cores: Processor time a second, in cores.
        memory_gib: Most memory.
    """

    cpus: tuple[int, ...] | None = None
    cores: float | None = None
    memory_gib: float | None = None


def observe_limits(root: Root) -> Limits:
    """The tightest of this process's control group and those around it, versions 1 and 2.

    Source: ``cpu.max``, ``memory.max`` in the kernel's cgroup-v2 document; ``cpu.cfs_quota_us``,
    ``memory.limit_in_bytes`` in those of version 1.
    """
    groups = _groups(root.text("proc/self/cgroup") or "")
    cores = [quota for folder in groups for quota in (_quota_v2(root, folder), _quota_v1(root, folder)) if quota]
    memory = [
        limit
        for folder in groups
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := root.number(f"{folder}/{name}")) is not None and 0 < limit < _NO_MEMORY_LIMIT
    ]
    return Limits(
        cpus=_allowed(root),
        cores=min(cores, default=None),
        memory_gib=min(memory) / _GIB if memory else None,
    )


def _groups(text: str) -> list[str]:
    """The folders of the groups in ``/proc/self/cgroup`` and of all above them."""
    folders: dict[str, None] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        mounts = ["", "unified"] if not controllers else controllers.split(",")
        group = PurePosixPath("/" + path.strip("/"))
        if ".." in group.parts:
            # a group outside of this namespace: only the root of what is mounted can be read
            group = PurePosixPath("/")
        for mount in mounts:
            for folder in (group, *group.parents):
                folders[str(PurePosixPath("sys/fs/cgroup", mount, *folder.parts[1:]))] = None
    return list(folders)


def _quota_v2(root: Root, folder: str) -> float | None:
    words = (root.text(f"{folder}/cpu.max") or "").split()
    if len(words) != 2 or not all(word.isdecimal() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(root: Root, folder: str) -> float | None:
    quota = root.number(f"{folder}/cpu.cfs_quota_us")
    period = root.number(f"{folder}/cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 and period > 0 else None


def _allowed(root: Root) -> tuple[int, ...] | None:
    for line in (root.text("proc/self/status") or "").splitlines():
        if line.startswith("Cpus_allowed_list:"):
            return cpu_list(line.partition(":")[2]) or None
    return None
