"""Progress of a plan's actions: one line as each ends, and on a terminal lines that say what is under way."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType

import click

from ai_how.apply.engine import Outcome
from ai_how.plan.model import Action

_SAY_AGAIN_S = 60
"""Where nobody watches a terminal, how often a long action says how far it is."""


class ActionProgress:
    """Reports actions to stderr; used as the engine's ``report``."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() and not quiet
        self._under_way: dict[str, float] = {}
        self._told: dict[str, Sequence[str]] = {}
        self._said_at: dict[str, float] = {}
        self._drawn = 0
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> ActionProgress:
        if self._terminal:
            self._ticker.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ended.set()
        if self._terminal:
            self._ticker.join()
            self._clear()

    def __call__(self, action: Action, outcome: Outcome | None) -> None:
        with self._guard:
            if outcome is None:
                self._under_way[action.resource] = time.monotonic()
                return
            self._under_way.pop(action.resource, None)
            self._told.pop(action.resource, None)
            if self._quiet:
                return
            if self._terminal:
                self._clear()
            mark = {"done": "done", "failed": "FAILED", "skipped": "skipped"}[outcome.result]
            colour = {"done": "green", "failed": "red"}.get(outcome.result)
            took = f"{outcome.duration_s:.1f} s"
            click.echo(
                f"  {click.style(mark.ljust(8), fg=colour)}{action.resource:<24}{took:>8}  {outcome.detail}", err=True
            )

    def tell(self, resource: str, lines: Sequence[str]) -> None:
        """How far a long action is: on a terminal all lines, below what is under way.

        Else the first line where it is new, and the second one once a minute.
        """
        with self._guard:
            before = self._told.get(resource)
            self._told[resource] = lines
            if self._terminal or self._quiet:
                return
            now = time.monotonic()
            if before is None or before[0] != lines[0]:
                line = lines[0]
            elif len(lines) > 1 and now - self._said_at[resource] >= _SAY_AGAIN_S:
                line = lines[1]
            else:
                return
            self._said_at[resource] = now
            click.echo(f"  ...     {resource}: {line}", err=True)

    def stopping(self) -> None:
        """Say that Ctrl-C was heard: what is under way is ended in order, which can take as long as it does."""
        with self._guard:
            if self._quiet:
                return
            if self._terminal:
                self._clear()
            doing = ", ".join(self._under_way) or "what was begun"
            click.echo(f"  interrupted: nothing new is begun; ending {doing}", err=True)

    def _tick(self) -> None:
        while not self._ended.wait(0.2):
            with self._guard:
                if self._under_way:
                    self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        doing = ", ".join(f"{name} ({now - since:.0f} s)" for name, since in self._under_way.items())
        lines = [f"  ... {doing}"]
        lines += [f"      {line}" for name in self._under_way for line in self._told.get(name, ())]
        size = shutil.get_terminal_size()
        self._clear()
        shown = [line[: size.columns - 1] for line in lines[: max(1, size.lines - 1)]]
        click.echo("\n".join(shown), nl=False, err=True)
        self._drawn = len(shown)

    def _clear(self) -> None:
        up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
        click.echo(f"\r{up}\x1b[J", nl=False, err=True)
        self._drawn = 0
