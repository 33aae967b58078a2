"""Memory: installed, usable and free, and the huge pages that are set aside."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

from ai_how.host.facts.parse import kib_table
from ai_how.host.root import Root

_KIB_IN_GIB = 2**20
_BLOCKS = "sys/devices/system/memory"


@dataclass(frozen=True, kw_only=True)
class HugePages:
    """Pages of one size: how many are set aside, how many of them are free."""

    size_kib: int
    total: int
    free: int

    @property
    def total_gib(self) -> float:
        return self.size_kib * self.total / _KIB_IN_GIB


@dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """Memory in GiB; None where it cannot be read.

    Args:
        installed_gib: What firmware gave to the kernel: whole memory blocks, a little below the modules' sum.
        total_gib: What the kernel can give to programs (``MemTotal``), a few percent less.
        available_gib: What programs could take now without swapping.
        hugepages: The sizes that this machine knows, ordered by size; ``total`` is 0 where none is set aside.
    """

    installed_gib: float | None = None
    total_gib: float | None = None
    available_gib: float | None = None
    swap_gib: float | None = None
    hugepages: tuple[HugePages, ...] = ()

    @property
    def hugepages_gib(self) -> float:
        return sum(pages.total_gib for pages in self.hugepages)


def observe_memory(root: Root) -> MemoryFacts:
    """Read ``/proc/meminfo`` and sysfs."""
    table = kib_table(root.text("proc/meminfo"))
    return MemoryFacts(
        installed_gib=_installed_gib(root),
        total_gib=_gib(table.get("MemTotal")),
        available_gib=_gib(table.get("MemAvailable")),
        swap_gib=_gib(table.get("SwapTotal")),
        hugepages=_hugepages(root, table),
    )


def _gib(kib: int | None) -> float | None:
    return None if kib is None else kib / _KIB_IN_GIB


def _installed_gib(root: Root) -> float | None:
    """Memory blocks that are online. Source: the kernel's memory-hotplug document (block size in hex, no prefix)."""
    try:
        block_bytes = int(root.text(f"{_BLOCKS}/block_size_bytes") or "", 16)
    except ValueError:
        return None
    blocks = [name for name in root.names(_BLOCKS) if re.fullmatch("memory[0-9]+", name)]
    online = sum(root.text(f"{_BLOCKS}/{name}/state") == "online" for name in blocks)
    return online * block_bytes / 2**30 if online and block_bytes > 0 else None


def _hugepages(root: Root, table: dict[str, int]) -> tuple[HugePages, ...]:
    folders = ["sys/kernel/mm/hugepages"]
    if not root.names(folders[0]):
        nodes = (name for name in root.names("sys/devices/system/node") if re.fullmatch("node[0-9]+", name))
        folders = [f"sys/devices/system/node/{node}/hugepages" for node in nodes]
    counts: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for folder in folders:
        for name in root.names(folder):
            match = re.fullmatch("hugepages-([0-9]{1,9})kB", name)
            if match:
                counts[int(match[1])][0] += root.number(f"{folder}/{name}/nr_hugepages") or 0
                counts[int(match[1])][1] += root.number(f"{folder}/{name}/free_hugepages") or 0
    if not counts and "Hugepagesize" in table:
        counts[table["Hugepagesize"]] = [table.get("HugePages_Total", 0), table.get("HugePages_Free", 0)]
    return tuple(
        HugePages(size_kib=size, total=max(0, n), free=max(0, free)) for size, (n, free) in sorted(counts.items())
    )
