"""A refusal of the API server's stand-in, in the form that the API has for it."""

from __future__ import annotations

from typing import Any


class RefusalError(Exception):
    """A Status that the server answers with."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            "details": details,
            "code": code,
        }
