"""Writing files so that a crash leaves the old content or the new, never half of one."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ai_how.errors import ProviderError, SpecError


def write_atomic(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file's content in one step; the file gets ``mode`` whatever the umask is.

    Raises:
        ProviderError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with names_full_disk(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def check_writable(path: Path) -> None:
    """Find out whether ``write_atomic`` could write a file, before the work that the file is to keep.

    Raises:
        SpecError: it could not.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        Path(temporary).unlink()
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise SpecError(
            f"{path} cannot be written", evidence=error.strerror or str(error), next_step="name another file"
        ) from error


@contextmanager
def names_full_disk(path: Path) -> Iterator[None]:
    """Say which file could not be written: the operating system does not, where a file is open.

    Raises:
        ProviderError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from error
        raise


def write_json(path: Path, data: Any, *, mode: int = 0o600) -> None:
    """``write_atomic`` of indented JSON with sorted keys."""
    write_atomic(path, json.dumps(data, indent=2, sort_keys=True) + "\n", mode=mode)


def read_json(path: Path) -> Any:
    """The file as JSON, or None where it does not exist or holds no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def read_own_text(path: Path, *, next_step: str) -> str:
    """A text file that we wrote.

    Raises:
        ProviderError: it is damaged; ``next_step`` says how to get a whole one.
        FileNotFoundError: there is none.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ProviderError(
            f"{path.name} is damaged", evidence=f"{path}\nis no text from byte {error.start} on", next_step=next_step
        ) from error


def last_lines(path: Path, lines: int) -> list[str]:
    """The last lines of a file that may be large or missing."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 400 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def free_places(*folders: Path) -> str:
    """What is free in these folders and in those that every command may write to, a line each: for a full disk of
    which it is not known which one it was."""
    places = dict.fromkeys((*folders, shared_cache(), Path(tempfile.gettempdir())))
    return "\n".join(f"{free_mib(place):.0f} MiB are free in {place}" for place in places)


def free_mib(folder: Path) -> float:
    """What is free on the disk of a folder, which need not be there yet, MiB."""
    free = os.statvfs(nearest_folder(folder))
    return free.f_bavail * free.f_frsize / 2**20


def nearest_folder(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def disk_full(path: Path) -> ProviderError:
    """The error for a full disk: which one, and how much is left."""
    return ProviderError(
        f"the disk is full: cannot write {path}",
        evidence=f"{free_mib(path.parent):.0f} MiB are free there",
        next_step="free some space, then run the same command again",
    )


def shared_cache() -> Path:
    """The user's cache folder, shared by all sites: what is the same for everyone, such as environments and images."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ai-how"
