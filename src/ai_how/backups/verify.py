"""Reads a backup through: every digest, the database's own check, every file of every registered version."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ai_how.backups.databases import postgresql_trouble, sqlite_trouble
from ai_how.backups.manifest import Blob, Manifest
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


def verify(store: BackupStore, manifest: Manifest, *, progress: Progress | None = None) -> tuple[str, ...]:
    """Verify a backup; gives the notes.

    Raises:
        ProviderError: something is damaged or missing; the evidence lists it.
    """
    found = inspect(store, manifest, progress=progress)
    if found.damages:
        more = [f"and {len(found.damages) - _SHOWN} more"] if len(found.damages) > _SHOWN else []
        raise ProviderError(
            f"backup {manifest.id} is damaged",
            evidence="\n".join([*found.damages[:_SHOWN], *more]),
            next_step=f"ai-how backup create {store.root} --full makes a sound one while the site still has everything",
        )
    return found.notes


def inspect(store: BackupStore, manifest: Manifest, *, progress: Progress | None = None) -> Findings:
    """Everything that is wrong with a backup. Changes nothing."""
    blobs = manifest.blobs()
    meter = Meter("verify", manifest.size_bytes, progress)
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        problems = dict(zip(blobs, pool.map(lambda blob: _problem(store, blob, meter), blobs.values()), strict=True))
    damages = [f"{name}: {problems[sha]}" for sha, name in _names(manifest) if problems[sha]]
    notes = [f"not whole when the backup was made: {line}" for line in manifest.incomplete]
    if not problems[manifest.database.sha256]:
        trouble, note = _database(store, manifest)
        damages += [f"database: {trouble}"] if trouble else []
        notes += [note] if note else []
    if not damages:
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


def _names(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        (manifest.database.sha256, "database"),
        *((file.sha256, file.name) for file in manifest.files),
        *((one.sha256, f"{one.bucket}/{one.key}") for one in manifest.objects),
    ]


def _database(store: BackupStore, manifest: Manifest) -> tuple[str, str]:
    path = store.path(manifest.database.sha256)
    if manifest.database.kind == "sqlite":
        return sqlite_trouble(path), ""
    try:
        return postgresql_trouble(path), ""
    except MissingToolError as error:
        return "", f"the database's dump was only compared by digest: {error.brief}"
