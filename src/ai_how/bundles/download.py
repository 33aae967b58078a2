"""Fetches one blob into a bundle: goes on where it broke off, kept only when its digest is the wanted one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ai_how.bundles.store import Store, chunks, explained
from ai_how.errors import AiHowError, InterruptionError, NotFoundError, ProviderError, TryAgainError
from ai_how.run.outside import Answer, Patience, ask

_OK, _PARTIAL, _RANGE_REFUSED = 200, 206, 416
_TRIES = 4
Count = Callable[[int], None]
Opener = Callable[[Mapping[str, str]], AbstractContextManager[Answer]]
"""Asks for the content with these headers."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something to fetch. ``what`` is what people call it, ``digest`` what it must have (empty: not known)."""

    what: str
    source: str
    digest: str = ""
    size_bytes: int | None = None
    opener: Opener = field(repr=False, compare=False)


def file_opener(url: str, patience: Patience) -> Opener:
    """The content of an address: http, https, or a file of this machine."""
    if urlsplit(url).scheme == "file":
        return lambda _headers: _Local(Path(url2pathname(urlsplit(url).path)))
    return lambda headers: ask(url, patience=patience, headers=headers)


def fetch_part(store: Store, part: Part, *, patience: Patience, count: Count) -> tuple[str, int]:
    """Fetch it where it is not there; gives its SHA-256 digest and size.

    Args:
        count: Told of bytes as they come; of negative ones where some have to come again.

    Raises:
        NotFoundError: the server does not have it.
        ProviderError: it is not what was wanted, or the disk is full.
        TryAgainError: the server or the connection failed; what came is kept.
        InterruptionError: the user broke it off.
    """
    if part.digest.startswith("sha256:"):
        size = store.sound(part.digest)
        if size is not None:
            count(size)
            return part.digest, size
    target = store.part(f"{part.source} {part.digest}")
    _fetch_rest(part, target, patience, count)
    found = _digests(target, part.digest)
    if part.digest and part.digest not in found.values():
        size = target.stat().st_size
        target.unlink()
        count(-size)
        raise _other_content(part, found, size)
    size = target.stat().st_size
    store.keep(target, found["sha256"])
    return found["sha256"], size


def _fetch_rest(part: Part, target: Path, patience: Patience, count: Count) -> None:
    count(_length(target))
    for tried in range(1, _TRIES + 1):
        before = _length(target)
        try:
            _fetch_once(part, target, patience, count)
        except TryAgainError:
            # a connection that brings something before it breaks is worth another try
            if tried == _TRIES or _length(target) == before:
                raise
        else:
            return


def _fetch_once(part: Part, target: Path, patience: Patience, count: Count) -> None:
    have = _length(target)
    if have and have == part.size_bytes:
        return
    with part.opener({"range": f"bytes={have}-"} if have else {}) as answer:
        if have and answer.status == _RANGE_REFUSED:
            return  # all of it is there; the digest tells whether it is right
        if answer.status not in (_OK, _PARTIAL):
            raise _refused(part, answer.status)
        if answer.status == _OK and have:
            count(-have)  # a server that cannot go on sends all of it
            have = 0
        stated = answer.headers.get("content-length", "")
        total = have + int(stated) if stated.isdecimal() else None
        with explained(target), target.open("ab" if have else "wb") as file:
            for piece in answer.pieces:
                file.write(piece)
                have += len(piece)
                count(len(piece))
                if patience.stop.is_set():
                    raise InterruptionError("broken off")
    if total is not None and have < total:
        raise TryAgainError(
            f"the connection broke while reading {part.source}",
            evidence=f"{have} of {total} bytes came, and are kept",
            next_step="run the same command again: it goes on from there",
        )


def _digests(path: Path, wanted: str) -> dict[str, str]:
    """The file's SHA-256, and its digest by the wanted one's algorithm."""
    taken = {name: hashlib.new(name) for name in {"sha256", wanted.partition(":")[0] or "sha256"}}
    for piece in chunks(path):
        for one in taken.values():
            one.update(piece)
    return {name: f"{name}:{one.hexdigest()}" for name, one in taken.items()}


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refused(part: Part, status: int) -> AiHowError:
    kind = NotFoundError if status in (404, 410) else ProviderError
    return kind(
        f"{part.what} was not sent",
        evidence=f"{part.source}: HTTP status {status}",
        next_step="check that this version exists there; a proxy may refuse it too",
    )


def _other_content(part: Part, found: Mapping[str, str], size: int) -> ProviderError:
    algorithm = part.digest.partition(":")[0]
    return ProviderError(
        f"{part.what} is not what it must be; it was removed",
        evidence=f"{part.source}: {size} bytes\nhas    {found[algorithm]}\nwanted {part.digest}",
        next_step="do not use it; find out what changes it on its way: a proxy's page, or another release",
    )


class _Local(AbstractContextManager[Answer]):
    """A file of this machine as an answer: sent whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Answer:
        there = self._path.is_file()
        return Answer(status=_OK if there else 404, headers={}, pieces=chunks(self._path) if there else iter(()))

    def __exit__(self, *_: object) -> None:
        return None


def stated_size(answer: Answer) -> int | None:
    """The size that a server states of what it would send."""
    stated = answer.headers.get("content-length", "")
    return int(stated) if answer.status == _OK and stated.isdecimal() else None
