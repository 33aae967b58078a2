"""Fetches a model from the object store: in parallel, resumable, verified, visible only when it is whole.

Files are collected in a hidden folder beside the destination, which gets its name in one step at the end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

from ai_how.apply.files import disk_full
from ai_how.errors import NotFoundError, ProviderError, TryAgainError
from ai_how.models.manifest import MANIFEST_NAME, hash_file, manifest_from_json
from ai_how.models.meter import Meter, Progress
from ai_how.models.s3 import Bucket
from ai_how.models.types import Manifest, ModelFile

PART_BYTES = 16 << 20
_THREADS = 6
_TRIES = 3
_CHUNK_BYTES = 1 << 20
# what the file system itself needs beside the files' bytes
_SPARE_BYTES = 16 << 20


def download(bucket: Bucket, prefix: str, digest: str, dest: Path, *, progress: Progress | None = None) -> None:
    """Make ``dest`` the folder of the model with ``digest``; does nothing where it is there already.

    Raises:
        NotFoundError: the folder in the store holds no whole model.
        ProviderError: the disk is full, or what the store holds is not what was registered.
        TryAgainError: the store went away; the next call goes on where this one was.
    """
    part_dir = dest.parent / f".{dest.name}.part"
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(part_dir):
            if dest.exists():
                shutil.rmtree(part_dir)
                return
            manifest = fetch_manifest(bucket, prefix, digest)
            _Download(bucket, prefix, manifest, part_dir, progress).run()
            part_dir.rename(dest)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(part_dir) from error
        raise ProviderError(f"cannot write {dest}", evidence=error.strerror or str(error)) from error


def fetch_manifest(bucket: Bucket, prefix: str, digest: str) -> Manifest:
    """The manifest of a folder, which must be the one with ``digest``."""
    where = f"s3://{bucket.access.bucket}/{prefix}"
    try:
        manifest = manifest_from_json(bucket.get(prefix + MANIFEST_NAME))
    except NotFoundError as error:
        raise NotFoundError(
            f"{where} holds no whole model",
            evidence=f"there is no {MANIFEST_NAME}: its files were deleted, or its upload never ended",
            next_step="push the model again: ai-how model push SOURCE --name NAME",
        ) from error
    if manifest.digest != digest:
        raise ProviderError(
            f"{where} is not the model that was registered",
            evidence=f"digest {manifest.digest[:16]} is there, {digest[:16]} was registered",
            next_step="push the model again: ai-how model push SOURCE --name NAME",
        )
    return manifest


class _Download:
    def __init__(
        self, bucket: Bucket, prefix: str, manifest: Manifest, part_dir: Path, progress: Progress | None
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._manifest = manifest
        self._dir = part_dir
        self._meter = Meter("download", manifest.size_bytes, progress)
        self._stop = Event()

    def run(self) -> None:
        self._bucket.connect()
        self._check_space()
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            try:
                # a file that was taken up and turns out wrong is fetched once more from its beginning
                wrong = self._fetch(pool, list(self._manifest.files))
                for file in wrong:
                    self._forget(file)
                wrong = self._fetch(pool, wrong)
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if wrong:
            for file in wrong:
                self._forget(file)
            raise ProviderError(
                "the object store holds other bytes than were registered",
                evidence="\n".join(f"{file.path}: SHA-256 is not {file.sha256[:16]}..." for file in wrong[:8]),
                next_step="push the model again, then delete this version: ai-how model delete NAME/VERSION",
            )
        for file in self._manifest.files:
            self._journal(file).unlink(missing_ok=True)
            _flush(self._dir / file.path)

    def _fetch(self, pool: ThreadPoolExecutor, files: list[ModelFile]) -> list[ModelFile]:
        """Fetch what is missing of the files; returns those whose SHA-256 is wrong."""
        tasks = [pool.submit(self._fetch_part, file, part) for file in files for part in self._open_parts(file)]
        done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        for task in done:
            task.result()
        digests = pool.map(lambda file: hash_file(self._dir / file.path), files)
        return [file for file, digest in zip(files, digests, strict=True) if digest != file.sha256]

    def _open_parts(self, file: ModelFile) -> list[int]:
        """Make the file in its full size, and list the parts that are still missing."""
        target = self._dir / file.path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        journal = self._journal(file)
        have: set[int] = set()
        if target.exists() and target.stat().st_size == file.size_bytes and journal.exists():
            have = {int(line) for line in journal.read_text().split() if line.isdecimal()}
        else:
            journal.unlink(missing_ok=True)
            with target.open("wb") as out:
                out.truncate(file.size_bytes)
        count = -(-file.size_bytes // PART_BYTES)
        for part in have:
            self._meter.add(self._part_length(file, part))
        return [part for part in range(count) if part not in have]

    def _part_length(self, file: ModelFile, part: int) -> int:
        return max(0, min(PART_BYTES, file.size_bytes - part * PART_BYTES))

    def _fetch_part(self, file: ModelFile, part: int) -> None:
        for tried in range(1, _TRIES + 1):
            if self._stop.is_set():
                return
            try:
                self._write_part(file, part)
            except TryAgainError:
                if tried == _TRIES:
                    raise
            else:
                return

    def _write_part(self, file: ModelFile, part: int) -> None:
        start = part * PART_BYTES
        end = start + self._part_length(file, part)
        handle = os.open(self._dir / file.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            position = start
            with self._bucket.open_range(self._prefix + file.path, start, end) as body:
                while chunk := body.read(_CHUNK_BYTES):
                    os.pwrite(handle, chunk, position)
                    position += len(chunk)
        finally:
            os.close(handle)
        if position != end:
            raise TryAgainError(f"{file.path} broke off", next_step="run the same command again")
        _append(self._journal(file), f"{part}\n")
        self._meter.add(end - start)

    def _journal(self, file: ModelFile) -> Path:
        target = self._dir / file.path
        return target.parent / f".{target.name}.journal"

    def _forget(self, file: ModelFile) -> None:
        self._journal(file).unlink(missing_ok=True)
        (self._dir / file.path).unlink(missing_ok=True)
        self._meter.add(-file.size_bytes)

    def _check_space(self) -> None:
        """Refuse before the first byte is fetched; a sparse file of an earlier try counts by what it really holds."""
        held = sum(path.stat().st_blocks * 512 for path in self._dir.rglob("*") if path.is_file())
        needed = self._manifest.size_bytes - held + _SPARE_BYTES
        free = shutil.disk_usage(self._dir).free
        if needed > free:
            raise ProviderError(
                f"not enough disk space for the model in {self._dir.parent}",
                evidence=f"{needed / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free",
                next_step="free some space, then run the same command again",
            )


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone, made where it is missing; wait for another holder, however long.

    The lock is on the folder itself: it vanishes with its holder's life and leaves no file behind.
    """
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        if folder.exists() and os.path.samestat(os.fstat(handle), folder.stat()):
            break
        # the holder before us has finished and renamed the folder
        os.close(handle)
    try:
        yield
    finally:
        os.close(handle)


def _flush(path: Path) -> None:
    """What is called verified must survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _append(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)
