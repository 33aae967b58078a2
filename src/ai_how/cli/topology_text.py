"""A site's picture as a tree for the terminal: conflicts begin with ``!``, and are red where there is colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import click

from ai_how.machines.topology.types import GpuView, HostView, MachineView, NetworkView, Topology

_WIDTH = 80
Row = tuple[bool, tuple[str, ...]]
"""Whether it conflicts, and its cells."""


def topology_lines(found: Topology) -> Iterator[str]:
    """The whole picture, line by line."""
    yield _head(found)
    if found.unseen:
        yield from textwrap.wrap(f"As planned, not as it is: {found.unseen}.", _WIDTH)
    for host in found.hosts:
        yield ""
        yield from _host(host)
    if found.unplaced:
        yield ""
        yield "without a host"
        yield from _branches(_machine_cells(found.unplaced))
    yield ""
    yield "networks"
    yield from _branches([_network_cells(network) for network in found.networks])
    if found.conflicts:
        yield ""
        for conflict in found.conflicts:
            for number, line in enumerate(textwrap.wrap(conflict, _WIDTH - 2)):
                yield click.style(f"{'  ' if number else '! '}{line}", fg="red")


def _head(found: Topology) -> str:
    turns = ", one cluster at a time" if found.schedule == "in-turns" else ""
    machines, hosts = found.machine_count, len(found.hosts)
    return f"site {found.site}: {_count(hosts, 'host')}, {_count(machines, 'machine')}{turns}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _host(host: HostView) -> Iterator[str]:
    yield f"{host.name}  {host.size_text}{', declared' if host.declared else ''}"
    if host.place:
        yield f"│  {host.place}"
    gpus = [_gpu_cells(number, gpu) for number, gpu in enumerate(host.gpus)]
    yield from _branches(_machine_cells(host.machines), gpus) if host.machines or gpus else ("└─ nothing on it",)


def _machine_cells(machines: Sequence[MachineView]) -> list[Row]:
    return [
        (
            bool(one.conflict),
            (
                one.node,
                one.conflict or one.state,
                one.address,
                one.size_text,
                f"GPU {', '.join(map(str, one.gpus))}" if one.gpus else "",
            ),
        )
        for one in machines
    ]


def _gpu_cells(number: int, gpu: GpuView) -> Row:
    users = ", ".join(gpu.nodes) if gpu.nodes else "free"
    name = f"{gpu.name}, {gpu.memory_gib:g} GiB"
    return bool(gpu.conflict), (f"GPU {number}", name, gpu.address, gpu.conflict or users)


def _network_cells(network: NetworkView) -> Row:
    mode = f"{network.mode} {network.bridge}".strip() or network.kind
    start = "" if network.start == "always" else "started by hand"
    return bool(network.conflict), (
        network.cluster,
        network.subnet,
        mode,
        network.conflict or _count(network.machines, "machine"),
        start,
    )


def _branches(*tables: Sequence[Row]) -> Iterator[str]:
    """Rows as the branches of a tree, columns aligned in each table; those that conflict are marked and red."""
    lines = [line for rows in tables if rows for line in _aligned(rows)]
    for number, (conflict, text) in enumerate(lines):
        branch = "└─" if number == len(lines) - 1 else "├─"
        line = f"{branch}{'!' if conflict else ' '}{text}"
        yield click.style(line, fg="red") if conflict else line


def _aligned(rows: Sequence[Row]) -> Iterator[tuple[bool, str]]:
    widths = [max(len(cells[column]) for _, cells in rows) for column in range(len(rows[0][1]))]
    for conflict, cells in rows:
        yield (
            conflict,
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True) if width).rstrip(),
        )
