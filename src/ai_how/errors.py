"""The error family: what failed, the evidence, and the next command to type.

Owns the exception classes, told apart by what the caller can do about them. Never prints and never exits:
only ``cli`` turns an error into text and an exit code.
"""

from __future__ import annotations


class AiHowError(Exception):
    """A failure that a user can act on.

    Args:
        brief: What failed, one sentence without a full stop.
        evidence: What was seen (a file and line, a port and its owner, a log's last lines). May have several lines.
        next_step: What to do now, best a command that can be pasted.
    """

    exit_code = 1

    def __init__(self, brief: str, *, evidence: str = "", next_step: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.evidence = evidence
        self.next_step = next_step

    def __str__(self) -> str:
        return "\n".join(part for part in (self.brief, self.evidence, self.next_step) if part)


def clipped(line: str, most: int = 600) -> str:
    """A line of another program's for the evidence; the middle of a long one is left out, as its end tells most.

    Args:
        most: Its characters at most.
    """
    gap = " ... "
    head = (most - len(gap)) // 3
    return line if len(line) <= most else line[:head] + gap + line[head + len(gap) - most :]


class InterruptionError(AiHowError):
    """The user broke it off (Ctrl-C): what is done stays."""

    exit_code = 130


class SpecError(AiHowError):
    """What the user wrote is wrong: a site file, a deploy file, an argument, a checkpoint."""


class MissingToolError(AiHowError):
    """A program or an optional package that this needs is not installed."""


class NotFoundError(AiHowError):
    """The named model, version, alias, endpoint or component does not exist."""


class ConflictError(AiHowError):
    """It clashes with what exists: a taken port, a name in use, a model that an endpoint serves."""


class TryAgainError(AiHowError):
    """It failed for a reason that may pass: a service is not up yet, a connection broke."""


class WorldChangedError(AiHowError):
    """The world is no longer what the plan was made for."""


class LockedError(AiHowError):
    """Somebody else is changing this site right now."""


class ProviderError(AiHowError):
    """A component that we run failed: it did not start, it died, it answered nonsense."""
