"""The watchdog: ``python -m ai_how.local.watchdog CONFIG``.

The supervisor sees only whether a process lives. This sees whether it answers: a component that has failed three
questions in a row is restarted, one that the supervisor gave up on is started again, with a growing pause.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ai_how.apply.events import EventLog
from ai_how.errors import AiHowError
from ai_how.local import health
from ai_how.local.layout import Layout
from ai_how.local.supervisor import ProcessInfo, Supervisor

EVERY_S = 5.0
FAILURES = 3
# a component that has not answered yet since its start may take this long
GRACE_S = 180.0
LONGEST_PAUSE_S = 300.0


@dataclass
class Watched:
    """What the watchdog remembers of one component. Times are of the monotonic clock.

    ``answered_pid`` is the process that has answered at least once: only then is its silence a fault.
    """

    answered_pid: int | None = None
    failures: int = 0
    restarts: int = 0
    not_before: float = 0.0


def verdict(
    watched: Watched, info: ProcessInfo | None, trouble: str | None, *, now: float, uptime_s: float
) -> str | None:
    """Why the component should be restarted now, or None. Updates what is remembered.

    Args:
        trouble: What is wrong, as ``health.problem`` says.
        uptime_s: How long its process has run.
    """
    if info is None or info.state in ("STOPPED", "STOPPING"):
        # stopped on purpose
        watched.failures = 0
        return None
    if info.state == "FATAL":
        return "the supervisor gave up on it" if now >= watched.not_before else None
    if trouble is None:
        watched.failures = 0
        watched.answered_pid = info.pid
        if uptime_s > LONGEST_PAUSE_S:
            watched.restarts = 0
        return None
    if watched.answered_pid != info.pid and uptime_s < GRACE_S:
        return None
    watched.failures += 1
    if watched.failures >= FAILURES and now >= watched.not_before:
        return f"it does not answer: {trouble}"
    return None


def note_restart(watched: Watched, *, now: float) -> None:
    """Remember a restart: the pause before the next one doubles."""
    watched.failures = 0
    watched.restarts += 1
    watched.not_before = now + min(LONGEST_PAUSE_S, 10.0 * 2**watched.restarts)


class Watchdog:
    """Looks at every component each few seconds."""

    def __init__(self, config: dict[str, object]) -> None:
        root = Path(str(config["root"]))
        self.layout = Layout(root=root)
        self.supervisor = Supervisor(self.layout, str(config["site"]))
        self.events = EventLog(self.layout.events)
        found = config["health"]
        self.health: dict[str, str] = found if isinstance(found, dict) else {}
        self.watched = {name: Watched() for name in self.health}
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(EVERY_S):
            try:
                self.look()
            except AiHowError as error:
                print(f"could not look: {error.brief}: {error.evidence}", flush=True)  # noqa: T201

    def look(self) -> None:
        """One round over all components."""
        processes = self.supervisor.processes()
        for name, address in self.health.items():
            info = processes.get(name)
            trouble = health.problem(address) if info and info.running else None
            now = time.monotonic()
            uptime_s = time.time() - info.started_at if info else 0.0
            reason = verdict(self.watched[name], info, trouble, now=now, uptime_s=uptime_s)
            if reason:
                print(f"restarting {name}: {reason}", flush=True)  # noqa: T201
                note_restart(self.watched[name], now=now)
                self.supervisor.stop_process(name)
                self.supervisor.start_process(name)
                self.events.append(f"process/{name}", "repair", "done", detail=f"watchdog: {reason}")


def main() -> None:
    watchdog = Watchdog(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

    def end(_signal: int, _frame: FrameType | None) -> None:
        watchdog.stop.set()

    signal.signal(signal.SIGTERM, end)
    watchdog.run()


if __name__ == "__main__":
    main()
