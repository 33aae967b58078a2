"""The small formats of sysfs, procfs and /etc that several subjects share. Pure; nonsense is None or left out."""

from __future__ import annotations

import re

# far above the kernel's own limit of 8192 processors: a nonsense range must not fill the memory
_MOST_PROCESSORS = 1 << 16


def cpu_list(text: str | None) -> tuple[int, ...] | None:
    """Processor numbers from the kernel's list format, ordered: ``0-2,8`` is (0, 1, 2, 8); empty text is none."""
    if text is None:
        return None
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        match = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part)
        if not match:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < _MOST_PROCESSORS:
            return None
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def kib_table(text: str | None) -> dict[str, int]:
    """``MemTotal: 32542668 kB`` lines as a table; a node's ``Node 0 MemTotal:`` too. Counts have no unit."""
    found = re.findall(r"^(?:Node \d+ )?([\w()]+):\s+([0-9]{1,18})(?: kB)?\s*$", text or "", re.MULTILINE)
    return {name: int(number) for name, number in found}


def settings(text: str | None) -> dict[str, str]:
    """``KEY=value`` lines (os-release, uevent) as a table, quotes around a value taken off."""
    found = re.findall(r"^([A-Za-z_][A-Za-z0-9_]*)=(.*)$", text or "", re.MULTILINE)
    return {key: value.strip().strip("\"'") for key, value in found}


def version(text: str | None) -> tuple[int, ...] | None:
    """The first dotted number in a text: ``QEMU emulator version 7.2.22 (Debian 1:7.2)`` is (7, 2, 22)."""
    match = re.search(r"(?<![\w.])v?([0-9]{1,6}(?:\.[0-9]{1,6}){1,3})", text or "")
    return tuple(int(part) for part in match[1].split(".")) if match else None
