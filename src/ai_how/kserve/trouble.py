"""What keeps a replica from answering, as a person reads it: the cause, and what to do about it. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST = 400


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A cause in one sentence, and the remedy.

    ``lasting``: waiting does not help; without it the cluster tries again by itself and may well succeed.
    """

    cause: str
    remedy: str = ""
    lasting: bool = True

    @property
    def text(self) -> str:
        """Both on a line each."""
        lines = [shortened(self.cause), f"what to do: {self.remedy}" if self.remedy else ""]
        return "\n".join(line for line in lines if line)


def shortened(text: str, longest: int = _LONGEST) -> str:
    """One line, cut where it is too long to be read."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."
