"""``bundle.json``: what a bundle holds, each with digest, size and source. Its presence says that the bundle is whole.

Pure but for reading and writing that one file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_how.apply.files import write_atomic
from ai_how.errors import NotFoundError, SpecError

NAME = "bundle.json"
FORMAT: Literal[1] = 1
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Kind = Literal["file", "wheel", "chart", "image", "manifest", "source"]
KINDS: tuple[Kind, ...] = ("source", "wheel", "file", "image", "chart", "manifest")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Blob(_Strict):
    """Bytes in the bundle. ``media_type`` is an image's own word for them."""

    digest: Digest
    size_bytes: Annotated[int, Field(ge=0)]
    media_type: str = ""


class Entry(_Strict):
    """One thing that was wanted.

    ``name`` is what people call it, ``source`` where it came from: an address, an image's reference, a repository. The
    first blob is the thing itself; of an image the others are what it leads to.
    """

    kind: Kind
    name: str
    source: str
    version: str = ""
    blobs: Annotated[tuple[Blob, ...], Field(min_length=1)]

    @property
    def digest(self) -> str:
        return self.blobs[0].digest

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.blobs)


class Manifest(_Strict):
    """A whole bundle. ``versions`` are the release set's, with the pins taken in; ``python`` is what wheels are for."""

    format: Literal[1] = FORMAT
    release: str
    versions: dict[str, str]
    platform: str
    python: str = ""
    created_at: str
    made_by: str
    entries: tuple[Entry, ...]

    @property
    def identity(self) -> str:
        """Twelve hex digits over what it holds: the same content has the same, whenever it was made."""
        # of Kubespray's source the commit id counts: its pack differs by the git that made it
        held = sorted(f"{one.source} {'' if one.kind == 'source' else one.digest}" for one in self.entries)
        return hashlib.sha256("\n".join([self.platform, *held]).encode()).hexdigest()[:12]

    @property
    def size_bytes(self) -> int:
        return sum(blob.size_bytes for blob in self.blobs().values())

    def blobs(self) -> dict[str, Blob]:
        """Every blob once, by digest."""
        return {blob.digest: blob for entry in self.entries for blob in entry.blobs}

    def of_kind(self, kind: Kind) -> tuple[Entry, ...]:
        """The entries of a kind."""
        return tuple(entry for entry in self.entries if entry.kind == kind)


def manifest_text(manifest: Manifest) -> str:
    """The file's text."""
    return json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make the bundle whole."""
    write_atomic(folder / NAME, manifest_text(manifest), mode=0o644)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle's folder.

    Raises:
        NotFoundError: there is no whole bundle.
        SpecError: it was damaged, or made by a newer ai-how.
    """
    if (folder / NAME).exists() and not (folder / NAME).is_file():
        raise SpecError(f"{folder / NAME} is no regular file", next_step="give the path of a bundle")
    try:
        text = (folder / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.exists():
            raise NotFoundError(
                f"there is no folder or tar {folder}",
                next_step=f"give the path of a bundle; ai-how bundle create {folder} makes one where there is internet",
            ) from error
        begun = (folder / "oci-layout").is_file()
        raise NotFoundError(
            f"{folder} is no bundle" if not begun else f"the bundle in {folder} is not whole",
            evidence=f"{folder / NAME} is missing",
            next_step=f"ai-how bundle create {folder}" + (" goes on from there" if begun else ""),
        ) from error
    return parse_manifest(text, where=str(folder / NAME))


def parse_manifest(text: bytes, *, where: str) -> Manifest:
    """Read a manifest.

    Raises:
        SpecError: as ``read_manifest``.
    """
    try:
        data = json.loads(text)
        known = data.get("format", FORMAT) if isinstance(data, dict) else FORMAT
        if known != FORMAT:
            raise SpecError(
                f"{where} has format {known}, known is {FORMAT}", next_step="use the ai-how that made the bundle"
            )
        return Manifest.model_validate(data)
    except (ValueError, RecursionError) as error:
        told = _first(error) if isinstance(error, ValidationError) else str(error)
        raise SpecError(f"{where} is damaged", evidence=told, next_step="copy or create the bundle again") from error


def summary(entries: Iterable[Entry]) -> list[tuple[Kind, int, int]]:
    """By kind: how many, and how many bytes; blobs that several share count once a kind."""
    found: list[tuple[Kind, int, int]] = []
    entries = tuple(entries)
    for kind in KINDS:
        some = [entry for entry in entries if entry.kind == kind]
        blobs = {blob.digest: blob.size_bytes for entry in some for blob in entry.blobs}
        if some:
            found.append((kind, len(some), sum(blobs.values())))
    return found


def _first(error: ValidationError) -> str:
    lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return "\n".join(lines[:5])
