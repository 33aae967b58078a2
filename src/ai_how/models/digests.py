"""Remembers the SHA-256 of files that have not changed, so that a model that is pushed again is not read again.

Owns the cache file and the rule by which a file counts as unchanged.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.apply.files import read_json, write_json

# a file's times are only as fine as the kernel's tick: a write just after the digest was taken could leave no trace
_SETTLED_NS = 1_000_000_000
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What tells that a file is still the same: the real path, size, times in nanoseconds, device and inode.

    The change time is part of it because the modification time can be set back by any copying program.
    """

    real_path: str
    size_bytes: int
    modified_ns: int
    changed_ns: int
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is now."""
        real = path.resolve()
        stat = real.stat()
        return cls(
            real_path=str(real),
            size_bytes=stat.st_size,
            modified_ns=stat.st_mtime_ns,
            changed_ns=stat.st_ctime_ns,
            device=stat.st_dev,
            inode=stat.st_ino,
        )

    @property
    def facts(self) -> list[int]:
        return [self.size_bytes, self.modified_ns, self.changed_ns, self.device, self.inode]


class DigestCache:
    """Digests by stamp, in one JSON file. A file that is damaged or gone only costs reading the models once more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._opened_ns = time.time_ns()
        self._changed = False
        loaded = read_json(path)
        self._entries: dict[str, Any] = loaded if isinstance(loaded, dict) else {}

    def get(self, stamp: Stamp) -> str | None:
        """The SHA-256 of an unchanged file, or None."""
        entry = self._entries.get(stamp.real_path)
        if isinstance(entry, dict) and entry.get("facts") == stamp.facts:
            return str(entry["sha256"])
        return None

    def put(self, stamp: Stamp, sha256: str) -> None:
        """Remember a digest, unless the file was written so recently that its times prove nothing."""
        if max(stamp.modified_ns, stamp.changed_ns) + _SETTLED_NS > self._opened_ns:
            return
        with self._guard:
            self._entries[stamp.real_path] = {"facts": stamp.facts, "sha256": sha256}
            self._changed = True

    def save(self) -> None:
        """Write what was added; of two processes at once, the later one's additions stay."""
        if self._changed:
            kept = list(self._entries.items())[-_MOST_ENTRIES:]
            write_json(self.path, dict(kept))
            self._changed = False
