"""How the host keys that servers show stand to those that are kept or named in the site file. Decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from ai_how.errors import AiHowError
from ai_how.servers.known_hosts import HostKey, KnownHosts, ask_host_key
from ai_how.servers.server import Server

State = Literal["trusted", "by site file", "not trusted", "CHANGED", "no answer"]
_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class KeyState:
    """One server's key. ``shown`` is what it shows now, None where it does not answer; ``trouble`` in one line."""

    server: Server
    state: State
    shown: HostKey | None = None
    trouble: str = ""

    @property
    def fingerprint(self) -> str:
        return self.shown.fingerprint if self.shown else ""

    @property
    def may_be_trusted(self) -> bool:
        """Whether the site file names no other key."""
        return not self.server.host_key or self.server.host_key == self.fingerprint


def key_states(servers: Sequence[Server], known: KnownHosts) -> list[KeyState]:
    """Ask all side by side."""
    kept = known.keys()
    if not servers:
        return []
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(servers)), thread_name_prefix="keys") as pool:
        return list(pool.map(lambda server: _asked(server, kept), servers))


def _asked(server: Server, kept: Mapping[str, Sequence[HostKey]]) -> KeyState:
    try:
        shown = ask_host_key(server.reached)
    except AiHowError as error:
        said = error.evidence.splitlines()
        return KeyState(server=server, state="no answer", trouble="; ".join([error.brief, *said[-1:]]))
    return judged(server, shown, kept.get(server.reached.known_as, ()))


def judged(server: Server, shown: HostKey, kept: Sequence[HostKey]) -> KeyState:
    """One server's key against what is known of it. Pure."""
    trusted = [key.fingerprint for key in kept]
    wanted = [server.host_key] if server.host_key else trusted
    if wanted and shown.fingerprint not in wanted:
        named = "the site file names" if server.host_key else "trusted was"
        trouble = f"it shows {shown.fingerprint}, {named} {', '.join(wanted)}"
        return KeyState(server=server, state="CHANGED", shown=shown, trouble=trouble)
    if server.host_key and trusted and server.host_key not in trusted:
        trouble = f"the site file names {server.host_key}, trusted was {', '.join(trusted)}"
        return KeyState(server=server, state="CHANGED", shown=shown, trouble=trouble)
    state: State = "trusted" if trusted else "by site file" if server.host_key else "not trusted"
    return KeyState(server=server, state=state, shown=shown)
