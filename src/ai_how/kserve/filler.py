"""Puts models' files on a node's disk, once for all pods of the node: the program of an init container.

Stands alone: its text runs in the image of KServe's storage initializer, which has Python and nothing of ours, so it
takes the standard library only. Must never remove files that a pod serves from: such a pod holds a lock on them.

    python3 -c TEXT FOLDER LIMIT_GIB FETCHER DIGEST=URI [DIGEST=URI ...]
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "ai-how-manifest.json"
SPARE_S = 3600
"""Files that a pod asked for within this time stay: it may not have locked them yet."""
_CHUNK = 1 << 22
_GIB = 1 << 30


class UnableError(Exception):
    """Why a model's files cannot be had; the text is for the pod's log."""


def say(text: str) -> None:
    """Put a line into the pod's log."""
    print(text, flush=True)  # noqa: T201 - the log is where it goes


def fill(root: Path, digest: str, uri: str, *, limit_bytes: int, fetcher: str, keep: frozenset[str]) -> None:
    """Have the files of a model in ``root/DIGEST``, whole and verified; those that are there are not read again.

    Raises:
        UnableError: they cannot be fetched, are damaged, or there is no room for them.
    """
    used = root / f"{digest}.lock"
    used.touch()
    # held as by a pod that serves: others that make room leave alone what is being fetched, however long that takes
    with locked(used, fcntl.LOCK_SH):
        if (root / digest).is_dir():
            say(f"{digest[:16]} is in the cache")
        else:
            _fetch_once(root, digest, uri, limit_bytes=limit_bytes, fetcher=fetcher, keep=keep)


def _fetch_once(root: Path, digest: str, uri: str, *, limit_bytes: int, fetcher: str, keep: frozenset[str]) -> None:
    with locked(root / f"{digest}.fill"):
        if (root / digest).is_dir():
            say(f"{digest[:16]} is in the cache now")
            return
        part = root / f"{digest}.part"
        shutil.rmtree(part, ignore_errors=True)
        fetch(fetcher, f"{uri}/{MANIFEST}", part)
        files = json.loads((part / MANIFEST).read_text(encoding="utf-8"))["files"]
        make_room(root, sum(file["size_bytes"] for file in files), limit_bytes=limit_bytes, keep=keep)
        fetch(fetcher, uri, part)
        check(part, files)
        part.rename(root / digest)
        (root / f"{digest}.lock").touch()
    say(f"{digest[:16]} was fetched and verified")


def fetch(fetcher: str, uri: str, folder: Path) -> None:
    """Run the program that fetches: ``FETCHER URI FOLDER``."""
    folder.mkdir(exist_ok=True)
    if os.spawnv(os.P_WAIT, fetcher, [fetcher, uri, str(folder)]):  # noqa: S606 - no shell is wanted
        raise UnableError(f"{uri} could not be fetched")


def check(folder: Path, files: list[dict[str, object]]) -> None:
    """Compare every file with the manifest."""
    for file in files:
        path, digest = folder / str(file["path"]), hashlib.sha256()
        if not path.is_file() or path.stat().st_size != file["size_bytes"]:
            raise UnableError(f"{file['path']} is not whole")
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != file["sha256"]:
            raise UnableError(f"{file['path']} is damaged")


def make_room(root: Path, needed_bytes: int, *, limit_bytes: int, keep: frozenset[str]) -> None:
    """Remove models that nobody serves, the one asked for longest ago first, until there is room."""
    for found in sorted(root.glob("*.lock"), key=lambda path: path.stat().st_mtime):
        if _has_room(root, needed_bytes, limit_bytes):
            return
        _remove(root, found.stem, keep)
    if shutil.disk_usage(root).free < needed_bytes:
        free = shutil.disk_usage(root).free
        raise UnableError(f"{needed_bytes / _GIB:.1f} GiB are needed, the node's disk has {free / _GIB:.1f} GiB free")
    if not _has_room(root, needed_bytes, limit_bytes):
        say(f"more than {limit_bytes / _GIB:g} GiB are kept, as pods serve from them")


def _has_room(root: Path, needed_bytes: int, limit_bytes: int) -> bool:
    held = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return held + needed_bytes <= limit_bytes and shutil.disk_usage(root).free >= needed_bytes


def _remove(root: Path, digest: str, keep: frozenset[str]) -> None:
    lock = root / f"{digest}.lock"
    if digest in keep or time.time() - lock.stat().st_mtime < SPARE_S:
        return
    with lock.open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(root / digest, ignore_errors=True)
        shutil.rmtree(root / f"{digest}.part", ignore_errors=True)
        lock.unlink(missing_ok=True)
    say(f"{digest[:16]} was removed to make room")


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a file's lock, as soon as whoever has it lets go."""
    with path.open("ab") as held:
        fcntl.flock(held, how)
        yield


def main(words: list[str]) -> int:
    """Fill the folder with all models that are asked for."""
    root, limit_bytes, fetcher = Path(words[0]), int(float(words[1]) * _GIB), words[2]
    wanted = dict(word.split("=", 1) for word in words[3:])
    try:
        for digest, uri in wanted.items():
            fill(root, digest, uri, limit_bytes=limit_bytes, fetcher=fetcher, keep=frozenset(wanted))
    except (UnableError, OSError, ValueError, KeyError) as error:
        say(f"Error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
