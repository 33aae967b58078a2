"""One check of the doctor's and its verdict. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Unknown is no pass: it says why it could not be told."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was looked at and what came of it.

    Args:
        id: Stable name for programs: ``cpu.cores``, ``iommu.group.0000:65:00.0``.
        title: What, for people: ``CPU cores``.
        found: What the machine has, with its unit; for ``unknown`` why it could not be told.
        wanted: What would pass, with its unit.
        why: Why it matters, one sentence.
        fix: The command or setting that mends it; empty for a pass.
        needs_root: Whether root would tell more.
    """

    id: str
    title: str
    found: str
    wanted: str
    verdict: Verdict
    why: str
    fix: str = ""
    needs_root: bool = False

    @property
    def group(self) -> str:
        """The first part of the id: ``cpu``."""
        return self.id.partition(".")[0]


def exit_code(checks: Iterable[Check]) -> int:
    """0 when all pass, 1 with a warning or an unknown, 2 with a failure."""
    verdicts = {check.verdict for check in checks}
    if Verdict.FAIL in verdicts:
        return 2
    return 1 if verdicts & {Verdict.WARN, Verdict.UNKNOWN} else 0
