"""A tree with ``/sys``, ``/proc`` and ``/etc``: the live machine's, a capture's or a test's. Reads, never raises."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_LONGEST_BYTES = 4 << 20
_PIECE_BYTES = 1 << 16
"""The kernel refuses to hand out /proc/sys in a piece of 4 MiB."""


@dataclass(frozen=True)
class Root:
    """The folder that stands for ``/``. Paths are relative to it: ``sys/devices/system/cpu/online``."""

    path: Path = Path("/")

    @property
    def live(self) -> bool:
        """Whether this is the machine that we run on: tools and system calls may be asked too."""
        return self.path == Path("/")

    def target(self, relative: str) -> str | None:
        """A symbolic link's whole text (a device's path below ``/sys/devices``, what a process has open), or None."""
        try:
            return str((self.path / relative).readlink())
        except (OSError, ValueError):
            return None

    def text(self, relative: str) -> str | None:
        """A file's text without white space around it, or None where it cannot be read."""
        data = self.data(relative)
        return None if data is None else data.decode(errors="replace").replace("\0", "\n").strip()

    def data(self, relative: str) -> bytes | None:
        """A file's first 4 MiB, or None where it cannot be read."""
        try:
            with self._inside(relative).open("rb", buffering=0) as file:
                data = bytearray()
                while len(data) < _LONGEST_BYTES and (piece := file.read(_PIECE_BYTES)):
                    data += piece
                return bytes(data)
        except (OSError, ValueError):
            return None

    def number(self, relative: str) -> int | None:
        """A file's whole number (decimal, or hex with ``0x``), or None where it has none."""
        text = self.text(relative)
        try:
            return int(text, 0) if text else None
        except ValueError:
            return None

    def names(self, relative: str) -> list[str]:
        """The names in a folder, ordered; none where it cannot be listed."""
        try:
            return sorted(entry.name for entry in self._inside(relative).iterdir())
        except (OSError, ValueError):
            return []

    def link(self, relative: str) -> str | None:
        """The last part of a symbolic link's target (a driver's or an IOMMU group's name), or None."""
        try:
            return (self.path / relative).readlink().name
        except (OSError, ValueError):
            return None

    def resolved(self, relative: str) -> str | None:
        """Where a path leads when all its links are followed, relative to this root; None where nothing is there."""
        try:
            return str(self._inside(relative).resolve(strict=True).relative_to(self._real))
        except (OSError, ValueError, RuntimeError):
            return None

    def exists(self, relative: str) -> bool:
        """Whether something is there, a dangling link included."""
        try:
            (self.path / relative).lstat()
        except (OSError, ValueError):
            return False
        return True

    def denied(self, relative: str) -> bool:
        """Whether a file is there but only root may read it."""
        try:
            with self._inside(relative).open("rb") as file:
                file.read(1)
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EPERM)
        except ValueError:
            return False
        return False

    def _inside(self, relative: str) -> Path:
        """The path to open. A captured tree's absolute links would lead to this machine's own files: none is followed.

        Raises:
            ValueError: the path leads out of a captured tree.
        """
        path = self.path / relative
        if not self.live:
            real = os.path.realpath(path)
            if real != self._real and not real.startswith(f"{self._real}/"):
                raise ValueError(f"{relative} leads out of {self.path}")
        return path

    @cached_property
    def _real(self) -> str:
        return os.path.realpath(self.path)
