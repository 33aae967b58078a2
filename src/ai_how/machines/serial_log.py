"""A machine's serial log for people: without the codes that firmware and boot loader send to a terminal. Pure."""

from __future__ import annotations

import re

_CODES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|[@-Z\\-_=>])|[\x00-\x08\x0b\x0c\x0e-\x1f]")


def readable(data: bytes, *, lines: int) -> str:
    """The last lines that say something."""
    said = [line.rstrip() for line in without_codes(data).splitlines() if line.strip()]
    return "\n".join(said[-lines:])


def without_codes(data: bytes) -> str:
    """The text of a part of the log."""
    return _CODES.sub("", data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n"))
