"""A bundle's folder: an OCI image layout, whose blobs hold everything else too, each under its SHA-256.

Owns paths and how a blob gets there: under another name while it comes, under its digest once that is right.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ai_how.apply.files import disk_full, write_atomic
from ai_how.bundles.manifest import NAME, Entry
from ai_how.errors import ProviderError, SpecError

LAYOUT, INDEX, LOCK = "oci-layout", "index.json", ".lock"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_CHUNK_BYTES = 1 << 20
_BEGUN = (LAYOUT, "blobs", "lost+found")
"""What a folder may hold that a bundle was hardly begun in, or nothing yet."""


class StoreError(ProviderError):
    """The folder cannot take more: the disk is full, or it must not be written."""


class Store:
    """The blobs of one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sound: dict[str, int] = {}

    @property
    def folder(self) -> Path:
        return self.root / "blobs" / "sha256"

    def check(self) -> None:
        """Make sure that ``begin`` can make the folder what it is; leaves nothing there.

        Raises:
            SpecError: it holds something else.
            StoreError: it cannot be written.
        """
        self._refuse_foreign()
        place = next(path for path in (self.root.absolute(), *self.root.absolute().parents) if path.exists())
        with explained(place), tempfile.TemporaryDirectory(dir=place, prefix=".ai-how-"):
            pass

    def _refuse_foreign(self) -> None:
        """What this owns it may remove: images of somebody else's tool, in the same layout, are not ours either."""
        if not self.root.is_dir() or any((self.root / name).exists() for name in (NAME, LOCK)):
            return
        there = sorted(path.name for path in self.root.iterdir() if path.name not in _BEGUN)
        there += sorted(f"{path.parent.name}/{path.name}" for path in self.folder.glob("*"))
        if there:
            raise SpecError(
                f"{self.root} holds something else than a bundle",
                evidence=", ".join(there[:8]),
                next_step="name a new or an empty folder",
            )

    def begin(self) -> None:
        """Make the folder what it is.

        Raises:
            SpecError, StoreError: as ``check``.
        """
        self._refuse_foreign()
        with explained(self.root):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.root / LAYOUT, json.dumps({"imageLayoutVersion": "1.0.0"}) + "\n", mode=0o644)

    def path(self, digest: str) -> Path:
        """Where a blob lies, or would."""
        return self.folder / digest.removeprefix("sha256:")

    def size(self, digest: str) -> int | None:
        """A blob's size, None where it is not there; its content is not looked at."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def sound(self, digest: str) -> int | None:
        """The size of a blob whose content is right, read through once; None where it is missing or damaged."""
        if digest not in self._sound:
            size = self.size(digest) if digest else None
            if size is None or digest_of(self.path(digest)) != digest:
                return None
            self._sound[digest] = size
        return self._sound[digest]

    def part(self, key: str) -> Path:
        """Where something lies that is still coming."""
        return self.folder / f".{hashlib.sha256(key.encode()).hexdigest()[:32]}.part"

    def put(self, content: bytes) -> str:
        """Keep bytes; gives their digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if self.sound(digest) is None:
            with explained(self.folder):
                part = self.part(digest + str(os.getpid()))
                part.write_bytes(content)
                self.keep(part, digest)
        return digest

    def keep(self, part: Path, digest: str) -> None:
        """Give what has come its name; its content must survive a power cut from here on."""
        with explained(self.folder):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(0o644)
            part.replace(self.path(digest))
        self._sound[digest] = self.path(digest).stat().st_size

    def link(self, file: Path, digest: str) -> None:
        """Take over a file of another place, whose digest the caller has checked: linked where that can be."""
        if self.sound(digest) is not None:
            return
        part = self.part(digest)
        part.unlink(missing_ok=True)
        with explained(self.folder):
            try:
                os.link(file, part)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
                import shutil

                shutil.copyfile(file, part)
            part.replace(self.path(digest))

    def write_index(self, images: Iterable[Entry]) -> None:
        """Name the images as tools for OCI layouts look for them."""
        listed = [
            {
                "mediaType": entry.blobs[0].media_type,
                "digest": entry.digest,
                "size": entry.blobs[0].size_bytes,
                "annotations": {"org.opencontainers.image.ref.name": entry.name},
            }
            for entry in images
        ]
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": listed}
        write_atomic(self.root / INDEX, json.dumps(index, indent=1) + "\n", mode=0o644)

    def others(self, wanted: Iterable[str]) -> list[Path]:
        """Blobs and half-fetched files that nothing names."""
        names = {digest.removeprefix("sha256:") for digest in wanted}
        return sorted(path for path in self.folder.iterdir() if path.name not in names)


def digest_of(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def chunks(path: Path) -> Iterator[bytes]:
    """A file's content in pieces."""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


@contextmanager
def explained(where: Path) -> Iterator[None]:
    """Turn what the file system refuses into our errors.

    Raises:
        StoreError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            full = disk_full(where)
            raise StoreError(full.brief, evidence=full.evidence, next_step=full.next_step) from error
        raise StoreError(
            f"cannot write {where}", evidence=error.strerror or str(error), next_step=f"see who owns it: ls -ld {where}"
        ) from error
