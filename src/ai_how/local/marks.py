"""Finds the processes that we started, by the mark in their environment: what a crash lost can be found again."""

from __future__ import annotations

import os

import psutil

MARK = "AI_HOW_PROCESS"
"""Environment variable of every process of a site: ``<state folder>::<process name>``."""


def mark_of(root: str, process: str) -> str:
    return f"{root}::{process}"


def marked(root: str, process: str | None = None) -> list[psutil.Process]:
    """This user's processes of the site with that state folder: of one name, or all. This one and its parents are not
    among them."""
    found = []
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for candidate in psutil.process_iter():
        if candidate.pid in own:
            continue
        try:
            mark = candidate.environ().get(MARK, "")
        except psutil.Error:
            continue
        if mark == mark_of(root, process) if process else mark.startswith(mark_of(root, "")):
            found.append(candidate)
    return found


def end_all(processes: list[psutil.Process], *, grace_s: float) -> int:
    """Ask processes to end, kill those that have not after ``grace_s``; returns how many there were."""
    for process in processes:
        try:
            process.terminate()
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(alive, timeout=5)
    return len(processes)
