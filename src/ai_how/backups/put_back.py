"""Puts the objects of a backup back into a store: what is there already is not sent again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from ai_how.backups.manifest import KeptObject
from ai_how.backups.store import BackupStore
from ai_how.errors import InterruptionError, NotFoundError
from ai_how.models.meter import Meter, Progress
from ai_how.models.s3 import Bucket, StoredPart
from ai_how.models.upload import PART_BYTES, part_size

_THREADS = 4
_DIGEST = "sha256"


class ObjectsBack:
    """The objects of a backup on their way into the buckets of those names."""

    def __init__(
        self, store: BackupStore, buckets: Iterable[Bucket], objects: Iterable[KeptObject], progress: Progress | None
    ) -> None:
        self._store = store
        self._buckets: Mapping[str, Bucket] = {bucket.access.bucket: bucket for bucket in buckets}
        self._there = {
            (name, found.key): found.size_bytes for name, bucket in self._buckets.items() for found in bucket.listing()
        }
        self._objects = tuple(objects)
        self._progress = progress
        self._stop = threading.Event()

    @property
    def new_bytes(self) -> int:
        """At least so many bytes are not there."""
        return sum(one.size_bytes for one in self._objects if (one.bucket, one.key) not in self._there)

    def extra(self) -> list[tuple[Bucket, str]]:
        """What is in the buckets and not in the backup."""
        kept = {(one.bucket, one.key) for one in self._objects}
        return [(self._buckets[bucket], key) for bucket, key in self._there if (bucket, key) not in kept]

    def run(self) -> None:
        """Send them.

        Raises:
            InterruptionError: Ctrl-C; what was sent stays.
            TryAgainError: the store went away; what was sent stays.
        """
        self._meter = Meter("restore", sum(one.size_bytes for one in self._objects), self._progress)
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            try:
                tasks = [pool.submit(self._send, one) for one in self._objects]
                done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
                for task in done:
                    task.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _send(self, kept: KeptObject) -> None:
        bucket = self._buckets[kept.bucket]
        if self._is_there(bucket, kept):
            self._meter.add(kept.size_bytes)
            return
        self._check_stop()
        # by this a restore that was broken off knows what it has sent
        metadata = {**kept.metadata, _DIGEST: kept.sha256}
        kind = kept.content_type or "application/octet-stream"
        path = self._store.path(kept.sha256)
        if kept.size_bytes <= PART_BYTES:
            bucket.put(kept.key, path.read_bytes(), metadata=metadata, content_type=kind)
            self._meter.add(kept.size_bytes)
            return
        upload = bucket.begin_upload(kept.key, metadata=metadata, content_type=kind)
        try:
            self._send_parts(bucket, kept, path, upload)
        except BaseException:
            bucket.abort_upload(kept.key, upload)
            raise

    def _send_parts(self, bucket: Bucket, kept: KeptObject, path: Path, upload: str) -> None:
        parts: list[StoredPart] = []
        with path.open("rb") as file:
            while piece := file.read(part_size(kept.size_bytes)):
                self._check_stop()
                parts.append(bucket.put_part(kept.key, upload, len(parts) + 1, piece))
                self._meter.add(len(piece))
        bucket.finish_upload(kept.key, upload, parts)

    def _is_there(self, bucket: Bucket, kept: KeptObject) -> bool:
        if self._there.get((kept.bucket, kept.key)) != kept.size_bytes:
            return False
        try:
            return bucket.metadata(kept.key).get(_DIGEST) == kept.sha256
        except NotFoundError:
            return False

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise InterruptionError("interrupted")
