"""The mount table: which file system a path lies on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ai_how.host.root import Root


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One mounted file system. ``device`` is ``major:minor``, empty where only the older table is there."""

    point: str
    filesystem: str
    source: str
    device: str = ""
    read_only: bool = False


def mount_of(root: Root, path: str) -> Mount | None:
    """The mount that an absolute path without links lies on; of several on one point the last: it hides the others."""
    found: Mount | None = None
    for mount in mounts(root):
        inside = PurePosixPath(path).is_relative_to(mount.point)
        if inside and (found is None or len(mount.point) >= len(found.point)):
            found = mount
    return found


def mounts(root: Root) -> list[Mount]:
    """The table of this process, in the order of mounting; lines of another shape are left out."""
    table = _mountinfo(root.text("proc/self/mountinfo") or "")
    return table or _mounts(root.text("proc/self/mounts") or root.text("proc/mounts") or "")


def _mountinfo(text: str) -> list[Mount]:
    """``22 27 0:21 / /proc rw shared:1 - proc proc rw``. Source: proc_pid_mountinfo(5)."""
    found = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if not dash or len(before) < 6 or len(after) < 2 or not re.fullmatch("[0-9]+:[0-9]+", before[2]):
            continue
        options = {*before[5].split(","), *(after[2].split(",") if len(after) > 2 else ())}
        found.append(
            Mount(
                point=_unescaped(before[4]),
                filesystem=after[0],
                source=_unescaped(after[1]),
                device=before[2],
                read_only="ro" in options,
            )
        )
    return found


def _mounts(text: str) -> list[Mount]:
    """``/dev/root / ext4 rw,relatime 0 0``. Source: fstab(5)."""
    rows = [line.split(" ") for line in text.splitlines()]
    return [
        Mount(
            point=_unescaped(row[1]),
            filesystem=row[2],
            source=_unescaped(row[0]),
            read_only="ro" in row[3].split(","),
        )
        for row in rows
        if len(row) >= 4
    ]


def _unescaped(word: str) -> str:
    """The table writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match[1], 8)), word)
