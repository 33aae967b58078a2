"""Fetching a disk image by its address: resumed where it broke off, kept only when its SHA-512 is the wanted one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

from ai_how.apply.files import disk_full
from ai_how.apply.lock import locked
from ai_how.errors import NotFoundError, ProviderError, SpecError, TryAgainError
from ai_how.models.meter import Progress

_OK, _PARTIAL, _RANGE_REFUSED = 200, 206, 416
_ENOSPC = 28


def is_address(source: str) -> bool:
    """Whether a source is an address rather than a file."""
    return re.match(r"https?://", source) is not None


def checked_sha512(text: str) -> str:
    """A SHA-512 as hex in lower case.

    Raises:
        SpecError: it is none.
    """
    if re.fullmatch(r"[0-9a-fA-F]{128}", text.strip()) is None:
        raise SpecError(
            f"{text[:20]!r} is no SHA-512",
            evidence=f"it has {len(text.strip())} characters, wanted 128 hex digits",
            next_step="take it from the SHA512SUMS file beside the image",
        )
    return text.strip().lower()


def fetch(url: str, folder: Path, *, sha512: str, progress: Progress) -> Path:
    """The file at an address, whole and checked, below ``folder``; the caller takes it away or removes it.

    What was fetched before is kept by the wanted digest, so that the next try goes on from there.

    Raises:
        TryAgainError: the connection broke; what came is kept.
        NotFoundError: the server does not have it.
        ProviderError: it is not the file that is wanted; it is removed.
        LockedError: another command is fetching it.
    """
    if not urlsplit(url).hostname:
        raise SpecError(f"{url!r} is no address", next_step="write it as https://HOST/PATH")
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{sha512[:32]}.part"
    with locked(part.with_suffix(".lock"), what="another command is fetching this image"):
        _fetch_rest(url, part, progress)
        digest = sha512_of(part)
        if digest != sha512:
            part.unlink()
            raise ProviderError(
                f"{url} is not the image that is wanted",
                evidence=f"SHA-512 {digest}\nwanted  {sha512}",
                next_step="take the SHA-512 from the same folder and the same day as the image",
            )
        part.with_suffix(".lock").unlink()
        return part


def sha512_of(path: Path) -> str:
    """The SHA-512 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def _fetch_rest(url: str, part: Path, progress: Progress) -> None:
    from ai_how.run.http import stream_bytes  # heavy, and most commands look at images without fetching one

    have = part.stat().st_size if part.exists() else 0
    asked = {"range": f"bytes={have}-"} if have else {}
    with stream_bytes(url, headers=asked) as (status, headers, pieces):
        if have and status == _RANGE_REFUSED:
            return  # all of it is there; the digest tells whether it is right
        if status not in (_OK, _PARTIAL):
            kind = NotFoundError if status in (404, 410) else TryAgainError
            raise kind(f"the server did not send {url}", evidence=f"HTTP status {status}")
        if status == _OK:
            have = 0  # a server that cannot go on sends all of it
        total = have + int(headers.get("content-length") or 0) if headers.get("content-length") else 0
        try:
            with part.open("ab" if have else "wb") as file:
                for piece in pieces:
                    file.write(piece)
                    have += len(piece)
                    if total:
                        progress("fetch", have, total)
        except OSError as error:
            raise (disk_full(part) if error.errno == _ENOSPC else error) from error
    if total and have < total:
        raise TryAgainError(
            f"the connection broke while reading {url}",
            evidence=f"{have} of {total} bytes came, and are kept",
            next_step="run the same command again: it goes on from there",
        )
