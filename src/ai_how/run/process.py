"""Run a program and wait for it. The only module that imports ``subprocess``.

Arguments are lists, never a shell's text; secrets go in ``env``, never in ``argv``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ai_how.errors import MissingToolError, ProviderError, TryAgainError


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
) -> Completed:
    """Run a program to its end.

    Args:
        env: Added to this process's environment.
        stdin: What it reads from its standard input.
        check: Raise when the exit code is not 0.

    Raises:
        MissingToolError: the program does not exist.
        TryAgainError: it did not end within ``timeout_s``; it has been killed.
        ProviderError: it ended with another exit code than 0; the evidence is the end of its output.
    """
    words = tuple(str(word) for word in argv)
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout_s,
            capture_output=True,
            input=stdin.encode(),
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingToolError(
            f"{words[0]} is not installed",
            next_step=f"install it, then check with: which {words[0]}",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TryAgainError(f"{words[0]} did not finish within {timeout_s:g} s") from error
    completed = Completed(
        argv=words,
        returncode=done.returncode,
        stdout=done.stdout.decode(errors="replace"),
        stderr=done.stderr.decode(errors="replace"),
    )
    if check and completed.returncode != 0:
        tail = (completed.stderr or completed.stdout).strip().splitlines()[-12:]
        raise ProviderError(
            f"{Path(words[0]).name} failed with exit code {completed.returncode}",
            evidence="\n".join(tail),
        )
    return completed


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
