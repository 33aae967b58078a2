"""Makes a bundle: everything that is missing is fetched side by side and verified; ``bundle.json`` is written last.

A run that was broken off, by whatever, is taken further by the next one. What fails does not keep the rest from coming.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from ai_how import __version__
from ai_how.apply.files import nearest_folder
from ai_how.apply.lock import locked
from ai_how.bundles.download import Part, fetch_part
from ai_how.bundles.manifest import Blob, Entry, Manifest, read_manifest, write_manifest
from ai_how.bundles.plan import JOBS, Item, find_all
from ai_how.bundles.store import LOCK, Store, StoreError
from ai_how.bundles.wanted import Wanted
from ai_how.errors import AiHowError, InterruptionError, NotFoundError, ProviderError, TryAgainError
from ai_how.models.meter import Meter, Progress
from ai_how.run.outside import Patience

_SHOWN = 12
_SPARE_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What a bundle is for: its release set's name, versions by component, platform, and the wheels' Python."""

    release: str
    versions: Mapping[str, str]
    platform: str
    python: str = ""


def check_folder(folder: Path, *, refresh: bool) -> None:
    """Make sure that a bundle can be made in a folder, before anybody is asked for anything. Leaves nothing there.

    Raises:
        SpecError: it holds something else, or a bundle that cannot be read.
        ProviderError: it cannot be written, or its disk is full.
    """
    Store(folder).check()
    if not refresh:
        earlier_manifest(folder)
    _check_room(folder, _SPARE_BYTES)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(nearest_folder(folder)).free
    if needed > free:
        raise ProviderError(
            f"not enough disk space for the bundle in {folder}",
            evidence=f"{needed / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free",
            next_step="free some space or choose another disk, then run the same command again",
        )


def create_bundle(
    folder: Path,
    wanted: Iterable[Wanted],
    purpose: Purpose,
    *,
    made: Sequence[tuple[Entry, Path]] = (),
    progress: Progress | None = None,
    refresh: bool = False,
    jobs: int = JOBS,
) -> Manifest:
    """Make the bundle in a folder hold what is wanted, and nothing else.

    Args:
        made: Entries of one blob that lie on this machine already, with their files.
        refresh: Ask again what tags stand for; otherwise what an earlier run recorded stays.

    Raises:
        TryAgainError: something could not be fetched; the evidence lists it all, and what came is kept.
        ProviderError: something is not what it must be, or the disk is full.
        SpecError: the folder holds something else.
        LockedError: another command is filling this folder.
        InterruptionError: the user broke it off.
    """
    store = Store(folder)
    store.begin()
    with locked(folder / LOCK, what="another command is filling this bundle"):
        stop = Event()
        # what is there stays whole until the new one is
        earlier = None if refresh else earlier_manifest(folder)
        try:
            items = find_all(wanted, platform=purpose.platform, store=store, earlier=earlier, stop=stop, jobs=jobs)
            for entry, file in made:
                store.link(file, entry.digest)
            fetched = _Fetching(store, items, progress, stop, jobs).run()
        except BaseException:
            stop.set()
            raise
        entries = [entry for entry, _ in made] + [_entry(item, fetched, store) for item in items]
        manifest = _manifest(purpose, entries)
        store.write_index(entry for entry in entries if entry.kind == "image")
        write_manifest(folder, manifest)
        for path in store.others(manifest.blobs()):
            path.unlink()
        return manifest


def earlier_manifest(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except NotFoundError:
        return None


class _Fetching:
    def __init__(self, store: Store, items: Sequence[Item], progress: Progress | None, stop: Event, jobs: int) -> None:
        self._store, self._items, self._stop, self._jobs = store, items, stop, jobs
        self._patience = Patience(stop=stop)
        self._unwritable: StoreError | None = None
        # the same layer is in many images
        self._parts = {_key(part): part for item in items for part in item.parts}
        self._meter = Meter("fetch", sum(part.size_bytes or 0 for part in self._parts.values()), progress)

    def run(self) -> Mapping[str, tuple[str, int]]:
        """Fetch all parts; their digests and sizes by key."""
        self._check_space()
        done: dict[str, tuple[str, int]] = {}
        failures = [(item.name, item.problem) for item in self._items if item.problem is not None]
        with ThreadPoolExecutor(max_workers=self._jobs) as pool:
            # the largest first, so that the last one to finish does not start late
            ordered = sorted(self._parts.values(), key=lambda part: -(part.size_bytes or 0))
            tasks = {pool.submit(self._fetch, part): part for part in ordered}
            try:
                left: set[Future[tuple[str, int]]] = set(tasks)
                while left:
                    ended, left = wait(left, return_when=FIRST_COMPLETED)
                    for task in ended:
                        self._take(task, tasks[task], done, failures)
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if failures:
            raise _failed(failures, len(self._items))
        return done

    def _fetch(self, part: Part) -> tuple[str, int]:
        if self._stop.is_set():
            raise InterruptionError("broken off")
        try:
            return fetch_part(self._store, part, patience=self._patience, count=self._meter.add)
        except StoreError as error:
            # nothing else would come either
            self._unwritable = error
            self._stop.set()
            raise

    def _take(
        self,
        task: Future[tuple[str, int]],
        part: Part,
        done: dict[str, tuple[str, int]],
        failures: list[tuple[str, AiHowError]],
    ) -> None:
        try:
            done[_key(part)] = task.result()
        except (InterruptionError, StoreError) as error:
            raise self._unwritable or error from None
        except AiHowError as error:
            failures.append((part.what, error))

    def _check_space(self) -> None:
        """Refuse before the first byte comes where the known sizes do not fit."""
        missing = [part for part in self._parts.values() if self._store.sound(part.digest) is None]
        held = sum(path.stat().st_size for path in self._store.folder.glob(".*.part"))
        needed = sum(part.size_bytes or 0 for part in missing) - held + _SPARE_BYTES
        _check_room(self._store.root, needed)


def _key(part: Part) -> str:
    return part.digest or part.source


def _failed(failures: Sequence[tuple[str, AiHowError]], of: int) -> AiHowError:
    if len(failures) == 1:
        return failures[0][1]
    # a server that is away fails for many things in the same words
    kinds: dict[str, list[AiHowError]] = {}
    for _, error in failures:
        kinds.setdefault(error.brief, []).append(error)
    lines = []
    for brief, errors in list(kinds.items())[:_SHOWN]:
        lines.append(f"{brief} ({len(errors)} times)" if len(errors) > 1 else brief)
        lines += [f"  {line}" for line in errors[0].evidence.splitlines()]
    if len(kinds) > _SHOWN:
        lines.append(f"and {len(kinds) - _SHOWN} more kinds of failure")
    passing = all(isinstance(error, TryAgainError) for _, error in failures)
    return (TryAgainError if passing else ProviderError)(
        f"{len(failures)} of what {of} things need could not be fetched",
        evidence="\n".join(lines),
        next_step=failures[0][1].next_step or "run the same command again: what came is kept",
    )


def _entry(item: Item, fetched: Mapping[str, tuple[str, int]], store: Store) -> Entry:
    if item.ready is not None:
        return item.ready
    blobs = []
    if item.image is not None:
        for digest, content in item.image.manifests.items():
            store.put(content)
            blobs.append(Blob(digest=digest, size_bytes=len(content), media_type=item.image.media_types[digest]))
    types = item.image.part_types if item.image else ("",) * len(item.parts)
    for part, media_type in zip(item.parts, types, strict=True):
        digest, size_bytes = fetched[_key(part)]
        blobs.append(Blob(digest=digest, size_bytes=size_bytes, media_type=media_type))
    return Entry(kind=item.kind, name=item.name, source=item.source, version=item.version, blobs=tuple(blobs))


def _manifest(purpose: Purpose, entries: Sequence[Entry]) -> Manifest:
    return Manifest(
        release=purpose.release,
        versions=dict(purpose.versions),
        platform=purpose.platform,
        python=purpose.python,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by=f"ai-how {__version__}",
        entries=tuple(entries),
    )
