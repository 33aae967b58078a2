"""One change of a site at a time: a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ai_how.errors import LockedError


@contextlib.contextmanager
def locked(path: Path, *, what: str = "another command is changing this site") -> Iterator[None]:
    """Hold the lock file for the time of the block; ``what`` says in the error what the holder is doing.

    Raises:
        LockedError: another process holds it; the evidence names that process.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip()
            raise LockedError(
                what,
                evidence=holder or f"lock file {path}",
                next_step="wait until it has finished, then run this again",
            ) from error
        # who holds it is only told to others: a full disk is no reason to refuse what may make room
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()}: {' '.join(sys.argv[:3])}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
