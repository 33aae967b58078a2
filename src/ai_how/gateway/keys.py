"""The keys that clients send, read again when their file changes. Never prints or stores one anywhere else."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ai_how.errors import SpecError
from ai_how.gateway.log import log_event

Parse = Callable[[str], Mapping[str, str]]


class Keys:
    """Key name -> key, from a file.

    A changed file that cannot be read leaves the old keys in force: a slip of an editor must not lock everybody out.

    Raises:
        SpecError: at the start, where there is no sound file.
    """

    def __init__(self, path: Path, parse: Parse) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[int, int, int] | None = None
        self._keys: Mapping[str, bytes] = {}
        try:
            self._seen = self._stamp()
            self._load()
        except (OSError, ValueError) as error:
            raise SpecError(
                f"cannot read the keys in {path}", evidence=str(error), next_step="write them again: ai-how up"
            ) from error

    def owner(self, authorization: str | None) -> str | None:
        """The name of the key in an ``Authorization`` header, or None. Takes the same time for every wrong key."""
        self._refresh()
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        sent = given.strip().encode()
        found = None
        for name, key in self._keys.items():
            if hmac.compare_digest(key, sent):
                found = name
        return found

    def _refresh(self) -> None:
        try:
            stamp = self._stamp()
        except OSError:
            stamp = None
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._load()
        except (OSError, ValueError) as error:
            log_event("keys_unreadable", file=self._path.name, reason=str(error))

    def _stamp(self) -> tuple[int, int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _load(self) -> None:
        keys = self._parse(self._path.read_text(encoding="utf-8"))
        self._keys = {name: key.encode() for name, key in keys.items() if key}


def parse_api_keys(text: str) -> Mapping[str, str]:
    """JSON object, key name -> key."""
    data = json.loads(text)
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError("it must be a JSON object of texts")
    return data


def parse_admin_key(text: str) -> Mapping[str, str]:
    """One line."""
    if not text.strip():
        raise ValueError("it is empty")
    return {"admin": text.strip()}
