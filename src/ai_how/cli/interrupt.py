"""Ctrl-C for commands that finish what they have begun: they are told, and end in order."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ai_how.cli.output import note

if TYPE_CHECKING:
    import asyncio


def stop_on_signals(said: str) -> asyncio.Event:
    """Set by the first Ctrl-C or SIGTERM; the second one ends the program at once.

    Args:
        said: What the command does now, for the user.
    """
    import asyncio

    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        note(f"  interrupted: {said}")
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    return stop
