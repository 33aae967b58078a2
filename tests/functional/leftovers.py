"""Ends what the tests started when pytest ends, however it ends.

Whatever a test starts inherits a mark in its environment. A watcher, a process of its own, holds the other end of a
pipe: when pytest is gone, be it killed, it ends every process with the mark. SIGTERM is treated as Ctrl-C, so that
fixtures clean up themselves. As a program it is the watcher: ``python leftovers.py TOKEN``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil
import pytest

MARK = "TEST_RUN_OF_AI_HOW"
_ROUNDS = 5
_GRACE_S = 10.0


@pytest.fixture(scope="session", autouse=True)
def nothing_stays() -> Iterator[None]:
    """Before all others, so that it ends after all others."""
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    watcher = subprocess.Popen(
        [sys.executable, __file__, token], stdin=subprocess.PIPE, start_new_session=True, env=unmarked
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(MARK, token)
        before = signal.signal(signal.SIGTERM, _as_ctrl_c)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # a shell starts what it puts into the background so, and every program that a test starts would inherit it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGTERM, before)
    assert watcher.stdin is not None
    watcher.stdin.close()
    watcher.wait(120)


def _as_ctrl_c(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("SIGTERM")


def marked(token: str) -> list[psutil.Process]:
    """All processes of a run of the tests, zombies left out."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == token:
                found.append(process)
    return found


def end(token: str) -> None:
    """End all that carry the mark, and what they start meanwhile; remove the sockets that they leave in /tmp."""
    for round_ in range(_ROUNDS):
        left = marked(token)
        if not left:
            return
        sockets = [path for process in left for path in _sockets(process)]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate() if round_ == 0 else process.kill()
        psutil.wait_procs(left, timeout=_GRACE_S)
        for path in sockets:
            path.unlink(missing_ok=True)


def _sockets(process: psutil.Process) -> list[Path]:
    with contextlib.suppress(psutil.Error):
        return [Path(one.laddr) for one in process.net_connections("unix") if str(one.laddr).startswith("/tmp/")]
    return []


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(sys.argv[1])
