"""Waits for what comes by itself, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(what: Callable[[], object], *, timeout_s: float = 120) -> None:
    """Return once ``what`` is true; fail after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"not true after {timeout_s:g} s"
        time.sleep(0.05)
