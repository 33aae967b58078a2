"""Becomes a supervised process: ``python -m ai_how.local.launch SPEC.json``.

Runs between the supervisor and every program: ends what an earlier life of the same process left behind, ties the
program to the supervisor's life, gives it its secrets through its environment, and replaces itself by it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from ai_how.local.marks import MARK, end_all, mark_of, marked

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def launch(spec_file: Path) -> None:
    """Replace this process by the one that the file describes; returns only by raising."""
    spec = json.loads(spec_file.read_text(encoding="utf-8"))
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # the supervisor died before the tie was made
        raise SystemExit(1)
    left = end_all(marked(spec["root"], spec["name"]), grace_s=5)
    if left:
        print(f"ended {left} process(es) that an earlier run left behind", flush=True)  # noqa: T201
    env = {**os.environ, **spec["env"], MARK: mark_of(spec["root"], spec["name"])}
    for file in spec["env_files"]:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            env[name] = value
    os.execve(spec["argv"][0], spec["argv"], env)  # noqa: S606 - becoming the program is the purpose


if __name__ == "__main__":
    launch(Path(sys.argv[1]))
