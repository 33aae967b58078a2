"""Runs a playbook by ansible-runner, a process of Kubespray's own environment, and follows it to its end.

A run that is broken off takes down all that it started; what it left half done, the next run takes further. One whose
ai-how was killed goes on without it: it is ended before another one starts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai_how.apply.python_environment import PythonEnvironment
from ai_how.errors import ProviderError, TryAgainError
from ai_how.kubernetes.orphans import MARK, end_orphans, forget_run, new_mark, note_run
from ai_how.kubernetes.progress import Progress, advance, read_event
from ai_how.kubernetes.remedies import remedy_for
from ai_how.kubernetes.workspace import FORKS, Workspace
from ai_how.run.background import Background

_POLL_S = 0.2
_KEPT_RUNS = 3
Report = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One playbook, on which nodes, and where its log goes. ``hosts`` and ``variables`` are YAML as rendered.

    ``tags``: only tasks with one of them; empty: all. ``skip_tags``: none of these.
    """

    playbook: str
    checkout: Path
    environment: PythonEnvironment
    workspace: Workspace
    hosts: str
    variables: str
    nodes: tuple[str, ...]
    log: Path
    limit: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    forks: int = FORKS
    began_s: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Since it was asked for, seconds."""
        return time.monotonic() - self.began_s

    @property
    def expected_s(self) -> float | None:
        """How long it took the last time on as many nodes, seconds; None where it never ended well."""
        return None if self.tags else self.workspace.expected_s(self.playbook, len(self.limit or self.nodes))


class PlaybookError(ProviderError):
    """A task of a playbook failed. ``task`` is its name in Kubespray, empty where none had begun."""

    task: str = ""


def run_playbook(job: Job, *, report: Report, cancelled: Callable[[], bool] = lambda: False) -> Progress:
    """Run a playbook to its end; how far it was then.

    Args:
        report: Told of the progress whenever there is news.
        cancelled: Asked several times a second; True breaks the run off. So does Ctrl-C in the main thread.

    Raises:
        PlaybookError: a task failed, or a host did not answer: on which host, what it said, and what to do.
        TryAgainError: it was broken off.
    """
    end_orphans(job.workspace.running)
    began = time.monotonic()
    control = Path(tempfile.mkdtemp(prefix="ai-how-"))
    try:
        job.workspace.write(
            hosts=job.hosts, variables=job.variables, checkout=job.checkout, control=control, forks=job.forks
        )
        job.workspace.write_extra_vars(job.extra_vars)
        code, progress = _follow(job, report, cancelled)
    finally:
        forget_run(job.workspace.running)
        shutil.rmtree(control, ignore_errors=True)
    if code is None:
        raise TryAgainError(
            f"{job.playbook} was broken off",
            evidence=f"at: {where(progress)}\nlog: {job.log}",
            next_step="ai-how up goes on from there",
        )
    if code != 0:
        raise _failure(job, progress)
    if not job.tags:
        job.workspace.remember_duration(job.playbook, len(job.limit or job.nodes), time.monotonic() - began)
    return progress


def where(progress: Progress) -> str:
    """The task that a playbook is at, as people say it."""
    task = f"{progress.role}: {progress.task}" if progress.role else progress.task
    return task or progress.play or "the beginning"


def _follow(job: Job, report: Report, cancelled: Callable[[], bool]) -> tuple[int | None, Progress]:
    """The exit code, None where it was cancelled, and the progress."""
    events, errors = job.workspace.root / "events.jsonl", job.workspace.root / "errors.txt"
    progress, mark = Progress(), new_mark()
    job.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (
        _private(job.log).open("a", encoding="utf-8") as log,
        Background(
            _words(job),
            env={**_environment(job), MARK: mark},
            cwd=job.checkout,
            stdout=_private(events),
            stderr=_private(errors),
        ) as process,
    ):
        note_run(job.workspace.running, pid=process.pid, mark=mark)
        lines = _lines(events)
        while True:
            code = process.poll()
            fresh = next(lines)
            for line in fresh:
                event = read_event(line)
                progress = advance(progress, event) if event else progress
                log.write(_printed(event) if event else f"{line}\n")
            if fresh:
                log.flush()
                report(progress)
            if code is not None:
                log.write(errors.read_text(encoding="utf-8", errors="replace"))
                return code, progress
            if cancelled():
                return None, progress
            if not fresh:
                process.wait(_POLL_S)


def _lines(path: Path) -> Iterator[list[str]]:
    """The whole lines that were added to a file since the last time, without end."""
    rest = ""
    with path.open(encoding="utf-8", errors="replace") as file:
        while True:
            *whole, rest = (rest + file.read()).split("\n")
            yield whole


def _printed(event: Mapping[str, Any]) -> str:
    text = str(event.get("stdout") or "").replace("\r\n", "\n")
    return f"{event.get('created', '')} {text.strip()}\n" if text.strip() else ""


def _private(path: Path) -> Path:
    path.touch(mode=0o600, exist_ok=True)
    return path


def _words(job: Job) -> list[str | Path]:
    words: list[str | Path] = [job.environment.program("ansible-runner"), "run", job.workspace.root, "--json"]
    words += ["--project-dir", job.checkout, "--playbook", job.playbook, "--inventory", job.workspace.inventory]
    words += ["--artifact-dir", job.workspace.runs, "--rotate-artifacts", str(_KEPT_RUNS)]
    chosen = (("--tags", job.tags), ("--skip-tags", job.skip_tags))
    only = " ".join(f"{word} {','.join(tags)}" for word, tags in chosen if tags)
    words += ["--cmdline", only] if only else []
    words += ["--ident", time.strftime("%Y%m%dT%H%M%S") + f"-{os.getpid()}-{time.monotonic_ns()}"]
    return [*words, "--limit", ",".join(job.limit)] if job.limit else words


def _environment(job: Job) -> dict[str, str]:
    """This process's environment without its Ansible settings: they could turn host keys off or bring other roles."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON", "RUNNER_"))}
    return {
        **kept,
        "PATH": f"{job.environment.path / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(job.environment.path),
        **job.workspace.variables_of_process(job.environment),
        # ansible-runner would turn it off
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_COLLECTIONS_PATH": str(job.workspace.root / "ansible" / "collections"),
    }


def _failure(job: Job, progress: Progress) -> PlaybookError:
    failures = progress.failures
    if not failures:
        tail = job.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-12:]
        return PlaybookError(
            f"{job.playbook} did not run",
            evidence="\n".join([*tail, f"log: {job.log}"]),
            next_step="ai-how up tries again",
        )
    first, *others = failures
    task = f"{first.role}: {first.task}" if first.role else first.task
    brief = f"{first.host} does not answer" if first.unreachable else f"{job.playbook} failed on {first.host}"
    also = [f"failed too: {', '.join(other.host for other in others)}"] if others else []
    error = PlaybookError(
        brief,
        evidence="\n".join([f"task: {task}", first.message, *also, f"log: {job.log}"]),
        next_step=remedy_for(first) or "correct what it says, then: ai-how up",
    )
    error.task = first.task
    return error
