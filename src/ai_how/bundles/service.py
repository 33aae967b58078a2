"""The server of a bundle as a process that outlives the command: started, found again, and ended.

It is recorded by process id and start time, so that another process of the same number is never taken for it.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ai_how.apply.files import read_json, write_json
from ai_how.bundles.load import Bundle
from ai_how.errors import ProviderError, TryAgainError
from ai_how.run.background import Background
from ai_how.run.http import request

PORT = 5080
_RECORD, _LOG, _ERRORS = "server.json", "server.log", "server.errors"
_START_S, _POLL_S, _END_S = 30.0, 0.1, 5.0


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server that runs. ``bundle`` is the identity of what it serves, ``started`` its start time in seconds."""

    bundle: str
    path: str
    listen: str
    port: int
    pid: int
    started: float

    @property
    def url(self) -> str:
        """Its address as nodes reach it."""
        return f"http://{self.listen}:{self.port}"


def serve_bundle(bundle: Bundle, folder: Path, *, listen: str, port: int = PORT) -> Served:
    """Make a bundle be served at an address; does nothing where it is.

    Args:
        folder: Private to this server: its record and its log.
        listen: One address of this machine, never all of them.

    Raises:
        ProviderError: it did not start, such as on a port that is in use.
    """
    running = served(folder)
    wanted = (bundle.manifest.identity, str(bundle.path), listen, port)
    if running and (running.bundle, running.path, running.listen, running.port) == wanted:
        return running
    stop_serving(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    words: list[str | Path] = [sys.executable, "-m", "ai_how.bundles.serve_main", "--bundle", bundle.path.absolute()]
    words += ["--listen", listen, "--port", str(port)]
    process = Background(words, env=dict(os.environ), cwd=Path("/"), stdout=folder / _LOG, stderr=folder / _ERRORS)
    try:
        started = psutil.Process(process.pid).create_time()
        found = Served(bundle=wanted[0], path=wanted[1], listen=listen, port=port, pid=process.pid, started=started)
        write_json(folder / _RECORD, asdict(found))
        _await(found, process, folder)
    except BaseException:
        process.end(grace_s=_END_S)
        (folder / _RECORD).unlink(missing_ok=True)
        raise
    return found


def served(folder: Path) -> Served | None:
    """The server of this folder, None where it does not run."""
    record = read_json(folder / _RECORD)
    try:
        found = Served(**record) if isinstance(record, dict) else None
    except TypeError:
        return None
    return found if found and _process(found) else None


def stop_serving(folder: Path) -> bool:
    """End the server of this folder; whether one ran."""
    found = served(folder)
    process = _process(found) if found else None
    if process is not None:
        process.terminate()
        _, alive = psutil.wait_procs([process], timeout=_END_S)
        for one in alive:
            one.kill()
    (folder / _RECORD).unlink(missing_ok=True)
    return process is not None


def _process(found: Served) -> psutil.Process | None:
    try:
        process = psutil.Process(found.pid)
        same = abs(process.create_time() - found.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process if same else None


def _await(found: Served, process: Background, folder: Path) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        if process.wait(_POLL_S) is not None:
            break
        try:
            answer = request("GET", f"{found.url}/bundle", timeout_s=2)
        except TryAgainError:
            continue
        said = answer.json()
        if isinstance(said, dict) and said.get("bundle") == found.bundle:
            return
    told = "".join((folder / name).read_text(encoding="utf-8", errors="replace") for name in (_LOG, _ERRORS))
    raise ProviderError(
        f"the bundle could not be served at {found.url}",
        evidence="\n".join(told.strip().splitlines()[-6:]) or "it did not answer",
        next_step=f"see what holds the port: ss -ltnp sport = :{found.port}",
    )
