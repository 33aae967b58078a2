"""A folder to build in: it goes away at the end, and what a killed build left goes away at the next.

Each folder has a lock file beside it, held while it is in use; a folder whose lock nobody holds was left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ai_how.machines.images.steps import remove_tree

_PREFIX, _LOCK_SUFFIX = ".work-", ".lock"


@contextlib.contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """An empty folder below ``parent`` for the time of the block."""
    with _held(parent / f"{_PREFIX}any{_LOCK_SUFFIX}"):
        clear_left(parent)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
        lock = folder.with_name(folder.name + _LOCK_SUFFIX)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        remove_tree(folder)
        lock.unlink(missing_ok=True)
        os.close(handle)


def clear_left(parent: Path) -> bool:
    """Remove the folders that nobody works in any more; whether all are gone."""
    in_use = False
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        lock = folder.with_name(folder.name + _LOCK_SUFFIX)
        if not folder.is_dir():
            continue
        if _in_use(lock):
            in_use = True
        else:
            remove_tree(folder)
            lock.unlink(missing_ok=True)
    return not in_use


def _in_use(lock: Path) -> bool:
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Wait for a lock that is only ever held for moments."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
