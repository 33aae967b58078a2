"""Which of a host's processors lie in which of its NUMA nodes, as its libvirt says it."""

from __future__ import annotations

from collections.abc import Sequence

from ai_how.machines.connection import Connect, explained
from ai_how.machines.xml.tree import parse


def numa_cpus(connect: Connect) -> dict[int, str]:
    """By NUMA node, its processors as libvirt takes them (``0-7,16-23``)."""
    with explained("ask the host for its NUMA nodes"):
        return cpus_of(connect.getCapabilities())


def cpus_of(capabilities: str) -> dict[int, str]:
    """As ``numa_cpus``, from libvirt's capabilities; nodes without processors are left out. Pure."""
    cells = parse(capabilities).iterfind("host/topology/cells/cell")
    found = {int(cell.get("id", "0")): [int(cpu.get("id", "0")) for cpu in cell.iterfind("cpus/cpu")] for cell in cells}
    return {node: ranges(cpus) for node, cpus in found.items() if cpus}


def ranges(numbers: Sequence[int]) -> str:
    """Numbers as the shortest list of ranges: ``0-2,5``. Pure."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
