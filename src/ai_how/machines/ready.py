"""Waiting until a machine can be worked on: it answers SSH with the key we gave it, and cloud-init has finished."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from ai_how.errors import ProviderError, TryAgainError
from ai_how.run.process import Completed
from ai_how.run.ssh import SshTarget, run_remote

_PAUSE_S = 1.0
_SSH_FAILED = 255
_CONNECT_TIMEOUT_S = 15
_STILL_AT_IT = 124
# waits by itself, but not for so long that a machine that went off, or the user's Ctrl-C, stays unnoticed
_ASK = "command -v cloud-init >/dev/null || exit 0; exec timeout 30 cloud-init status --wait --format=json"
"""An image without cloud-init is ready when SSH answers."""


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
                ["sh", "-c", _ASK],
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
        if done.returncode != _SSH_FAILED:
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
    if done.returncode == 1:
        raise ProviderError(
            f"cloud-init failed on {target.host}",
            evidence=_complaints(done.stdout) or done.stdout[-500:],
            next_step="look at it: ai-how vm ssh NAME -- cloud-init status --long",
        )
    if done.returncode not in (0, 2):
        raise ProviderError(f"{target.host} could not be asked whether it is ready", evidence=done.stderr[-500:])
    complaints = _complaints(done.stdout)
    return f"ready; cloud-init says: {complaints}" if complaints else "ready"


def _complaints(text: str) -> str:
    start = text.find("{")
    try:
        said = json.loads(text[start:]) if start >= 0 else {}
    except ValueError:
        return ""
    found = [str(error) for error in said.get("errors", [])]
    for messages in said.get("recoverable_errors", {}).values():
        found += [str(message) for message in messages]
    return "; ".join(dict.fromkeys(found))
