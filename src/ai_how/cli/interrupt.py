"""Ctrl-C for commands that finish what they have begun: they are told, and end in order."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ai_how.cli.output import note

if TYPE_CHECKING:
    import asyncio


def stop_on_signals(said: str) -> asyncio.Event:
    """Set by the first Ctrl-C, SIGTERM or closed terminal; the second one ends the program at once.

    Under ``nohup``, a closed terminal is none of its business.

    Args:
        said: What the command does now, for the user.
    """
    import asyncio

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def end() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)
        say_if_heard(f"  interrupted: {said}")

    for number in numbers:
        loop.add_signal_handler(number, end)
    return stop


def say_if_heard(text: str) -> bool:
    """Say something that is not the command's result; False where nobody reads it any more.

    For what has to be finished whether or not its terminal or the reader of its pipe is still there.
    """
    try:
        note(text)
    except OSError:
        return False
    return True


def show_if_seen(show: Callable[[], None]) -> None:
    """Show a command's result; where the reader of the pipe or the terminal has gone, nothing more is shown.

    The exit code then still says how it ended.
    """
    try:
        show()
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
