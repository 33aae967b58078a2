"""The supervisor (supervisord): its configuration, and the only client of its API.

Processes are added and removed one by one while it runs; it restarts those that die, with back-off, rotates their
logs, and stops them as groups. It never starts one by itself: the order is the engine's business.
"""

from __future__ import annotations

import http.client
import json
import shlex
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from ai_how.apply.files import last_lines, write_atomic, write_json
from ai_how.errors import ProviderError, TryAgainError
from ai_how.local.layout import Layout
from ai_how.local.marks import MARK, mark_of
from ai_how.local.process import ProcessSpec
from ai_how.run.process import run

Result = TypeVar("Result")

_LOG_BYTES = 10 * 2**20
_LOG_BACKUPS = 3
# how Python begins the trace of an exception and of what caused it
_TRACES = ("Traceback (", "During handling of", "The above exception")


@dataclass(frozen=True, kw_only=True)
class ProcessInfo:
    """A process as the supervisor reports it. ``state`` is one of its own state names, such as RUNNING or FATAL."""

    name: str
    state: str
    pid: int | None
    started_at: float
    message: str

    @property
    def running(self) -> bool:
        return self.state in ("RUNNING", "STARTING")


def supervisor_conf(layout: Layout, site: str) -> str:
    """The supervisor's own configuration file."""

    def quoted(path: Path) -> str:
        # a per cent sign starts an expansion in this format
        return str(path).replace("%", "%%")

    return f"""; written by ai-how: changes are overwritten
[supervisord]
logfile={quoted(layout.logs / "supervisor.log")}
logfile_maxbytes={_LOG_BYTES}
logfile_backups={_LOG_BACKUPS}
pidfile={quoted(layout.run / "supervisor.pid")}
childlogdir={quoted(layout.logs)}
identifier=ai-how-{site}
umask=077

[unix_http_server]
file={quoted(layout.supervisor_socket)}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files=programs/*.conf
"""


def program_conf(layout: Layout, spec: ProcessSpec) -> str:
    """The supervisor's entry for one process."""
    command = shlex.join(
        [sys.executable, "-m", "ai_how.local.launch", str(layout.processes / f"{spec.name}.json")]
    ).replace("%", "%%")
    # below the supervisor's own folder: an absolute path would have its per cent signs expanded twice
    log = layout.logs.relative_to(layout.root) / f"{spec.name}.log"
    return f"""; written by ai-how: changes are overwritten
[program:{spec.name}]
command={command}
autostart=false
autorestart={"true" if spec.restart else "false"}
startsecs=1
startretries=3
stopsignal=TERM
stopwaitsecs={spec.stop_wait_s:g}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes={_LOG_BYTES}
stdout_logfile_backups={_LOG_BACKUPS}
"""


class Supervisor:
    """The supervisor of one site."""

    def __init__(self, layout: Layout, site: str) -> None:
        self.layout = layout
        self.site = site

    @property
    def conf(self) -> Path:
        """Its own configuration file."""
        return self.layout.conf / "supervisord.conf"

    def alive(self) -> bool:
        """Whether it answers."""
        if not self.layout.supervisor_socket.exists():
            return False
        try:
            return bool(self._call(lambda api: api.getState())["statename"] == "RUNNING")
        except TryAgainError:
            return False

    def start(self) -> None:
        """Start it in the background; entries of processes that died with an earlier one are forgotten first.

        Raises:
            ProviderError: it did not come up.
        """
        layout = self.layout
        for folder in (layout.programs, layout.processes, layout.logs, layout.run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        layout.supervisor_socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for entry in layout.programs.glob("*.conf"):
            entry.unlink()
        write_atomic(self.conf, supervisor_conf(layout, self.site))
        run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", self.conf],
            env={MARK: mark_of(str(layout.root), "supervisor")},
            cwd=layout.root,
            timeout_s=30,
        )
        if not _wait_until(self.alive, timeout_s=15):
            raise ProviderError(
                "the supervisor did not start",
                evidence=self.log_tail("supervisor"),
                next_step="read its log: ai-how logs supervisor",
            )

    def stop(self) -> None:
        """End it and every process that it runs; returns when it has gone."""
        if self.alive():
            pid = int(self._call(lambda api: api.getPID()))
            self._call(lambda api: api.shutdown())
            # it closes its socket some time before it ends
            if not _wait_until(lambda: not psutil.pid_exists(pid), timeout_s=120):
                raise ProviderError(
                    "the supervisor did not stop within 120 s", next_step="see what hangs: ai-how status"
                )

    def processes(self) -> dict[str, ProcessInfo]:
        """All processes that it knows, by name."""
        return {
            item["name"]: ProcessInfo(
                name=item["name"],
                state=item["statename"],
                pid=item["pid"] or None,
                started_at=float(item["start"]),
                message=item["spawnerr"] or item["description"],
            )
            for item in self._call(lambda api: api.getAllProcessInfo())
        }

    def add(self, spec: ProcessSpec) -> None:
        """Make a process known and start it; returns without waiting for it to work."""
        layout = self.layout
        for path, text in spec.files.items():
            write_atomic(Path(path), text)
        write_json(
            layout.processes / f"{spec.name}.json",
            {"root": str(layout.root), "name": spec.name, **spec.to_settings()},
        )
        write_atomic(layout.programs / f"{spec.name}.conf", program_conf(layout, spec))
        self._call(lambda api: api.reloadConfig())
        self._call(lambda api: api.addProcessGroup(spec.name), ignore=("ALREADY_ADDED",))
        self.start_process(spec.name)

    def start_process(self, name: str) -> None:
        """Start a known process that is not running."""
        self._call(lambda api: api.startProcess(name, False), ignore=("ALREADY_STARTED",))

    def stop_process(self, name: str, *, timeout_s: float = 120) -> None:
        """Stop a process and wait until it has ended; one that is unknown or stopped is fine."""
        self._call(lambda api: api.stopProcess(name, False), ignore=("NOT_RUNNING", "BAD_NAME"))
        ended = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")

        def has_ended() -> bool:
            info = self.processes().get(name)
            return info is None or info.state in ended

        if not _wait_until(has_ended, timeout_s=timeout_s):
            raise ProviderError(f"{name} did not stop within {timeout_s:g} s", next_step=f"ai-how logs {name}")

    def remove(self, name: str) -> None:
        """Stop a process and forget it; its log stays."""
        self.stop_process(name)
        self._call(lambda api: api.removeProcessGroup(name), ignore=("BAD_NAME",))
        (self.layout.programs / f"{name}.conf").unlink(missing_ok=True)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The end of a process's log."""
        return "\n".join(last_lines(self.layout.logs / f"{name}.log", lines))

    def last_words(self, name: str) -> list[str]:
        """What the end of a process's log says of why it ended, without the traces of a program's own calls."""
        return last_words(last_lines(self.layout.logs / f"{name}.log", 40))

    def _call(self, verb: Callable[[Any], Result], *, ignore: tuple[str, ...] = ()) -> Any:
        from supervisor.xmlrpc import Faults, SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.layout.supervisor_socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport, allow_none=True)
        try:
            return verb(proxy.supervisor)
        except xmlrpc.client.Fault as fault:
            if any(fault.faultCode == getattr(Faults, name) for name in ignore):
                return None
            raise ProviderError("the supervisor refused a request", evidence=fault.faultString) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise TryAgainError(
                "the supervisor does not answer", evidence=str(error), next_step="start it: ai-how up"
            ) from error
        finally:
            transport.close()


def last_words(lines: Sequence[str], *, most: int = 5) -> list[str]:
    """The last meaningful lines of a log: no indented ones, no tracebacks, none twice in a row."""
    if any(line.startswith(_TRACES) for line in lines):
        # the exception itself ends its trace; what was logged before does not matter any more
        most = 1
    kept: list[str] = []
    for line in lines:
        is_meant = bool(line.strip()) and not line[0].isspace() and not line.startswith(_TRACES)
        if is_meant and kept[-1:] != [line]:
            kept.append(line)
    return kept[-most:]


def read_process(layout: Layout, name: str) -> ProcessSpec | None:
    """The process as it was last started, or None; also where another version of ai-how wrote it."""
    try:
        data = json.loads((layout.processes / f"{name}.json").read_text(encoding="utf-8"))
        return ProcessSpec.from_settings(name, {k: v for k, v in data.items() if k not in ("root", "name")})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _wait_until(condition: Callable[[], bool], *, timeout_s: float, every_s: float = 0.05) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True
