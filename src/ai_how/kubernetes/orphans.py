"""A playbook that runs on although the ai-how that started it was killed: found by a note, and ended before the next.

The note names the process by pid and start time, and a mark that all it started bears in its environment.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import psutil

from ai_how.apply.files import read_json, write_json

MARK = "AI_HOW_RUN"
_GRACE_S = 20.0


def new_mark() -> str:
    """What tells one run's processes from all others."""
    return secrets.token_hex(16)


def note_run(file: Path, *, pid: int, mark: str) -> None:
    """Keep which process runs; one that has ended already needs no note."""
    with contextlib.suppress(psutil.NoSuchProcess):
        write_json(file, {"pid": pid, "started": psutil.Process(pid).create_time(), "mark": mark})


def forget_run(file: Path) -> None:
    """The process has ended, with all that it started."""
    file.unlink(missing_ok=True)


def end_orphans(file: Path, *, grace_s: float = _GRACE_S) -> int:
    """End what an earlier run left behind; how many processes that were."""
    kept = read_json(file)
    if not isinstance(kept, dict):
        return 0
    left = list(_left(kept))
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_s)
    forget_run(file)
    return len(left)


def _left(kept: dict[str, object]) -> Iterator[psutil.Process]:
    """The noted process, and whatever bears its mark: that lives on where the noted one does not."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            noted = process.pid == kept.get("pid") and process.create_time() == kept.get("started")
            if noted or process.environ().get(MARK) == kept.get("mark"):
                yield process
