"""The SSH keys of a site: one to log in with, and one for each machine to be known by. Files of mode 0600."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.files import read_own_text, write_atomic
from ai_how.run.process import run


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """An ed25519 key in OpenSSH's form. ``private`` is a path, so that the key itself stays out of memory."""

    private: Path

    @property
    def public_file(self) -> Path:
        return self.private.with_name(f"{self.private.name}.pub")

    @property
    def public(self) -> str:
        """The public line, without its comment."""
        again = f"ssh-keygen -y -f {self.private} >{self.public_file}; then: ai-how up"
        return " ".join(read_own_text(self.public_file, next_step=again).split()[:2])

    @property
    def whole(self) -> bool:
        return self.private.exists() and self.public_file.exists()


class Keys:
    """The keys below ``<site folder>/secrets/ssh``."""

    def __init__(self, secrets: Path) -> None:
        self.folder = secrets / "ssh"
        self.login = KeyPair(private=self.folder / "login")
        self.known_hosts = self.folder / "known_hosts"

    def host(self, node: str) -> KeyPair:
        """The key that a machine shows."""
        return KeyPair(private=self.folder / "hosts" / node)

    def problem(self, nodes: list[str]) -> str | None:
        """What is wrong with the keys, in a few words; None where all are there and private."""
        for pair in (self.login, *map(self.host, nodes)):
            if not pair.whole:
                return f"the key {pair.private.name} is missing"
            if stat.S_IMODE(pair.private.stat().st_mode) & 0o077:
                return f"the key {pair.private.name} can be read by others"
        return None if self.known_hosts.exists() or not nodes else "known_hosts is missing"

    def ensure(self, addresses: dict[str, str]) -> None:
        """Make what is missing; ``addresses`` are those of the machines, by node name."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "hosts").mkdir(exist_ok=True, mode=0o700)
        for pair in (self.login, *map(self.host, addresses)):
            if not pair.whole:
                make_key(pair)
            pair.private.chmod(0o600)
        write_atomic(
            self.known_hosts, known_hosts_text(addresses, {node: self.host(node).public for node in addresses})
        )


def known_hosts_text(addresses: Mapping[str, str], public: Mapping[str, str]) -> str:
    """OpenSSH's file of the machines' keys: addresses and public lines are by node name."""
    return "".join(f"{address} {public[node]}\n" for node, address in sorted(addresses.items()))


def make_key(pair: KeyPair) -> None:
    """Make a new key pair in place of what is there."""
    pair.private.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ai-how", "-f", pair.private])
