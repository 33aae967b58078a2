"""A folder of backups: content under its SHA-256, once for all backups; one list a backup, written last.

Owns the paths, what a broken-off backup leaves, and removing what no backup names. Files are 0600, folders 0700.

    ai-how-backups.json        says what the folder is
    objects/ab/ab12...         content
    backups/<id>.json          the list of a whole backup
    unfinished/                what is still coming, and what a broken-off backup had copied
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ai_how.apply.files import disk_full, read_json, write_atomic, write_json
from ai_how.apply.lock import locked
from ai_how.backups.manifest import Blob, KeptObject, Manifest, manifest_text, parse_manifest
from ai_how.errors import ConflictError, NotFoundError, ProviderError, SpecError

_MARK = "ai-how-backups.json"
FORMAT = 1
_PIECE_BYTES = 1 << 20


class BackupStore:
    """One folder of backups."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "objects"
        self.lists = root / "backups"
        self.unfinished = root / "unfinished"

    def begin(self) -> None:
        """Make the folder what it is.

        Raises:
            SpecError: it holds something else.
            ProviderError: it cannot be written.
        """
        with explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (self.root / _MARK).exists():
                there = sorted(path.name for path in self.root.iterdir() if path.name != "lock")
                if there:
                    raise SpecError(
                        f"{self.root} holds something else than backups",
                        evidence=", ".join(there[:8]),
                        next_step="name a new or an empty folder",
                    )
                write_json(self.root / _MARK, {"format": FORMAT})
            self._check_format()
            for folder in (self.root, self.objects, self.lists, self.unfinished):
                folder.mkdir(exist_ok=True, mode=0o700)
                folder.chmod(0o700)

    def check(self) -> None:
        """Make sure that there is a folder of backups.

        Raises:
            NotFoundError: there is none.
        """
        if not (self.root / _MARK).is_file():
            raise NotFoundError(
                f"{self.root} is no folder of backups",
                evidence=f"{_MARK} is missing",
                next_step=f"ai-how backup create {self.root}",
            )
        self._check_format()

    def _check_format(self) -> None:
        found = read_json(self.root / _MARK)
        if not isinstance(found, dict) or not isinstance(found.get("format"), int):
            raise SpecError(
                f"{self.root / _MARK} is damaged",
                evidence=f"it says no format; this ai-how writes {FORMAT}",
                next_step=f'where this is your folder of backups, write {{"format": {FORMAT}}} into that file',
            )
        if found["format"] != FORMAT:
            raise ConflictError(
                f"{self.root} was written by another version of ai-how",
                evidence=f"{_MARK} says {found}, this one reads format {FORMAT}",
                next_step="install a newer ai-how, or name another folder",
            )

    @contextmanager
    def held(self, *, writing: bool) -> Iterator[None]:
        """Keep everybody else out; a folder that is only read may lie where nothing can be written.

        Raises:
            LockedError: somebody else is at it.
        """
        if not writing and not os.access(self.root, os.W_OK):
            yield
            return
        with locked(self.root / "lock", what="another command is working with these backups"):
            yield

    def path(self, sha256: str) -> Path:
        """Where content lies, or would."""
        return self.objects / sha256[:2] / sha256

    def holds(self, blob: Blob) -> bool:
        """Whether content of that size is there; it is not read."""
        try:
            return self.path(blob.sha256).stat().st_size == blob.size_bytes
        except FileNotFoundError:
            return False

    def free_bytes(self) -> int:
        """The room on its disk."""
        where = next(path for path in (self.root.absolute(), *self.root.absolute().parents) if path.exists())
        found = os.statvfs(where)
        return found.f_bavail * found.f_frsize

    def put(self, pieces: Iterable[bytes]) -> Blob:
        """Keep bytes; what lies there under the same digest is replaced, so that damage is mended."""
        with explained(self.root):
            handle, name = tempfile.mkstemp(dir=self.unfinished, prefix="part-")
            try:
                taken, size = hashlib.sha256(), 0
                with os.fdopen(handle, "wb") as file:
                    for piece in pieces:
                        file.write(piece)
                        taken.update(piece)
                        size += len(piece)
                    file.flush()
                    os.fsync(file.fileno())
                blob = Blob(sha256=taken.hexdigest(), size_bytes=size)
                self.path(blob.sha256).parent.mkdir(exist_ok=True, mode=0o700)
                Path(name).replace(self.path(blob.sha256))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        return blob

    def take(self, path: Path) -> Blob:
        """Keep a file of ``scratch``: it is moved, so that a large one needs its room once."""
        with explained(self.root):
            with path.open("rb+") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            path.chmod(0o600)
            blob = Blob(sha256=sha256, size_bytes=path.stat().st_size)
            self.path(sha256).parent.mkdir(exist_ok=True, mode=0o700)
            path.replace(self.path(sha256))
        return blob

    def read(self, blob: Blob) -> bytes:
        """Small content, whole."""
        return self.path(blob.sha256).read_bytes()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for the time of the block, on the same disk."""
        with explained(self.root):
            folder = Path(tempfile.mkdtemp(dir=self.unfinished, prefix="part-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def ids(self, site: str = "") -> list[str]:
        """Whole backups, the newest first; of one site where it is named."""
        name = re.compile(rf"{re.escape(site) or '.+'}-\d{{8}}t\d{{6}}z(-\d+)?")
        found = [path.stem for path in self.lists.glob("[!.]*.json") if name.fullmatch(path.stem)]
        return sorted(found, key=lambda name: (_time_of(name), name), reverse=True)

    def manifest(self, name: str) -> Manifest:
        """The list of a backup.

        Raises:
            NotFoundError: there is no such backup.
            SpecError: its list is damaged.
        """
        path = self.lists / f"{name}.json"
        if name not in self.ids():
            there = self.ids()
            raise NotFoundError(
                f"there is no backup {name!r} in {self.root}",
                evidence=f"there are: {', '.join(there[:8])}" if there else "there is none yet",
                next_step=f"ai-how backup list {self.root}" if there else f"ai-how backup create {self.root}",
            )
        manifest = parse_manifest(path.read_bytes(), where=str(path))
        if manifest.id != name:
            raise SpecError(f"{path} is the list of another backup", evidence=f"it says {manifest.id}")
        return manifest

    def finish(self, manifest: Manifest) -> None:
        """Make a backup one: from here on it is listed."""
        with explained(self.root):
            for folder in (self.objects, *self.objects.iterdir()):
                _sync(folder)
            write_atomic(self.lists / f"{manifest.id}.json", manifest_text(manifest))
            _sync(self.lists)

    def journal(self, site: str) -> Journal:
        """What a backup of a site that was broken off had copied."""
        return Journal(self.unfinished / f"{site}.jsonl")

    def forget(self, names: Iterable[str]) -> int:
        """Remove backups, then what no other one names; the number of bytes that got free.

        Raises:
            SpecError: the list of one that stays is damaged: what it names is not known.
        """
        names = set(names)
        used = {sha for name in self.ids() if name not in names for sha in self.manifest(name).blobs()}
        used |= {one.sha256 for journal in self.unfinished.glob("*.jsonl") for one in Journal(journal).read()}
        for name in names:
            (self.lists / f"{name}.json").unlink(missing_ok=True)
        _sync(self.lists)
        freed = 0
        for path in self.objects.glob("*/*"):
            if path.name not in used:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def sweep_parts(self) -> None:
        """Remove what was coming when a backup was broken off."""
        for path in self.unfinished.glob("part-*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class Journal:
    """Objects that were copied, one JSON object a line: a backup that was broken off goes on from there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, kept: KeptObject) -> None:
        """Note an object that lies in the folder; one line is one write."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, (json.dumps(kept.model_dump(mode="json")) + "\n").encode())
        finally:
            os.close(handle)

    def read(self) -> list[KeptObject]:
        """What was noted; a line that was cut off is left out."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(KeptObject.model_validate_json(line))
            except ValueError:
                continue
        return found

    def drop(self) -> None:
        """The backup is whole: its list says all."""
        self.path.unlink(missing_ok=True)


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file's content in pieces."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


@contextmanager
def explained(where: Path) -> Iterator[None]:
    """Turn what the file system refuses into our errors.

    Raises:
        ProviderError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(where / "objects") from error
        raise ProviderError(
            f"cannot write the backups in {where}",
            evidence=error.strerror or str(error),
            next_step=f"see who owns it: ls -ld {where}",
        ) from error


def _time_of(name: str) -> str:
    words = [word for word in name.split("-") if len(word) == 16 and word[:8].isdecimal()]
    return words[-1] if words else ""


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
