"""Reads a backup through: every digest, the database's own check, every file of every registered version.

Of a backup that is put back in part only that part is read: the rest may take hours, and its damage hinders nothing.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ai_how.backups.databases import postgresql_trouble, sqlite_trouble
from ai_how.backups.manifest import Blob, Dump, Manifest
from ai_how.backups.models_check import incomplete_versions
from ai_how.backups.store import BackupStore, pieces_of
from ai_how.errors import MissingToolError, ProviderError
from ai_how.models.meter import Meter, Progress

_SHOWN = 12
# hashing is bound by the processor: more threads than cores only compete
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """``damages``: it cannot be put back as it was. ``notes``: what was not checked, or was missing from the start."""

    damages: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What of a backup is read through. ``files``: what their names begin with."""

    database: bool = True
    objects: bool = True
    files: tuple[str, ...] = ("",)


WHOLE = Scope()


def verify(
    store: BackupStore, manifest: Manifest, *, scope: Scope = WHOLE, progress: Progress | None = None
) -> tuple[str, ...]:
    """Verify a backup, or a part of it; gives the notes.

    Raises:
        ProviderError: something is damaged or missing; the evidence lists it.
    """
    found = inspect(store, manifest, scope=scope, progress=progress)
    if found.damages:
        more = [f"and {len(found.damages) - _SHOWN} more"] if len(found.damages) > _SHOWN else []
        raise ProviderError(
            f"backup {manifest.id} is damaged",
            evidence="\n".join([*found.damages[:_SHOWN], *more]),
            next_step=f"ai-how backup create {store.root} --full makes a sound one while the site still has everything",
        )
    return found.notes


def inspect(
    store: BackupStore, manifest: Manifest, *, scope: Scope = WHOLE, progress: Progress | None = None
) -> Findings:
    """Everything that is wrong with a backup, or with a part of it. Changes nothing."""
    kept = _kept(manifest, scope)
    blobs = {blob.sha256: blob for _, blob in kept}
    meter = Meter("verify", sum(blob.size_bytes for blob in blobs.values()), progress)
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        problems = dict(zip(blobs, pool.map(lambda blob: _problem(store, blob, meter), blobs.values()), strict=True))
    damages = [f"{name}: {problems[blob.sha256]}" for name, blob in kept if problems[blob.sha256]]
    notes = [f"not whole when the backup was made: {line}" for line in manifest.incomplete if scope.objects]
    database = manifest.database if scope.database else None
    if database and not problems[database.sha256]:
        trouble, note = _database(store, database)
        damages += [f"database: {trouble}"] if trouble else []
        notes += [note] if note else []
    if scope.objects and not damages:
        known = set(manifest.incomplete)
        missing = incomplete_versions(manifest.models, manifest.objects, store.read)
        damages += [line for model, why in missing.items() if (line := f"{model}: {why}") not in known]
    return Findings(damages=tuple(damages), notes=tuple(notes))


def _problem(store: BackupStore, blob: Blob, meter: Meter) -> str:
    taken, size = hashlib.sha256(), 0
    try:
        for piece in pieces_of(store.path(blob.sha256)):
            taken.update(piece)
            size += len(piece)
            meter.add(len(piece))
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return error.strerror or str(error)
    if size != blob.size_bytes:
        return f"{size} bytes instead of {blob.size_bytes}"
    return "" if taken.hexdigest() == blob.sha256 else f"its content is no longer {blob.sha256[:12]}..."


def _kept(manifest: Manifest, scope: Scope) -> list[tuple[str, Blob]]:
    return [
        *([("database", manifest.database)] if scope.database and manifest.database else []),
        *((file.name, file) for file in manifest.files if file.name.startswith(scope.files)),
        *((f"{one.bucket}/{one.key}", one) for one in (manifest.objects if scope.objects else ())),
    ]


def _database(store: BackupStore, database: Dump) -> tuple[str, str]:
    path = store.path(database.sha256)
    if database.kind == "sqlite":
        return sqlite_trouble(path), ""
    try:
        return postgresql_trouble(path), ""
    except MissingToolError as error:
        return "", f"the database's dump was only compared by digest: {error.brief}"
