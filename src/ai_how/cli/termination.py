"""SIGTERM, as `timeout` and systemd send it, does what Ctrl-C does; the program then ends with 143."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self

EXIT_CODE = 128 + signal.SIGTERM


class Termination:
    """Whether this program was asked to end. The first SIGTERM counts: `timeout` sends two of them."""

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            return
        self.came = True
        # those of other threads too: Ctrl-C reaches them all
        from ai_how.run.process import end_running

        end_running()
        raise KeyboardInterrupt
