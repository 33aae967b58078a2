"""The manifest of a model: every file with its size and SHA-256, and one digest over them all.

Owns the digest's definition and the JSON form of ``ai-how-manifest.json`` (docs/explanation/architecture.md). Reading
local files is the only effect; ``digests`` remembers what was read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ai_how.errors import SpecError, WorldChangedError
from ai_how.models.digests import DigestCache, Stamp
from ai_how.models.meter import Meter, Progress
from ai_how.models.types import Manifest, ModelFile

MANIFEST_NAME = "ai-how-manifest.json"
FORMAT_VERSION = 1
_CHUNK_BYTES = 1 << 20
# hashing is bound by the processor: more threads than cores only compete
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file of a model on this machine, as it was when its digest was taken."""

    path: Path
    entry: ModelFile
    stamp: Stamp

    def check_unchanged(self) -> None:
        """Make sure that the digest still holds.

        Raises:
            WorldChangedError: somebody has written to the file since.
        """
        if Stamp.of(self.path) != self.stamp:
            raise changed(self.path)


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A manifest together with the files that it was made from, in the same order."""

    manifest: Manifest
    files: tuple[LocalFile, ...]


def build_manifest(
    root: Path, names: Sequence[str], *, cache: DigestCache | None = None, progress: Progress | None = None
) -> LocalModel:
    """Take the digests of ``names`` below ``root``, in parallel; what the cache knows is not read.

    Raises:
        WorldChangedError: a file changed while it was read.
        SpecError: a file cannot be read.
    """
    stamps = {name: _stamp(root / name) for name in sorted(names)}
    meter = Meter("check", sum(stamp.size_bytes for stamp in stamps.values()), progress)

    def local_file(name: str) -> LocalFile:
        path, stamp = root / name, stamps[name]
        sha256 = cache.get(stamp) if cache else None
        if sha256 is None:
            sha256 = hash_file(path, meter=meter)
            if Stamp.of(path) != stamp:
                raise changed(path)
            if cache:
                cache.put(stamp, sha256)
        else:
            meter.add(stamp.size_bytes)
        return LocalFile(path=path, entry=ModelFile(path=name, size_bytes=stamp.size_bytes, sha256=sha256), stamp=stamp)

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        # the largest first, so that the last thread to finish does not start late
        order = sorted(stamps, key=lambda name: -stamps[name].size_bytes)
        files = sorted(pool.map(local_file, order), key=lambda file: file.entry.path)
    if cache:
        cache.save()
    return LocalModel(manifest=make_manifest([file.entry for file in files]), files=tuple(files))


def make_manifest(files: Sequence[ModelFile]) -> Manifest:
    """The manifest of files in any order."""
    ordered = tuple(sorted(files, key=lambda file: file.path))
    lines = "".join(f"{file.path}\0{file.size_bytes}\0{file.sha256}\n" for file in ordered)
    return Manifest(files=ordered, digest=hashlib.sha256(lines.encode()).hexdigest())


def hash_file(path: Path, *, meter: Meter | None = None) -> str:
    """The SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    try:
        with path.open("rb", buffering=0) as file:
            while length := file.readinto(buffer):
                digest.update(buffer[:length])
                if meter:
                    meter.add(length)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def manifest_to_json(manifest: Manifest) -> str:
    """The text of ``ai-how-manifest.json``."""
    content = {
        "version": FORMAT_VERSION,
        "digest": manifest.digest,
        "files": [asdict(file) for file in manifest.files],
    }
    return json.dumps(content, indent=1) + "\n"


def manifest_from_json(text: bytes | str) -> Manifest:
    """Read a manifest; its digest must be that of its files, and every path must stay inside the model's folder.

    Raises:
        SpecError: it is no manifest, or was tampered with.
    """
    try:
        content = json.loads(text)
        if content["version"] != FORMAT_VERSION:
            raise SpecError(
                f"the model's manifest has version {content['version']}, known is {FORMAT_VERSION}",
                next_step="install a newer ai-how",
            )
        manifest = make_manifest([_file(entry) for entry in content["files"]])
        found, paths = content["digest"], {file.path for file in manifest.files}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(str(error)) from error
    if found != manifest.digest:
        raise _damaged("its digest is not that of its files")
    if len(paths) != len(manifest.files):
        raise _damaged("it names a file twice")
    return manifest


def changed(path: Path) -> WorldChangedError:
    """The error for a file that somebody wrote to while it was pushed."""
    return WorldChangedError(
        f"{path} changed while it was pushed",
        evidence="its size, time or identity is no longer what it was when its digest was taken",
        next_step="wait until nothing writes to the model, then push again",
    )


def _damaged(evidence: str) -> SpecError:
    return SpecError("the model's manifest is damaged", evidence=evidence, next_step="push the model again")


def _file(entry: Any) -> ModelFile:
    file = ModelFile(path=entry["path"], size_bytes=entry["size_bytes"], sha256=entry["sha256"])
    parts = PurePosixPath(file.path).parts
    if not parts or file.path != "/".join(parts) or ".." in parts or "\0" in file.path or file.path == MANIFEST_NAME:
        raise ValueError(f"unsafe path {file.path!r}")
    if type(file.size_bytes) is not int or file.size_bytes < 0:
        raise ValueError(f"no size of {file.path}")
    if len(bytes.fromhex(file.sha256)) != hashlib.sha256().digest_size:
        raise ValueError(f"no SHA-256 of {file.path}")
    return file


def _stamp(path: Path) -> Stamp:
    try:
        return Stamp.of(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> SpecError:
    return SpecError(
        f"{path} cannot be read", evidence=error.strerror or str(error), next_step=f"ls -l {shlex.quote(str(path))}"
    )
