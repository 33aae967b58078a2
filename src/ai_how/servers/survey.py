"""Looks at servers side by side, each over one SSH connection. What keeps one from being seen is kept, never raised."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import AiHowError, ConflictError, MissingToolError, ProviderError, SpecError, TryAgainError
from ai_how.host.checks.nodes import Clock
from ai_how.host.facts.node import NodeFacts, observe_node
from ai_how.host.remote.capture import COMMAND, program, read_capture
from ai_how.run.ssh import SSH_FAILED, SshTrouble, run_remote, trouble_of
from ai_how.servers.known_hosts import HostKey, KnownHosts, ask_host_key, changed_key, check_kept, no_answer
from ai_how.servers.server import Server

MOST_AT_ONCE = 32
_LOOK_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Look:
    """One server as it was seen, or why it could not be.

    ``learnt`` is a host key that the site file vouches for and that is not kept yet.
    """

    server: Server
    facts: NodeFacts | None = None
    clock: Clock | None = None
    trouble: AiHowError | None = None
    learnt: HostKey | None = None


def survey(servers: Sequence[Server], known: KnownHosts) -> dict[str, Look]:
    """Every server by name. Writes nothing, neither there nor here."""
    if not servers:
        return {}
    kept = known.keys()
    with (
        tempfile.TemporaryDirectory(prefix="ai-how-") as folder,
        ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, len(servers)), thread_name_prefix="survey") as pool,
    ):
        looks = pool.map(lambda server: _look(server, kept, Path(folder)), servers)
        return {look.server.name: look for look in looks}


def _look(server: Server, kept: Mapping[str, Sequence[HostKey]], folder: Path) -> Look:
    mine = folder / server.name
    mine.mkdir()
    keys = kept.get(server.reached.known_as, ())
    try:
        _check_key_file(server)
        learnt = check_kept(server, keys, None if keys else ask_host_key(server.reached))
        known_hosts = KnownHosts(mine / "known_hosts")
        known_hosts.path.touch(mode=0o600)
        for key in [learnt] if learnt else keys:
            with known_hosts.path.open("a", encoding="utf-8") as file:
                file.write(f"{server.reached.known_as} {key.kind} {key.public}\n")
        facts, clock = _ask(server, known_hosts.path, mine / "tree")
    except AiHowError as error:
        return Look(server=server, trouble=error)
    return Look(server=server, facts=facts, clock=clock, learnt=learnt)


def _check_key_file(server: Server) -> None:
    key = server.reached.key_file
    if key and not Path(key).is_file():
        raise SpecError(
            f"{server.name}: the key to log in with is not there",
            evidence=key,
            next_step="correct ssh.key_file in the site file, or make one: ssh-keygen -t ed25519",
        )


def _ask(server: Server, known_hosts: Path, tree: Path) -> tuple[NodeFacts, Clock]:
    began, began_s = time.time(), time.monotonic()
    try:
        done = run_remote(
            server.reached.target(known_hosts),
            ["sh", "-c", COMMAND],
            stdin=program("collect"),
            timeout_s=_LOOK_TIMEOUT_S,
            check=False,
        )
    except TryAgainError as error:
        raise TryAgainError(
            f"{server.name} does not answer within {_LOOK_TIMEOUT_S} s", next_step=f"ssh {server.reached.text} uptime"
        ) from error
    took_s = time.monotonic() - began_s
    if done.returncode == SSH_FAILED:
        raise explained(server, done.stderr)
    if done.returncode != 0:
        raise ProviderError(
            f"{server.name} could not be looked at",
            evidence=(done.stderr.strip() or done.stdout.strip())[-500:],
            next_step=f"ssh {server.reached.text} python3 --version",
        )
    capture = read_capture(done.stdout, tree)
    if capture is None:
        raise MissingToolError(
            f"{server.name} has no Python, which Ansible runs on", next_step="there: sudo apt install python3"
        )
    # it says the time at the end of what it does, some moment before we have it
    clock = Clock(offset_s=capture.time_s - (began + took_s), error_s=took_s)
    return observe_node(capture), clock


def explained(server: Server, stderr: str) -> AiHowError:
    """Why ssh failed, in our words, with what to do."""
    trouble = trouble_of(stderr)
    said = stderr.strip()[-800:]
    if trouble is SshTrouble.CHANGED_KEY:
        shown = next((line for line in said.splitlines() if "SHA256:" in line), "another key")
        return changed_key(server, shown.strip(), "the one that is kept")
    if trouble is SshTrouble.UNKNOWN_KEY:
        return ConflictError(f"{server.name}: its host key is not known", evidence=said, next_step="ai-how hosts trust")
    if trouble is SshTrouble.DENIED:
        key = server.reached.key_file
        copy = f"ssh-copy-id {f'-i {key} ' if key else ''}-p {server.reached.port}"
        return ConflictError(
            f"{server.name} does not let {server.reached.user} in with {f'the key {key}' if key else 'your keys'}",
            evidence=said,
            next_step=f"{copy} {server.reached.user}@{server.reached.host}, or correct ssh: user, key_file",
        )
    if trouble is SshTrouble.LOST:
        return TryAgainError(
            f"the connection to {server.name} was lost", evidence=said, next_step="run the same command again"
        )
    return no_answer(server.reached, stderr)
