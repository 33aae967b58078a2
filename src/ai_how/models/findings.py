"""Collects everything that is wrong with a checkpoint, so that a user mends it in one go. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ai_how.errors import SpecError

_MOST_SHOWN = 12


@dataclass(kw_only=True)
class Findings:
    """What was found in a checkpoint. ``next_step`` is the remedy of the first problem that has one."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    next_step: str = ""

    def problem(self, text: str, *, next_step: str = "") -> None:
        self.problems.append(text)
        self.next_step = self.next_step or next_step

    @contextmanager
    def of_file(self, name: str, *, next_step: str = "") -> Iterator[None]:
        """Turn an error while reading a file into a problem of that file."""
        try:
            yield
        except SpecError as error:
            self.problem(f"{name}: {error.brief}", next_step=next_step)
        except OSError as error:
            self.problem(f"{name}: cannot be read: {error.strerror}")

    def raise_if_any(self, path: Path) -> None:
        """One error with all problems.

        Raises:
            SpecError: there is at least one problem.
        """
        if not self.problems:
            return
        shown = self.problems[:_MOST_SHOWN]
        if len(self.problems) > len(shown):
            shown.append(f"and {len(self.problems) - len(shown)} more")
        count = "a problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        raise SpecError(
            f"{path} is no sound model: {count}",
            evidence="\n".join(shown),
            next_step=self.next_step or "mend the files, then run the same command again",
        )
