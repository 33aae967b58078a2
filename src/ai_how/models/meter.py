"""Counts bytes from several threads and tells one caller, who may draw a bar."""

from __future__ import annotations

import threading
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the stage (check, upload, download, verify), bytes done so far, and bytes in all; never twice at once."""


class Meter:
    """The bytes of one stage. ``done_bytes`` includes what did not have to be moved."""

    def __init__(self, stage: str, total_bytes: int, progress: Progress | None) -> None:
        self.done_bytes = 0
        self._stage = stage
        self._total_bytes = total_bytes
        self._progress = progress
        self._guard = threading.Lock()
        self.add(0)

    def add(self, size_bytes: int) -> None:
        """Count bytes; a negative number takes back what has to be done again."""
        with self._guard:
            self.done_bytes += size_bytes
            if self._progress:
                self._progress(self._stage, self.done_bytes, self._total_bytes)
