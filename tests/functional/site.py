"""A site for functional tests: made in a folder of its own, driven through the command line, removed at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

AI_HOW = [sys.executable, "-m", "ai_how"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command said and how it ended."""

    returncode: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True, kw_only=True)
class SiteUnderTest:
    """One site folder with an ``ai-how.yaml``."""

    folder: Path
    name: str

    @property
    def file(self) -> Path:
        return self.folder / "ai-how.yaml"

    @property
    def root(self) -> Path:
        return self.folder / ".ai-how" / self.name

    def write(self, text: str = "") -> None:
        self.file.write_text(f"version: 1\nname: {self.name}\n{text}")

    def run(self, *words: str, code: int | None = 0, timeout_s: float = 240, stdin: str = "") -> Result:
        """Run ``ai-how`` in the site's folder; fails the test unless it ends with ``code`` (None: any)."""
        done = subprocess.run(
            [*AI_HOW, *words],
            check=False,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=stdin,
            env=_env(),
        )
        said = f"ai-how {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, said
        if code is not None:
            assert done.returncode == code, said
        return Result(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``ai-how`` and return at once."""
        return subprocess.Popen(
            [*AI_HOW, *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=_env(),
        )

    def components(self) -> dict[str, dict[str, Any]]:
        found = self.run("status", "-o", "json", code=None).json()["components"]
        return {component["name"]: component for component in found}

    def processes(self) -> list[psutil.Process]:
        """Every process that carries this site's mark."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("AI_HOW_PROCESS", "").startswith(f"{self.root}::"):
                    found.append(process)
            except psutil.Error:
                continue
        return found


def eventually(what: Callable[[], object], *, timeout_s: float = 60, every_s: float = 0.1) -> object:
    """Wait until ``what`` gives something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(every_s)


def _env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AI_HOW_", "COV_"))}
