"""Run a program and wait for it. The only module that imports ``subprocess``.

Arguments are lists, never a shell's text; secrets go in ``env``, never in ``argv``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ai_how.errors import MissingToolError, ProviderError, TryAgainError, clipped

if TYPE_CHECKING:
    import psutil

_GRACE_S = 20
_running: set[subprocess.Popen[bytes]] = set()
_asked: dict[subprocess.Popen[bytes], list[psutil.Process]] = {}
"""Those that were asked to end, and what they had started by then."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A program that has ended: its exit code and what it printed (UTF-8, undecodable bytes replaced)."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 60,
    check: bool = True,
    stdin: str = "",
    input_file: Path | None = None,
    output_file: Path | None = None,
) -> Completed:
    """Run a program to its end.

    Args:
        env: Added to this process's environment.
        stdin: What it reads from its standard input.
        input_file: What it reads instead, as it is.
        output_file: Where what it prints goes as it is, written anew; ``Completed.stdout`` is empty then.
        check: Raise when the exit code is not 0.

    Raises:
        MissingToolError: the program does not exist.
        TryAgainError: it did not end within ``timeout_s``; it has been ended, with all that it started.
        ProviderError: it ended with another exit code than 0; the evidence is the end of its output.
    """
    words = tuple(str(word) for word in argv)
    process = _started(words, env, cwd, input_file, output_file)
    given = None if input_file else stdin.encode()
    with process:
        _running.add(process)
        try:
            stdout, stderr = process.communicate(given, timeout=timeout_s)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise TryAgainError(f"{words[0]} did not finish within {timeout_s:g} s") from error
            raise
        finally:
            _running.discard(process)
            _asked.pop(process, None)
    completed = Completed(
        argv=words,
        returncode=process.returncode,
        stdout=(stdout or b"").decode(errors="replace"),
        stderr=stderr.decode(errors="replace"),
    )
    if check and completed.returncode != 0:
        tail = (completed.stderr or completed.stdout).strip().splitlines()[-12:]
        raise ProviderError(
            f"{Path(words[0]).name} failed with exit code {completed.returncode}",
            evidence="\n".join(map(clipped, tail)),
        )
    return completed


def _started(
    words: tuple[str, ...],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    input_file: Path | None,
    output_file: Path | None,
) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as files:
        source = files.enter_context(input_file.open("rb")) if input_file else subprocess.PIPE
        target = files.enter_context(output_file.open("wb")) if output_file else subprocess.PIPE
        try:
            return subprocess.Popen(
                words,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                stdin=source,
                stdout=target,
                stderr=subprocess.PIPE,
            )
        except FileNotFoundError as error:
            raise MissingToolError(
                f"{words[0]} is not installed",
                next_step=f"install it, then check with: which {words[0]}",
            ) from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then make it and all that it started."""
    import psutil  # late: what looks at a host needs the standard library alone, as long as its programs end in time

    family = _asked[process] if process in _asked else _ask(process)
    try:
        process.wait(_GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _ask(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """What it has started by now: once it has ended, nothing leads there."""
    import psutil

    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    _asked[process] = family
    process.terminate()
    return family


def end_running() -> None:
    """End all programs that are being waited for, by any thread, as ``run`` ends one that takes too long."""
    for process in tuple(_running):
        _ask(process)
        # whoever waits for it also waits for its family, which may still hold its output
        threading.Thread(target=_end, args=(process,), daemon=True).start()


def replace_process(argv: Sequence[str | Path]) -> NoReturn:
    """Become another program: terminal, signals and exit code are its own from here on.

    Raises:
        MissingToolError: the program does not exist.
    """
    words = [str(word) for word in argv]
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(words[0], words)  # noqa: S606 - no shell is wanted
    except FileNotFoundError as error:
        raise MissingToolError(f"{words[0]} is not installed", next_step=f"install it: {words[0]}") from error


def which(program: str) -> Path | None:
    """Where a program lies on PATH, or None."""
    found = shutil.which(program)
    return Path(found) if found else None
