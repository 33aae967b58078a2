"""Waiting until a machine can be worked on: it answers SSH with the key we gave it, and cloud-init has finished."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from ai_how.errors import ProviderError, TryAgainError
from ai_how.run.process import Completed
from ai_how.run.ssh import SSH_FAILED, SshTarget, run_remote

_PAUSE_S = 1.0
_CONNECT_TIMEOUT_S = 15
_STILL_AT_IT = 124
_PATIENCE_S = 30
# of cloud-init as one process, and of the ones before
_UNITS = "cloud-init-main cloud-init-local cloud-init-network cloud-init cloud-config cloud-final"


def question(*, run: str = "/run/cloud-init", patience_s: int = _PATIENCE_S) -> str:
    """What a machine is asked: a shell script that ends when cloud-init has finished, or after ``patience_s``.

    It looks for the files that cloud-init leaves instead of asking ``cloud-init status``: that loads all of cloud-init
    a second time while the first is at work, a tenth of the whole start where it is emulated, and longer than
    ``patience_s`` where the host is busy too. Not for longer than that, so that a machine that went off, or the
    user's Ctrl-C, does not stay unnoticed.

    What cloud-init wrote is put on the disk first: a machine whose power goes right after its first start may
    lose its host keys, and then answers SSH no more.

    It prints cloud-init's status file and ends with 0; prints nothing where there is no cloud-init, or where it is
    disabled; ends with 124 where it is still at work, and as ``cloud-init status`` where a part of it has failed.
    Source: cloud-init's documentation of status.json, result.json and of what disables it.
    """
    return (
        "command -v cloud-init >/dev/null || exit 0; left=" + str(patience_s) + "; "
        f"while [ $left -gt 0 ]; do [ -e {run}/disabled ] && exit 0; "
        f"[ -e {run}/result.json ] && sync && exec cat {run}/status.json; sleep 1; left=$((left - 1)); done; "
        f"systemctl is-failed --quiet {_UNITS} && exec cloud-init status --format=json; exit {_STILL_AT_IT}"
    )


def wait_ready(
    target: SshTarget, *, timeout_s: float, problem: Callable[[], str | None], log_tail: Callable[[], str]
) -> str:
    """Wait for SSH, then for cloud-init; says what cloud-init said.

    Args:
        problem: Asked between tries: why waiting is pointless (the machine is off), or None.
        log_tail: The end of the machine's serial log, for the error.

    Raises:
        ProviderError: it went off, did not come up in time, or cloud-init failed.
    """
    deadline = time.monotonic() + timeout_s
    last = "no answer yet"
    while time.monotonic() < deadline:
        trouble = problem()
        if trouble is not None:
            raise ProviderError(f"{target.host} {trouble}", evidence=log_tail(), next_step="ai-how up")
        try:
            left_s = max(5.0, deadline - time.monotonic())
            done = run_remote(
                target,
                ["sh", "-c", question()],
                timeout_s=left_s,
                connect_timeout_s=_CONNECT_TIMEOUT_S,
                check=False,
            )
        except TryAgainError as error:
            last = error.brief
            continue
        if done.returncode == _STILL_AT_IT:
            last = "answers; cloud-init has not finished"
            continue
        if done.returncode != SSH_FAILED:
            return _verdict(target, done)
        last = done.stderr.strip() or last
        if "HOST IDENTIFICATION HAS CHANGED" in done.stderr or "Host key verification failed" in done.stderr:
            raise ProviderError(
                f"{target.host} shows another host key than its own: something else has its address",
                evidence=last[:500],
                next_step="look who has it: ai-how vm list",
            )
        time.sleep(_PAUSE_S)
    raise ProviderError(
        f"{target.host} did not come up within {timeout_s:g} s",
        evidence=f"SSH: {last}\n{log_tail()}".strip(),
        next_step="look at its console: ai-how vm console NAME, then: ai-how up",
    )


def _verdict(target: SshTarget, done: Completed) -> str:
    """cloud-init's exit codes: 0 done, 1 failed, 2 done with complaints that can be lived with."""
    errors, complaints = complaints_in(done.stdout)
    if done.returncode == 1 or errors:
        raise ProviderError(
            f"cloud-init failed on {target.host}",
            evidence="; ".join([*errors, *complaints]) or done.stdout[-500:],
            next_step="look at it: ai-how vm ssh NAME -- cloud-init status --long",
        )
    if done.returncode not in (0, 2):
        raise ProviderError(f"{target.host} could not be asked whether it is ready", evidence=done.stderr[-500:])
    return f"ready; cloud-init says: {'; '.join(complaints)}" if complaints else "ready"


def complaints_in(text: str) -> tuple[list[str], list[str]]:
    """Errors, and what can be lived with, each once: in cloud-init's status file or what ``cloud-init status`` prints.

    Nothing where the text is neither.
    """
    start = text.find("{")
    try:
        said = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return [], []
    said = said.get("v1", said)
    parts = [part for part in (said, *said.values()) if isinstance(part, dict)]
    errors = [str(error) for part in parts for error in part.get("errors") or []]
    kinds = [messages for part in parts for messages in (part.get("recoverable_errors") or {}).values()]
    found = [str(message) for messages in kinds for message in messages]
    return list(dict.fromkeys(errors)), list(dict.fromkeys(found))
