"""A program that runs beside us: its output goes to a file, and it ends with everything that it started."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from ai_how.errors import MissingToolError


class Background:
    """A program in a session of its own: Ctrl-C on the terminal reaches us, and we decide what becomes of it.

    As a context it is ended where it still runs when the block is left, whatever the reason.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: Path,
        stderr: Path,
        tied: bool = False,
    ):
        """Start it. ``env`` is its whole environment; both files are written anew, mode 0600 is the caller's business.

        Args:
            tied: Its standard input is a pipe that closes when we end, however we end: a program that reads it to its
                end does not outlive us. Otherwise it reads nothing.

        Raises:
            MissingToolError: the program does not exist.
        """
        words = [str(word) for word in argv]
        with stdout.open("wb") as out, stderr.open("wb") as err:
            try:
                self._process = subprocess.Popen(
                    words,
                    env=dict(env),
                    cwd=cwd,
                    stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise MissingToolError(f"{words[0]} is not installed") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end; None where it still runs after that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def end(self, *, grace_s: float = 20) -> None:
        """Ask it to end, then make it and all that it started: also what has moved to a session of its own."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self.poll() is not None:
            return
        family = self._family()
        self._process.terminate()
        if self.wait(grace_s) is None:
            family += [one for one in self._family() if one not in family]
            self._process.kill()
            self._process.wait()
        _, left = psutil.wait_procs(family, timeout=1)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
