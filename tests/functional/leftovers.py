"""Ends what the tests started when pytest ends, however it ends.

Whatever a test starts inherits a mark in its environment. A watcher, a process of its own, holds the other end of a
pipe: when pytest is gone, be it killed, it ends every process with the mark, and removes the network namespaces whose
names bear pytest's pid. SIGTERM is treated as Ctrl-C, so that
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
_NAMESPACES = "aihow"
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
    children = [child for child in psutil.Process().children(recursive=True) if child.pid != watcher.pid]
    # what is ending by itself gets the time for it
    _, staying = psutil.wait_procs(children, timeout=_GRACE_S)
    left = [said for child in staying if (said := _described(child))] + namespaces_of(os.getpid())
    for child in staying:
        with contextlib.suppress(psutil.Error):
            child.kill()
    # ours to wait for, or they stay as zombies
    psutil.wait_procs(staying, timeout=_GRACE_S)
    assert watcher.stdin is not None
    watcher.stdin.close()
    watcher.wait(120)
    if left:
        pytest.fail("the tests left these behind:\n" + "\n".join(left), pytrace=False)


def namespace_name() -> str:
    """A new name for a network namespace that this run of the tests makes; those that are left are removed with it."""
    return f"{_NAMESPACES}-{os.getpid()}-{secrets.token_hex(3)}"


def namespaces_of(run: int) -> list[str]:
    """The network namespaces of a run of the tests, by its pid."""
    folder = Path("/run/netns")
    return sorted(path.name for path in folder.glob(f"{_NAMESPACES}-{run}-*")) if folder.is_dir() else []


def _described(process: psutil.Process) -> str:
    """A process that still runs; empty where it has ended."""
    try:
        running = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return f"{process.pid}: {' '.join(process.cmdline())}" if running else ""
    except psutil.Error:
        return ""


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


def remove_namespaces(run: int) -> None:
    """Remove the network namespaces that a run of the tests left."""
    for name in namespaces_of(run):
        subprocess.run(["ip", "netns", "delete", name], check=False)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(sys.argv[1])
    remove_namespaces(int(sys.argv[1].partition("-")[0]))
