"""Asks a component whether it works."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from ai_how.errors import TryAgainError
from ai_how.run.http import Response, request


def problem(address: str, *, timeout_s: float = 2) -> str | None:
    """What is wrong with a component, in a few words; None where it works.

    Args:
        address: A URL that answers below 500 when the component works, or ``tcp://host:port``.
    """
    parts = urlsplit(address)
    if parts.scheme == "tcp":
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=timeout_s).close()
        except OSError as error:
            return f"{parts.netloc}: {error.strerror or error}"
        return None
    try:
        answer = request("GET", address, timeout_s=timeout_s)
    except TryAgainError as error:
        return f"{parts.netloc}: {error.evidence or error.brief}"
    return None if answer.status < 500 else f"{parts.netloc} answers {answer.status}"


def write_problem(address: str, *, timeout_s: float = 5) -> str | None:
    """What keeps SeaweedFS from taking writes; None where it took one. What is written is deleted again.

    Args:
        address: Its master's URL that names a place for a new file: ``.../dir/assign?collection=NAME``.
    """
    try:
        place = request("GET", address, timeout_s=timeout_s)
        found = place.json()
        if not isinstance(found, dict) or "fid" not in found:
            return f"takes no writes: {_refusal(place)}"
        file = f"http://{found['url']}/{found['fid']}"
        written = request("PUT", file, json_body="written by a health check", timeout_s=timeout_s)
        if written.status >= 300:
            return f"takes no writes: {_refusal(written)}"
        request("DELETE", file, timeout_s=timeout_s)
    except TryAgainError as error:
        return f"takes no writes: {error.evidence or error.brief}"
    return None


def _refusal(answer: Response) -> str:
    """Its own words; what follows the last colons there is most to the point, and short."""
    found = answer.json()
    said = str(found.get("error", "")) if isinstance(found, dict) else answer.text
    return said.partition(" for {")[0].rpartition(": ")[2].strip() or f"it answers {answer.status}"
