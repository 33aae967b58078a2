"""Asks a component whether it works."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from ai_how.errors import TryAgainError
from ai_how.run.http import request


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
