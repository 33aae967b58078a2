"""A bundle as one tar file, and back. Blobs are compressed as they are, so the tar is not.

Only what a bundle consists of is ever taken out of a tar, under names of ours.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ai_how.bundles.manifest import NAME, Manifest, parse_manifest, read_manifest, write_manifest
from ai_how.bundles.store import INDEX, LAYOUT, Store, explained
from ai_how.errors import SpecError
from ai_how.models.meter import Meter, Progress

_MEMBER = re.compile(rf"(?:{NAME}|{LAYOUT}|{INDEX}|blobs/sha256/[0-9a-f]{{64}})")
_CHUNK_BYTES = 1 << 20
_MOST_BYTES = 64 << 20


def write_archive(folder: Path, target: Path, *, progress: Progress | None = None) -> None:
    """Write a whole bundle to a tar file, the manifest first; the file has its name only when it is whole.

    Raises:
        NotFoundError: there is no whole bundle.
        StoreError: the disk is full.
    """
    manifest, store = read_manifest(folder), Store(folder)
    blobs = sorted(manifest.blobs())
    meter = Meter("pack", manifest.size_bytes, progress)
    part = target.with_name(f".{target.name}.part")
    try:
        with explained(target), tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in (NAME, LAYOUT, INDEX):
                _add(tar, folder / name, name)
            for digest in blobs:
                _add(tar, store.path(digest), f"blobs/sha256/{store.path(digest).name}")
                meter.add(manifest.blobs()[digest].size_bytes)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = path.stat().st_size, 0o644
    with path.open("rb") as file:
        tar.addfile(info, file)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Manifest, Iterator[tuple[str, IO[bytes]]]]]:
    """The manifest of a tar, and its other members with their content, each to be read before the next.

    Raises:
        SpecError: it is no tar of a bundle, or broken.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            if first is None or first.name != NAME:
                raise SpecError(
                    f"{path} is no bundle",
                    evidence=f"{NAME} is not its first member",
                    next_step="give a tar that ai-how bundle create has made",
                )
            content = (tar.extractfile(first) or io.BytesIO()).read(_MOST_BYTES)
            yield parse_manifest(content, where=f"{path}: {NAME}"), _members(tar, path)
    except (tarfile.TarError, EOFError) as error:
        raise SpecError(
            f"{path} is no bundle, or not whole", evidence=str(error), next_step="copy or create the bundle again"
        ) from error


def _members(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    while (member := tar.next()) is not None:
        file = tar.extractfile(member) if member.isreg() and _MEMBER.fullmatch(member.name) else None
        if file is None:
            raise SpecError(f"{path} holds what belongs to no bundle", evidence=member.name)
        yield member.name, file


def extract(path: Path, folder: Path, *, progress: Progress | None = None) -> Manifest:
    """Take a bundle out of its tar into a new folder; nothing is verified here.

    Raises:
        SpecError: as ``opened``.
        StoreError: the disk is full.
    """
    store = Store(folder)
    store.begin()
    with opened(path) as (manifest, members):
        meter = Meter("unpack", manifest.size_bytes, progress)
        for name, file in members:
            # a member's name is one of ours: ``_MEMBER``
            with explained(folder), (folder / name).open("wb") as out:
                shutil.copyfileobj(file, out, _CHUNK_BYTES)
                meter.add(out.tell() if name.startswith("blobs/") else 0)
    write_manifest(folder, manifest)
    return manifest
