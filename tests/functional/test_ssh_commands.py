"""Commands over SSH that wait for what they are told, on a real server on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.errors import TryAgainError
from ai_how.run.ssh import SSH_FAILED, SshTarget, run_remote_once_ready

from .sshd import ssh_server


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshTarget]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as found:
        yield found


def test_what_is_sent_is_asked_for_once_the_command_waits(target: SshTarget) -> None:
    script = 'now=$(date +%s.%N); echo ready; read -r word; echo "$now $word"'
    done = run_remote_once_ready(target, ("sh", "-c", script), send=lambda: str(time.time()), timeout_s=60)
    assert done.returncode == 0, done.stderr
    there, sent = map(float, done.stdout.split())
    # one machine, one clock: made after the way there, not before it
    assert sent >= there


def test_a_command_that_never_asks_gets_nothing(target: SshTarget, tmp_path: Path) -> None:
    asked: list[str] = []

    def send() -> str:
        asked.append("sent")
        return "x"

    done = run_remote_once_ready(target, ("sh", "-c", "echo no >&2; exit 3"), send=send, timeout_s=30)
    assert (done.returncode, done.stderr, asked) == (3, "no\n", [])
    unknown = SshTarget(
        host=target.host, user=target.user, key_file=target.key_file, known_hosts=tmp_path / "none", port=target.port
    )
    assert run_remote_once_ready(unknown, ("true",), send=send, timeout_s=30).returncode == SSH_FAILED


def test_a_command_that_does_not_end_is_ended(target: SshTarget) -> None:
    with pytest.raises(TryAgainError, match="had not ended after 1 s"):
        run_remote_once_ready(target, ("sleep", "60"), send=str, timeout_s=1)
