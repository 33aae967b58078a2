"""NUMA nodes: which processors and how much memory lie together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ai_how.host.facts.parse import cpu_list, kib_table
from ai_how.host.root import Root

_NODES = "sys/devices/system/node"


@dataclass(frozen=True, kw_only=True)
class NumaNode:
    """One node: its logical processors (none for memory alone) and its memory, None where that cannot be read."""

    id: int
    cpus: tuple[int, ...]
    memory_gib: float | None


def observe_numa(root: Root) -> tuple[NumaNode, ...]:
    """The nodes, ordered by id; none where the kernel shows none (most single-board ARM machines)."""
    ids = sorted(int(name[4:]) for name in root.names(_NODES) if re.fullmatch("node[0-9]{1,6}", name))
    return tuple(_node(root, node_id) for node_id in ids)


def _node(root: Root, node_id: int) -> NumaNode:
    folder = f"{_NODES}/node{node_id}"
    total_kib = kib_table(root.text(f"{folder}/meminfo")).get("MemTotal")
    return NumaNode(
        id=node_id,
        cpus=cpu_list(root.text(f"{folder}/cpulist")) or (),
        memory_gib=None if total_kib is None else total_kib / 2**20,
    )
