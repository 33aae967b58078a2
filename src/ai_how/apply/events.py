"""What was done to a site, one JSON object a line: appended, never changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ai_how.apply.files import names_full_disk


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened. ``time`` is ISO 8601 in UTC; ``outcome``: started, done, failed, skipped."""

    time: str
    resource: str
    verb: str
    outcome: str
    detail: str = ""
    duration_s: float | None = None


def failed_last(events: Iterable[Event]) -> list[Event]:
    """Of each resource the failure that its last attempt ended with, oldest first; what was skipped was none. Pure."""
    last: dict[str, Event] = {}
    for event in events:
        if event.outcome != "skipped":
            last.pop(event.resource, None)
            last[event.resource] = event
    return [event for event in last.values() if event.outcome == "failed"]


class EventLog:
    """The events file of a site; one ``append`` is one write, so that two writers never mix their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(
        self,
        resource: str,
        verb: str,
        outcome: str,
        *,
        detail: str = "",
        duration_s: float | None = None,
    ) -> None:
        event = Event(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            resource=resource,
            verb=verb,
            outcome=outcome,
            detail=detail,
            duration_s=None if duration_s is None else round(duration_s, 3),
        )
        line = json.dumps(asdict(event), separators=(",", ":")) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with names_full_disk(self.path):
                os.write(handle, line.encode())
        finally:
            os.close(handle)

    def read(self) -> Iterator[Event]:
        """All events, oldest first; a line that a crash cut short is left out."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield Event(**json.loads(line))
            except (ValueError, TypeError):
                continue
