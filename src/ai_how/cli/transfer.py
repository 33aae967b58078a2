"""Progress of bytes on stderr: a bar with the rate on a terminal, one line a stage elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from ai_how.cli.output import human_bytes, note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class TransferProgress:
    """Reports the stages of a push or a pull; used as the library's ``progress``."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._ended: set[str] = set()

    def __enter__(self) -> TransferProgress:
        if sys.stderr.isatty() and not self._quiet:
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        if self._quiet:
            return
        began = self._began.setdefault(stage, time.monotonic())
        if self._bar:
            if stage not in self._tasks:
                self._tasks[stage] = self._bar.add_task(stage, total=total_bytes)
            self._bar.update(self._tasks[stage], completed=done_bytes)
        elif done_bytes >= total_bytes and stage not in self._ended:
            self._ended.add(stage)
            note(f"  {stage:<9}{human_bytes(total_bytes):>10}  {time.monotonic() - began:.1f} s")


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{human_bytes(task.finished_speed or task.speed or 0)}/s")

    return Progress(
        TextColumn("  {task.description:<9}"),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        RateColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
