"""Commands on other machines by OpenSSH's own client: keys only, host keys pinned, never a question.

Says what kind of failure it was by OpenSSH's own words; what to do about it is the caller's.
"""

from __future__ import annotations

import shlex
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from ai_how.errors import TryAgainError
from ai_how.run.process import Completed, run

SSH_FAILED = 255
"""ssh's exit code for its own failures."""


@dataclass(frozen=True, kw_only=True)
class SshTarget:
    """Where and as whom. ``known_hosts`` holds the host's key: another key is refused, an unknown host too.

    ``key_file`` None: the keys of the user's agent, and the usual files of ~/.ssh. ``jump`` is a machine to go through,
    ``user@host`` or ``ssh://user@host:port``, reached as the user's own ssh reaches it.
    """

    host: str
    user: str
    key_file: Path | None
    known_hosts: Path
    port: int = 22
    jump: str = ""

    def argv(self, *, connect_timeout_s: int = 10) -> list[str]:
        """The ssh command line up to the remote command; for an interactive session it is all."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(connect_timeout_s),
            **({"IdentitiesOnly": "yes", "IdentityFile": str(self.key_file)} if self.key_file else {}),
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "4",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-F", "none", "-p", str(self.port)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        if self.jump:
            # not ssh's own -J, which would ask the host for our keys and know it by the machine's key file
            words += ["-o", proxy_option(self.jump)]
        return [*words, "-l", self.user, self.host]


def proxy_option(jump: str) -> str:
    """OpenSSH's option to go through a machine that the user's own ssh reaches."""
    return f"ProxyCommand=ssh -o BatchMode=yes -W %h:%p {shlex.quote(jump)}"


def jump_of(libvirt_uri: str) -> str:
    """The machine that a libvirt address reaches by SSH, as ``user@host``; empty where it is this one.

    With a port it is ``ssh://user@host:port``, which ssh takes as well.
    """
    parts = urlsplit(libvirt_uri)
    if not parts.scheme.endswith("+ssh") or not parts.hostname:
        return ""
    if parts.port is not None:
        return f"ssh://{parts.netloc}"
    return f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname


class SshTrouble(StrEnum):
    """Why ssh itself failed."""

    CHANGED_KEY = "another host key"
    UNKNOWN_KEY = "unknown host key"
    DENIED = "login refused"
    UNRESOLVED = "unknown name"
    AWAY = "no answer"
    LOST = "connection lost"


_WORDS = (
    ("HOST IDENTIFICATION HAS CHANGED", SshTrouble.CHANGED_KEY),
    ("host key is known for", SshTrouble.UNKNOWN_KEY),
    ("Host key verification failed", SshTrouble.CHANGED_KEY),
    ("Permission denied", SshTrouble.DENIED),
    ("Too many authentication failures", SshTrouble.DENIED),
    ("Could not resolve hostname", SshTrouble.UNRESOLVED),
    ("Connection refused", SshTrouble.AWAY),
    ("Connection timed out", SshTrouble.AWAY),
    ("timed out during banner exchange", SshTrouble.AWAY),
    ("No route to host", SshTrouble.AWAY),
    ("Network is unreachable", SshTrouble.AWAY),
)


def trouble_of(stderr: str) -> SshTrouble:
    """What kind of failure ssh's own words tell of."""
    return next((trouble for words, trouble in _WORDS if words in stderr), SshTrouble.LOST)


_LASTING = (SshTrouble.CHANGED_KEY, SshTrouble.UNKNOWN_KEY, SshTrouble.DENIED, SshTrouble.UNRESOLVED)


def run_remote(
    target: SshTarget,
    words: Sequence[str],
    *,
    timeout_s: float = 60,
    connect_timeout_s: int = 10,
    check: bool = True,
    stdin: str = "",
    input_file: Path | None = None,
    output_file: Path | None = None,
) -> Completed:
    """Run a command on a machine to its end; ssh's own failures have exit code ``SSH_FAILED``.

    Args:
        stdin: What the command reads from its standard input: here a secret may stand, on the command line never.
        input_file, output_file: As of ``run.process.run``.

    Raises:
        As ``run.process.run``.
    """
    argv = [*target.argv(connect_timeout_s=connect_timeout_s), "--", shlex.join(words)]
    return run(argv, timeout_s=timeout_s, check=check, stdin=stdin, input_file=input_file, output_file=output_file)


def run_remote_once_ready(
    target: SshTarget, words: Sequence[str], *, send: Callable[[], str], timeout_s: float
) -> Completed:
    """Run a command that writes a line and then reads one: ``send`` is asked for it when the first one has come.

    For what must not be as old as the way there is long: it takes seconds to be let into a busy machine.

    Raises:
        TryAgainError: it had not ended after that time.
    """
    argv = [*target.argv(), "--", shlex.join(words)]
    late = threading.Event()
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout_s, give_up)
        timer.start()
        try:
            is_ready = process.stdout is not None and process.stdout.readline() != ""
            said, errors = process.communicate(f"{send()}\n" if is_ready else None)
        finally:
            timer.cancel()
    if late.is_set():
        raise TryAgainError(f"{words[0]} on {target.host} had not ended after {timeout_s:g} s", evidence=errors.strip())
    return Completed(argv=tuple(argv), returncode=process.returncode, stdout=said, stderr=errors)


def run_on_host(host: str, command: str, *, timeout_s: float = 60, needs: str = "true") -> Completed:
    """Run a shell command on a host as the user's own ssh reaches it, settings and agent included; never a question.

    Args:
        host: As ssh takes it, ``user@host`` or ``ssh://user@host:port``.
        needs: A command that must work there, for the error's next step.

    Raises:
        TryAgainError: ssh itself failed.
    """
    argv = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", host, "--", command]
    done = run(argv, timeout_s=timeout_s, check=False)
    if done.returncode == SSH_FAILED:
        raise TryAgainError(
            f"{host} does not answer by SSH",
            evidence=done.stderr.strip(),
            next_step=f"check that this works without a question: ssh {host} {needs}",
        )
    return done


def check_way(jump: str) -> None:
    """Refuse a machine to go through that does not let us in: what lies behind it would only seem not to answer.

    Raises:
        TryAgainError: it refuses. That it does not answer, or breaks off, is none of this: it may be busy.
    """
    try:
        run_on_host(jump, "true")
    except TryAgainError as error:
        if trouble_of(error.evidence) in _LASTING:
            raise
