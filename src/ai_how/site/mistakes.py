"""What a person has to correct in a file: one mistake, and all of a file's mistakes as one error. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ai_how.errors import SpecError

Key = tuple[str | int, ...]
"""Where a value lies: ``("gateway", "port")``, ``("test_prompts", 0)``; ``()`` is the whole file."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One thing to correct. ``line`` and ``column`` count from 1; 0 where the whole file is meant."""

    file: str
    line: int = 0
    column: int = 0
    key: str = ""
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        message = f"{self.problem}; {self.remedy}" if self.remedy else self.problem
        return ": ".join(part for part in (place, self.key, message) if part)


def dotted(key: Key) -> str:
    """A key as people write it: ``gateway.port``, ``test_prompts[0]``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def in_order(mistakes: Sequence[Mistake]) -> list[Mistake]:
    """Mistakes from the file's top to its end."""
    return sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column))


def spec_error(what: str, mistakes: Sequence[Mistake], *, next_step: str) -> SpecError:
    """All mistakes of a file as one error, one line each."""
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return SpecError(f"{what} has {count}", evidence="\n".join(map(str, mistakes)), next_step=next_step)
