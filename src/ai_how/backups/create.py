"""Makes a backup: files first, then the database, then the store's objects; the list last.

In that order what is kept fits together: an endpoint names a version that the database already has, and a version's
files were in the store before it was registered. What has not changed since an earlier backup is not read again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import BinaryIO

from ai_how import __version__
from ai_how.backups.manifest import (
    FORMAT,
    FORMAT_WITHOUT_STACK,
    Dump,
    KeptFile,
    KeptObject,
    Manifest,
    ModelVersion,
)
from ai_how.backups.models_check import incomplete_versions
from ai_how.backups.source import Source
from ai_how.backups.store import BackupStore
from ai_how.errors import InterruptionError, NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.models.meter import Meter, Progress
from ai_how.models.s3 import Bucket, StoredObject

Known = Mapping[tuple[str, str, str, str], KeptObject]
_THREADS = 4
_TRIES = 3
_PIECE_BYTES = 1 << 20
_ROOM_BYTES = 64 << 20
"""Left for the list, the dump and the folder itself beside the objects."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a backup would copy: objects in all, those that are new, a snapshot of etcd, and the room there is."""

    buckets: tuple[str, ...] = ()
    objects: int = 0
    size_bytes: int = 0
    new_objects: int = 0
    new_bytes: int = 0
    snapshot_bytes: int = 0
    free_bytes: int

    @property
    def needed_bytes(self) -> int:
        """The room that it takes at most."""
        return self.new_bytes + self.snapshot_bytes + _ROOM_BYTES

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.free_bytes


@dataclass(frozen=True, kw_only=True)
class Created:
    """A backup that was made. ``copied_bytes`` of the store's objects were not in the folder yet."""

    manifest: Manifest
    copied_objects: int
    copied_bytes: int


def survey(source: Source, store: BackupStore, *, full: bool = False) -> Survey:
    """What ``create`` would copy now. Changes nothing."""
    listing = [(bucket, found) for bucket in source.buckets for found in bucket.listing()]
    asked = _survey(listing, {} if full else known_objects(store, source.site), store)
    return replace(asked, buckets=_names(source), snapshot_bytes=source.snapshot_bytes)


def create(source: Source, store: BackupStore, *, full: bool = False, progress: Progress | None = None) -> Created:
    """Make a backup; the caller keeps others out of the site and of the folder.

    Args:
        full: Read every object again, also those that an earlier backup has: that mends damage.

    Raises:
        ProviderError: there is not enough room, or something of the site cannot be read.
        TryAgainError: the registry changed meanwhile, or the store went away; what was copied stays.
        InterruptionError: Ctrl-C; what was copied stays.
    """
    store.sweep_parts()
    # first: a snapshot that no list names would stay until a backup is removed
    check_room(Survey(snapshot_bytes=source.snapshot_bytes, free_bytes=store.free_bytes()), store)
    files = tuple(_kept_file(store, name, content) for name, content in source.files())
    models, database = _dump(source, store)
    copying = _Copying(store, source.site, {} if full else known_objects(store, source.site), progress)
    objects = copying.run([(bucket, found) for bucket in source.buckets for found in bucket.listing()])
    incomplete = incomplete_versions(models, objects, store.read)
    gone = set(incomplete) - set(source.models()) if incomplete else ()
    if gone:
        raise TryAgainError(
            "models were deleted while the backup was made",
            evidence=", ".join(map(str, gone)),
            next_step="run the same command again: what is copied stays",
        )
    manifest = Manifest(
        **_named(store, source.site),
        format=FORMAT if database else FORMAT_WITHOUT_STACK,
        provider=source.provider,
        made_by=f"ai-how {__version__}",
        versions=dict(source.versions),
        buckets=_names(source),
        database=database,
        files=files,
        objects=objects,
        models=models,
        incomplete=tuple(f"{model}: {missing}" for model, missing in incomplete.items()),
    )
    store.finish(manifest)
    store.journal(source.site).drop()
    return Created(manifest=manifest, copied_objects=copying.copied_objects, copied_bytes=copying.copied_bytes)


def known_objects(store: BackupStore, site: str) -> Known:
    """Objects whose content is in the folder already, by what tells that they are the same."""
    kept = [*store.journal(site).read()]
    for name in store.ids(site):
        # one whose list is damaged saves no copying, and is no reason not to make a sound one
        with contextlib.suppress(SpecError):
            kept += store.manifest(name).objects
    newest = {one.stamp: one for one in reversed(kept)}
    return {stamp: one for stamp, one in newest.items() if store.holds(one)}


def _survey(listing: list[tuple[Bucket, StoredObject]], known: Known, store: BackupStore) -> Survey:
    new = [found for bucket, found in listing if _stamp(bucket, found) not in known]
    return Survey(
        objects=len(listing),
        size_bytes=sum(found.size_bytes for _, found in listing),
        new_objects=len(new),
        new_bytes=sum(found.size_bytes for found in new),
        free_bytes=store.free_bytes(),
    )


def _names(source: Source) -> tuple[str, ...]:
    return tuple(bucket.access.bucket for bucket in source.buckets)


def _stamp(bucket: Bucket, found: StoredObject) -> tuple[str, str, str, str]:
    return bucket.access.bucket, found.key, found.etag, found.modified


def _kept_file(store: BackupStore, name: str, content: bytes) -> KeptFile:
    blob = store.put([content])
    return KeptFile(name=name, sha256=blob.sha256, size_bytes=blob.size_bytes)


def _dump(source: Source, store: BackupStore) -> tuple[tuple[ModelVersion, ...], Dump | None]:
    """The database where there is one, and what the registry showed both before and after it: what the dump holds."""
    for _ in range(_TRIES):
        before = source.models()
        with store.scratch() as folder:
            kind = source.dump(folder / "dump")
            if kind is None:
                return before, None
            if source.models() == before:
                blob = store.take(folder / "dump")
                return before, Dump(kind=kind, sha256=blob.sha256, size_bytes=blob.size_bytes)
    raise TryAgainError(
        "the registry changes too often to be kept",
        evidence=f"another list of versions before and after each of {_TRIES} dumps",
        next_step="run the same command again when nothing is pushed or promoted",
    )


def _named(store: BackupStore, site: str) -> dict[str, str]:
    now = datetime.now(UTC)
    plain = f"{site}-{now:%Y%m%dt%H%M%Sz}"
    taken = set(store.ids())
    name = next(one for one in (plain, *(f"{plain}-{number}" for number in range(2, 1000))) if one not in taken)
    return {"id": name, "site": site, "made_at": now.isoformat(timespec="seconds")}


class _Copying:
    """Objects on their way into the folder, several at once."""

    def __init__(self, store: BackupStore, site: str, known: Known, progress: Progress | None) -> None:
        self._store = store
        self._journal = store.journal(site)
        self._known = known
        self._progress = progress
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self.copied_objects = 0
        self.copied_bytes = 0

    def run(self, listing: list[tuple[Bucket, StoredObject]]) -> tuple[KeptObject, ...]:
        asked = _survey(listing, self._known, self._store)
        check_room(asked, self._store)
        self._meter = Meter("copy", asked.new_bytes, self._progress)
        kept = [one for bucket, found in listing if (one := self._known.get(_stamp(bucket, found)))]
        new = [(bucket, found) for bucket, found in listing if _stamp(bucket, found) not in self._known]
        for bucket in {id(bucket): bucket for bucket, _ in new}.values():
            bucket.connect()
        with ThreadPoolExecutor(max_workers=_THREADS) as pool:
            try:
                tasks = [pool.submit(self._copy, bucket, found) for bucket, found in new]
                done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
                for task in done:
                    task.result()
            except KeyboardInterrupt:
                self._end(pool)
                raise InterruptionError(
                    "interrupted: what is copied stays", next_step="run the same command again to go on"
                ) from None
            except BaseException:
                self._end(pool)
                raise
        kept += [one for task in tasks if (one := task.result())]
        return tuple(sorted(kept, key=lambda one: (one.bucket, one.key)))

    def _end(self, pool: ThreadPoolExecutor) -> None:
        self._stop.set()
        pool.shutdown(wait=True, cancel_futures=True)

    def _copy(self, bucket: Bucket, found: StoredObject) -> KeptObject | None:
        """Copy one; None where it was deleted since it was listed."""
        try:
            with bucket.opened(found.key) as opened:
                blob = self._store.put(self._pieces(opened.body))
                etag, content_type, metadata = opened.etag, opened.content_type, opened.metadata
        except NotFoundError:
            self._meter.add(found.size_bytes)
            return None
        if etag == found.etag and blob.size_bytes != found.size_bytes:
            raise TryAgainError(
                f"the object store broke off: {found.key}",
                evidence=f"{blob.size_bytes} of {found.size_bytes} bytes came",
                next_step="run the same command again: what is copied stays",
            )
        kept = KeptObject(
            bucket=bucket.access.bucket,
            key=found.key,
            etag=etag,
            # of one that was written meanwhile the time is not known: it will be read again
            modified=found.modified if etag == found.etag else "",
            content_type=content_type,
            metadata=metadata,
            **blob.model_dump(),
        )
        with self._guard:
            self._journal.add(kept)
            self.copied_objects += 1
            self.copied_bytes += blob.size_bytes
        return kept

    def _pieces(self, body: BinaryIO) -> Iterator[bytes]:
        while piece := body.read(_PIECE_BYTES):
            if self._stop.is_set():
                raise InterruptionError("interrupted")
            self._meter.add(len(piece))
            yield piece


def check_room(asked: Survey, store: BackupStore) -> None:
    """Make sure that the folder's disk takes what is new.

    Raises:
        ProviderError: it does not.
    """
    if not asked.fits:
        raise ProviderError(
            f"there is not enough room for the backup in {store.root}",
            evidence=f"{_mib(asked.needed_bytes)} are needed, {_mib(asked.free_bytes)} are free",
            next_step=f"name a folder on another disk, or: ai-how backup delete {store.root} --keep 1",
        )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"
