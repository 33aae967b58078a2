"""Reads a bundle through, folder or tar, and compares digests and sizes with its manifest. No network, no changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ai_how.bundles.archive import opened
from ai_how.bundles.manifest import Blob, Manifest, read_manifest
from ai_how.bundles.store import Store
from ai_how.errors import ProviderError
from ai_how.models.meter import Meter, Progress

_CHUNK_BYTES = 1 << 20
_SHOWN = 12
# hashing is bound by the processor: more threads than cores only compete
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A blob that is not as the manifest says: ``problem`` is ``missing``, a size, or another digest."""

    digest: str
    problem: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.names)}: {self.problem}"


def verify(path: Path, *, called: Path | None = None, progress: Progress | None = None) -> Manifest:
    """Verify a bundle; ``called`` is what people know it as.

    Raises:
        ProviderError: something is damaged or missing; the evidence lists it.
        NotFoundError, SpecError: there is no whole bundle.
    """
    manifest, damages = inspect(path, progress=progress)
    if damages:
        path = called or path
        more = [f"and {len(damages) - _SHOWN} more"] if len(damages) > _SHOWN else []
        raise ProviderError(
            f"the bundle {path} is damaged: {len(damages)} of {len(manifest.blobs())} parts",
            evidence="\n".join([*map(str, damages[:_SHOWN]), *more]),
            next_step=f"ai-how bundle create {path} mends it where there is internet; else copy it again",
        )
    return manifest


def inspect(path: Path, *, progress: Progress | None = None) -> tuple[Manifest, tuple[Damage, ...]]:
    """The manifest of a bundle, and every blob that is not as it says.

    Raises:
        NotFoundError, SpecError: there is no whole bundle.
    """
    if path.is_file():
        with opened(path) as (manifest, members):
            meter = Meter("verify", manifest.size_bytes, progress)
            return manifest, _damages(manifest, dict(_of_members(members, meter)))
    manifest, store = read_manifest(path), Store(path)
    meter = Meter("verify", manifest.size_bytes, progress)
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        found = pool.map(lambda blob: _of_file(store.path(blob.digest), meter), manifest.blobs().values())
        return manifest, _damages(manifest, dict(zip(manifest.blobs(), found, strict=True)))


def _of_members(members: Iterable[tuple[str, IO[bytes]]], meter: Meter) -> Iterator[tuple[str, tuple[str, int]]]:
    for name, file in members:
        if name.startswith("blobs/"):
            yield f"sha256:{name.rpartition('/')[2]}", _read(file, meter)


def _of_file(path: Path, meter: Meter) -> tuple[str, int] | None:
    try:
        with path.open("rb") as file:
            return _read(file, meter)
    except OSError:
        return None


def _read(file: IO[bytes], meter: Meter) -> tuple[str, int]:
    taken, size = hashlib.sha256(), 0
    while piece := file.read(_CHUNK_BYTES):
        taken.update(piece)
        size += len(piece)
        meter.add(len(piece))
    return f"sha256:{taken.hexdigest()}", size


def _damages(manifest: Manifest, found: Mapping[str, tuple[str, int] | None]) -> tuple[Damage, ...]:
    return tuple(
        Damage(digest=digest, problem=problem, names=_names(manifest, digest))
        for digest, blob in manifest.blobs().items()
        if (problem := _problem(blob, found.get(digest)))
    )


def _problem(blob: Blob, found: tuple[str, int] | None) -> str:
    if found is None:
        return "missing"
    digest, size = found
    if size != blob.size_bytes:
        return f"{size} bytes instead of {blob.size_bytes}"
    return "" if digest == blob.digest else f"its content is {digest[:19]}..., not {blob.digest[:19]}..."


def _names(manifest: Manifest, digest: str) -> tuple[str, ...]:
    return tuple(entry.name for entry in manifest.entries if any(blob.digest == digest for blob in entry.blobs))[:3]
