"""Sends a model's files to the object store: in parallel, in parts, taking up what a broken-off upload left.

The folder of a model is named after its digest, so whatever lies there belongs to the same content. The manifest is
written last: where it is, the model is whole.
"""

from __future__ import annotations

import math
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

from ai_how.errors import NotFoundError, ProviderError, TryAgainError, WorldChangedError
from ai_how.models.manifest import MANIFEST_NAME, LocalFile, LocalModel, changed, manifest_to_json
from ai_how.models.meter import Meter, Progress
from ai_how.models.s3 import Bucket, StoredPart, part_etag

PART_BYTES = 16 << 20
MOST_PARTS = 10_000
"""S3's own limit."""

_THREADS = 6


@dataclass(frozen=True, kw_only=True)
class UploadReport:
    """What an upload had to do. ``kept_bytes`` were in the store already; parts of an earlier try count."""

    sent_bytes: int
    kept_bytes: int


def part_size(size_bytes: int) -> int:
    """The part size of a file: always the same for the same size, so that another run finds the same parts."""
    needed = math.ceil(size_bytes / MOST_PARTS)
    return max(PART_BYTES, math.ceil(needed / (1 << 20)) << 20)


def upload(bucket: Bucket, prefix: str, model: LocalModel, *, progress: Progress | None = None) -> UploadReport:
    """Make ``prefix`` hold the model, whole; sends only what is not there.

    Args:
        prefix: The folder's key with a slash at the end.

    Raises:
        WorldChangedError: a local file changed meanwhile; nothing was made visible.
        TryAgainError: the store went away; the next call goes on where this one was.
    """
    return _Upload(bucket, prefix, model, progress).run()


@dataclass(kw_only=True)
class _Parts:
    """One file that is sent in parts."""

    file: LocalFile
    key: str
    upload_id: str
    stored: dict[int, StoredPart] = field(default_factory=dict)
    done: list[StoredPart] = field(default_factory=list)

    @property
    def count(self) -> int:
        return math.ceil(self.file.entry.size_bytes / part_size(self.file.entry.size_bytes))


class _Upload:
    def __init__(self, bucket: Bucket, prefix: str, model: LocalModel, progress: Progress | None) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._model = model
        self._progress = progress
        self._guard = Lock()
        self._stop = Event()
        self._sent_bytes = 0
        self._was_whole = False

    def run(self) -> UploadReport:
        missing = self._missing()
        if missing:
            self._meter = Meter("upload", self._model.manifest.size_bytes, self._progress)
            self._meter.add(self._model.manifest.size_bytes - sum(file.entry.size_bytes for file in missing))
            self._send_all(missing)
        self._check_sizes()
        for file in self._model.files:
            file.check_unchanged()
        if missing or not self._was_whole:
            text = manifest_to_json(self._model.manifest).encode()
            self._bucket.put(self._key(MANIFEST_NAME), text, metadata={}, content_type="application/json")
        return UploadReport(sent_bytes=self._sent_bytes, kept_bytes=self._model.manifest.size_bytes - self._sent_bytes)

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _missing(self) -> list[LocalFile]:
        """Files that the store does not have; where there is no manifest yet, sizes alone do not count as proof."""
        self._bucket.connect()
        stored = self._bucket.sizes(self._prefix)
        self._was_whole = self._key(MANIFEST_NAME) in stored and self._holds_manifest()
        missing = []
        for file in self._model.files:
            key, entry = self._key(file.entry.path), file.entry
            there = stored.get(key) == entry.size_bytes and (
                self._was_whole or self._bucket.metadata(key).get("sha256") == entry.sha256
            )
            if not there:
                missing.append(file)
        return missing

    def _holds_manifest(self) -> bool:
        try:
            return self._bucket.get(self._key(MANIFEST_NAME)) == manifest_to_json(self._model.manifest).encode()
        except NotFoundError:
            return False

    def _send_all(self, files: list[LocalFile]) -> None:
        # the newest one of a key, if two runs began one each
        begun = dict(self._bucket.unfinished_uploads(self._prefix))
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            try:
                tasks: list[Future[None]] = []
                for file in files:
                    if file.entry.size_bytes <= PART_BYTES:
                        tasks.append(pool.submit(self._send_small, file))
                    else:
                        tasks += self._submit_parts(pool, file, begun.get(self._key(file.entry.path)))
                _raise_first(tasks)
            except BaseException:
                # parts under way are finished and kept: the next run takes them up
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _submit_parts(self, pool: ThreadPoolExecutor, file: LocalFile, upload_id: str | None) -> list[Future[None]]:
        key = self._key(file.entry.path)
        sending = None
        if upload_id:
            try:
                stored = self._bucket.parts(key, upload_id)
                sending = _Parts(file=file, key=key, upload_id=upload_id, stored=stored)
            except NotFoundError:
                sending = None
        if sending is None:
            begun = self._bucket.begin_upload(key, metadata={"sha256": file.entry.sha256})
            sending = _Parts(file=file, key=key, upload_id=begun)
        return [pool.submit(self._send_part, sending, number) for number in range(1, sending.count + 1)]

    def _send_small(self, file: LocalFile) -> None:
        if self._stop.is_set():
            return
        body = _read(file.path, 0, file.entry.size_bytes)
        file.check_unchanged()
        self._bucket.put(
            self._key(file.entry.path),
            body,
            metadata={"sha256": file.entry.sha256},
            content_type="application/octet-stream",
        )
        self._count(len(body))

    def _send_part(self, sending: _Parts, number: int) -> None:
        if self._stop.is_set():
            return
        size = part_size(sending.file.entry.size_bytes)
        start = (number - 1) * size
        body = _read(sending.file.path, start, min(size, sending.file.entry.size_bytes - start))
        sending.file.check_unchanged()
        stored = sending.stored.get(number)
        try:
            if stored and stored.size_bytes == len(body) and stored.etag == part_etag(body):
                self._meter.add(len(body))
            else:
                stored = self._bucket.put_part(sending.key, sending.upload_id, number, body)
                self._count(len(body))
            with self._guard:
                sending.done.append(stored)
                last = len(sending.done) == sending.count
            if last:
                sending.file.check_unchanged()
                parts = sorted(sending.done, key=lambda part: part.number)
                self._bucket.finish_upload(sending.key, sending.upload_id, parts)
        except NotFoundError as error:
            self._check_finished_elsewhere(sending, error)

    def _check_finished_elsewhere(self, sending: _Parts, error: NotFoundError) -> None:
        """Another process that pushes the same model may have taken up the same upload and finished it."""
        try:
            if self._bucket.metadata(sending.key).get("sha256") == sending.file.entry.sha256:
                return
        except NotFoundError:
            pass
        raise TryAgainError(
            f"the upload of {sending.file.path.name} was aborted by somebody else",
            evidence=error.evidence,
            next_step="run the same command again",
        ) from error

    def _check_sizes(self) -> None:
        stored = self._bucket.sizes(self._prefix)
        for file in self._model.files:
            found = stored.get(self._key(file.entry.path))
            if found != file.entry.size_bytes:
                raise ProviderError(
                    f"the object store did not keep {file.entry.path} whole",
                    evidence=f"{file.entry.size_bytes} bytes were sent, {found} are there",
                    next_step="ai-how logs object-store, then run the same command again",
                )

    def _count(self, size_bytes: int) -> None:
        with self._guard:
            self._sent_bytes += size_bytes
        self._meter.add(size_bytes)


def _raise_first(tasks: list[Future[None]]) -> None:
    done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
    for task in done:
        task.result()


def _read(path: Path, start: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            body = file.read(length)
    except OSError as error:
        raise WorldChangedError(f"{path} can no longer be read", evidence=error.strerror or "") from error
    if len(body) != length:
        raise changed(path)
    return body
