"""A guest's clock after it was put back to a snapshot, since which it stood still. Sets nothing else in it."""

from __future__ import annotations

import time
from typing import Any

from ai_how.errors import TryAgainError
from ai_how.machines.connection import explained, optional, unless_unsupported
from ai_how.machines.library import load_libvirt
from ai_how.machines.standing import Standing
from ai_how.run.ssh import SSH_FAILED, SshTarget, run_remote_once_ready

_TIMEOUT_S = 180
_AGENT_TIMEOUT_S = 15
_SSH_TIMEOUT_S = 30
_PAUSE_S = 1.0
_MOST_SETTINGS = 3
_GOOD_ENOUGH_S = 0.5
_SET = 'echo ready; read -r now && date -u -s "@$now"'


def set_clock(machine: Standing, target: SshTarget, *, timeout_s: float = _TIMEOUT_S) -> str:
    """Set a running guest's clock to this machine's, by its agent, else over SSH; why it could not be, or nothing.

    Right after going back the agent may still answer what it was asked before, and the network need not know the
    machine yet: both are asked in turn until one of them does it.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        if _by_agent(machine):
            return ""
        trouble, again = _over_ssh(target)
        if not trouble or not again or time.monotonic() > deadline:
            return trouble
        time.sleep(_PAUSE_S)


def _by_agent(machine: Standing) -> bool:
    libvirt = load_libvirt()
    with explained(f"look for machine {machine.node}"):
        domain = optional(machine.connect.lookupByName, machine.name)
    if domain is None:
        return False
    try:
        unless_unsupported(domain.agentSetResponseTimeout, _AGENT_TIMEOUT_S, 0)
        ahead_s = 0.0
        for _ in range(_MOST_SETTINGS):
            seconds, fraction = divmod(time.time() + ahead_s, 1)
            domain.setTime({"seconds": int(seconds), "nseconds": int(fraction * 1e9)}, 0)
            behind_s = _behind(domain)
            if abs(behind_s) < _GOOD_ENOUGH_S:
                break
            # an agent that has only just woken sets what was true when it was asked
            ahead_s += behind_s
    except libvirt.libvirtError:
        # no agent, or one that does not answer yet
        return False
    return True


def _behind(domain: Any) -> float:
    """How far the guest's clock is behind this machine's, seconds: 0 within the time that the question took."""
    asked = time.time()
    said = domain.getTime(0)
    answered = time.time()
    guest = said["seconds"] + said["nseconds"] / 1e9
    return float(min(max(guest, asked), answered) - guest)


def _over_ssh(target: SshTarget) -> tuple[str, bool]:
    """What went wrong, or nothing; and whether it may go better soon."""
    try:
        done = run_remote_once_ready(
            target, ("sudo", "-n", "sh", "-c", _SET), send=lambda: f"{time.time():.3f}", timeout_s=_SSH_TIMEOUT_S
        )
    except TryAgainError as error:
        return error.brief, True
    if done.returncode == 0:
        return "", False
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return said[-1], done.returncode == SSH_FAILED
