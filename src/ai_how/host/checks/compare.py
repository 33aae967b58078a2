"""Verdicts that several subjects share: a figure or a version against its least. Pure."""

from __future__ import annotations

from ai_how.host.check import Verdict


def at_least(found: float | None, wanted: float) -> Verdict:
    """Pass, fail, or unknown where there is nothing to compare."""
    if found is None:
        return Verdict.UNKNOWN
    return Verdict.PASS if found >= wanted else Verdict.FAIL


def version_at_least(found: tuple[int, ...] | None, wanted: tuple[int, ...]) -> Verdict:
    """As ``at_least``, part by part: 6.9 is less than 6.12."""
    if found is None:
        return Verdict.UNKNOWN
    return Verdict.PASS if found >= wanted else Verdict.FAIL


def version_text(version: tuple[int, ...]) -> str:
    """``(22, 4)`` is Ubuntu's ``22.04``, all others are plain."""
    return ".".join(str(part) for part in version)


def plural(count: int, noun: str) -> str:
    """``1 core``, ``2 cores``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def speed_text(mbps: int) -> str:
    """``10 Gbit/s``, ``100 Mbit/s``."""
    return f"{mbps / 1000:g} Gbit/s" if mbps >= 1000 else f"{mbps} Mbit/s"
