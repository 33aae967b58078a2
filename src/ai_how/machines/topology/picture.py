"""A site's picture as SVG: laid out by hand, the same input gives the same bytes. Pure.

Hosts are boxes, machines boxes in them with their cluster's colour on the left, GPUs chips below. What conflicts has a
red frame and begins with ``!``, so that it can be told without colour too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from ai_how.machines.topology.types import GpuView, HostView, MachineView, NetworkView, Topology

_WIDTH, _MARGIN, _GAP = 960, 16, 12
_COLUMNS = 3
_BOX_WIDTH = (_WIDTH - 2 * _MARGIN - (_COLUMNS + 1) * _GAP) // _COLUMNS
_MACHINE_HEIGHT, _GPU_HEIGHT, _NETWORK_HEIGHT, _HEAD = 62, 42, 30, 52
# Okabe and Ito's palette, told apart by most colour-blind people; red is kept for conflicts
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442")
_RED, _INK, _SOFT, _PAPER = "#c00000", "#1a1a1a", "#666666", "#ffffff"


def picture(found: Topology) -> str:
    """The picture as one SVG element with its own white ground."""
    colours = {network.cluster: _COLOURS[number % len(_COLOURS)] for number, network in enumerate(found.networks)}
    parts: list[str] = []
    y = _MARGIN
    for draw in (_title, _networks, _hosts, _unplaced, _conflicts):
        drawn, y = draw(found, colours, y)
        parts += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img">\n'
        f"<title>Topology of site {escape(found.site)}</title>\n"
        f'<rect width="{_WIDTH}" height="{y}" fill="{_PAPER}"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


Drawn = tuple[list[str], int]
"""Elements, and where the next ones begin."""


def _title(found: Topology, _colours: Mapping[str, str], y: int) -> Drawn:
    machines, hosts = found.machine_count, len(found.hosts)
    turns = ", one cluster at a time" if found.schedule == "in-turns" else ""
    parts = [
        _text(
            _MARGIN,
            y + 18,
            f"Site {found.site}: {_count(hosts, 'host')}, {_count(machines, 'machine')}{turns}",
            size=18,
            bold=True,
        )
    ]
    y += 32
    if found.unseen:
        parts.append(_text(_MARGIN, y + 8, _cut(f"As planned, not as it is: {found.unseen}", 128), fill=_SOFT))
        y += 22
    return parts, y


def _networks(found: Topology, colours: Mapping[str, str], y: int) -> Drawn:
    parts = []
    for network in found.networks:
        colour = colours[network.cluster]
        frame = _RED if network.conflict else colour
        parts.append(
            _rect(_MARGIN, y, _WIDTH - 2 * _MARGIN, _NETWORK_HEIGHT - 6, fill=colour, opacity=0.15, stroke=frame)
        )
        parts.append(
            _text(_MARGIN + 10, y + 17, _cut(_network_words(network), 128), fill=_RED if network.conflict else _INK)
        )
        y += _NETWORK_HEIGHT
    return parts, y + _GAP


def _network_words(network: NetworkView) -> str:
    mode = f"{network.mode} {network.bridge}".strip()
    words = [f"cluster {network.cluster} ({network.kind})", network.subnet, mode]
    words += [_count(network.machines, "machine"), "" if network.start == "always" else "started by hand"]
    return f"{'! ' if network.conflict else ''}{' · '.join(word for word in words if word)}" + (
        f" · {network.conflict}" if network.conflict else ""
    )


def _hosts(found: Topology, colours: Mapping[str, str], y: int) -> Drawn:
    parts: list[str] = []
    for host in found.hosts:
        drawn, y = _host(host, colours, y)
        parts += drawn
        y += _GAP
    return parts, y


def _host(host: HostView, colours: Mapping[str, str], top: int) -> Drawn:
    parts: list[str] = []
    y = top + _HEAD
    cells, y = _grid([_machine(machine, colours) for machine in host.machines], y, _MACHINE_HEIGHT)
    parts += cells
    cells, y = _grid([_gpu(number, gpu) for number, gpu in enumerate(host.gpus)], y, _GPU_HEIGHT)
    parts += cells
    has = host.size_text
    frame = [
        _rect(_MARGIN, top, _WIDTH - 2 * _MARGIN, y - top, fill="#f6f6f6", stroke="#888888"),
        _text(_MARGIN + _GAP, top + 22, host.name, size=15, bold=True),
        _text(_MARGIN + _GAP, top + 40, _cut(" · ".join(part for part in (has, host.place) if part), 128), fill=_SOFT),
    ]
    return [*frame, *parts], y


def _unplaced(found: Topology, colours: Mapping[str, str], y: int) -> Drawn:
    if not found.unplaced:
        return [], y
    parts = [_text(_MARGIN, y + 14, "Without a host", size=15, bold=True, fill=_RED)]
    cells, y = _grid([_machine(machine, colours) for machine in found.unplaced], y + 24, _MACHINE_HEIGHT)
    return [*parts, *cells], y + _GAP


def _conflicts(found: Topology, _colours: Mapping[str, str], y: int) -> Drawn:
    parts = []
    for conflict in found.conflicts:
        for number, line in enumerate(textwrap.wrap(conflict, 128)):
            parts.append(_text(_MARGIN, y + 14, f"{'   ' if number else '! '}{line}", fill=_RED, bold=number == 0))
            y += 20
    return parts, y + (_GAP if parts else 0)


Cell = tuple[str, str, tuple[str, ...]]
"""Colour of the stripe, of the frame, and the lines of text."""


def _machine(machine: MachineView, colours: Mapping[str, str]) -> Cell:
    mark = "! " if machine.conflict else ""
    gpus = f", GPU {', '.join(map(str, machine.gpus))}" if machine.gpus else ""
    disk = "" if machine.disk_gib is None else f", disk {machine.disk_gib} GiB"
    size = f"{machine.size_text}{disk}{gpus}"
    lines = (f"{mark}{machine.node}", f"{machine.address} · {machine.conflict or machine.state}", size)
    return colours[machine.cluster], _RED if machine.conflict else "#888888", lines


def _gpu(number: int, gpu: GpuView) -> Cell:
    users = ", ".join(gpu.nodes) if gpu.nodes else "free"
    address = f" · {gpu.address}" if gpu.address else ""
    lines = (
        f"{'! ' if gpu.conflict else ''}GPU {number}: {gpu.name}, {gpu.memory_gib:g} GiB{address}",
        gpu.conflict or users,
    )
    return "#444444", _RED if gpu.conflict else "#888888", lines


def _grid(cells: Sequence[Cell], y: int, height: int) -> Drawn:
    parts: list[str] = []
    for number, (stripe, frame, lines) in enumerate(cells):
        x = _MARGIN + _GAP + number % _COLUMNS * (_BOX_WIDTH + _GAP)
        top = y + number // _COLUMNS * (height + _GAP)
        parts += _box(x, top, height, stripe=stripe, frame=frame, lines=lines)
    rows = -(-len(cells) // _COLUMNS)
    return parts, y + rows * (height + _GAP)


def _box(x: int, y: int, height: int, *, stripe: str, frame: str, lines: Sequence[str]) -> Iterator[str]:
    red = frame == _RED
    yield _rect(x, y, _BOX_WIDTH, height, fill=_PAPER, stroke=frame, stroke_width=2 if red else 1)
    yield _rect(x, y, 6, height, fill=stripe)
    for number, line in enumerate(lines):
        fill = _RED if red and number < 2 else _INK if number == 0 else _SOFT
        cut = _cut(line, 34 if number == 0 else 42)
        yield _text(x + 14, y + 18 + number * 17, cut, size=13 if number == 0 else 12, bold=number == 0, fill=fill)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _rect(
    x: int,
    y: int,
    width: int,
    height: int,
    *,
    fill: str,
    stroke: str = "none",
    stroke_width: int = 1,
    opacity: float = 1,
) -> str:
    soft = f' fill-opacity="{opacity}"' if opacity != 1 else ""
    line = f' stroke="{stroke}" stroke-width="{stroke_width}"' if stroke != "none" else ""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{fill}"{soft}{line}/>'


def _text(x: int, y: int, words: str, *, size: int = 13, bold: bool = False, fill: str = _INK) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{weight}>{escape(words)}</text>'


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
