"""The host keys of a site's servers: asked for, compared, and kept in a file that OpenSSH reads. Never taken unseen."""

from __future__ import annotations

import base64
import hashlib
import shlex
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_how.apply.files import read_own_text, write_atomic
from ai_how.errors import AiHowError, ConflictError, NotFoundError, TryAgainError
from ai_how.run.process import run
from ai_how.run.ssh import SshTrouble, proxy_option, trouble_of
from ai_how.servers.server import Reached, Server

_TIMEOUT_S = 30
_CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True)
class HostKey:
    """A host's key: its kind (``ssh-ed25519``) and its public part, base64."""

    kind: str
    public: str

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -lf`` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.public)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def parse_known_hosts(text: str) -> dict[str, list[HostKey]]:
    """The keys by name; lines of another shape (comments, hashed names, marks) are left out. Pure."""
    found: dict[str, list[HostKey]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or line.startswith(("#", "@", "|")):
            continue
        try:
            base64.b64decode(words[2], validate=True)
        except ValueError:
            continue
        for name in words[0].split(","):
            found.setdefault(name, []).append(HostKey(kind=words[1], public=words[2]))
    return found


def known_hosts_text(keys: Mapping[str, Iterable[HostKey]]) -> str:
    """The file for these keys. Pure."""
    return "".join(f"{name} {key.kind} {key.public}\n" for name in sorted(keys) for key in keys[name])


class KnownHosts:
    """The site's own file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keys(self) -> dict[str, list[HostKey]]:
        """All that are kept, by name.

        Raises:
            ProviderError: the file is damaged.
        """
        if not self.path.exists():
            return {}
        anew = f"rm {shlex.quote(str(self.path))}; then trust the servers anew: ai-how hosts trust"
        return parse_known_hosts(read_own_text(self.path, next_step=anew))

    def keep(self, new: Mapping[str, HostKey]) -> None:
        """Keep keys in place of what was known under these names."""
        write_atomic(self.path, known_hosts_text({**self.keys(), **{name: [key] for name, key in new.items()}}))


def ask_host_key(reached: Reached) -> HostKey:
    """The key that a server shows now. Nothing is sent to it but what it takes to agree on keys.

    Raises:
        TryAgainError, NotFoundError: it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="ai-how-") as folder:
        file = Path(folder) / "known_hosts"
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(_CONNECT_TIMEOUT_S),
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": str(file),
            "GlobalKnownHostsFile": "/dev/null",
            "HashKnownHosts": "no",
            "UpdateHostKeys": "no",
            "PreferredAuthentications": "none",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-F", "none", "-p", str(reached.port)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        words += ["-o", proxy_option(reached.jump)] if reached.jump else []
        done = run([*words, "-l", reached.user, reached.host, "true"], timeout_s=_TIMEOUT_S, check=False)
        found = parse_known_hosts(file.read_text(encoding="utf-8")) if file.exists() else {}
    keys = [key for keys in found.values() for key in keys]
    if not keys:
        raise no_answer(reached, done.stderr)
    return keys[0]


def no_answer(reached: Reached, stderr: str) -> AiHowError:
    """The error for a server that ssh could not reach, by ssh's own words."""
    kind = NotFoundError if trouble_of(stderr) is SshTrouble.UNRESOLVED else TryAgainError
    said = "has a name that nobody knows" if kind is NotFoundError else "does not answer"
    if reached.jump and kind is TryAgainError:
        said = f"does not answer through {reached.jump}"
    return kind(
        f"{reached.text} {said}",
        evidence=stderr.strip()[-500:],
        next_step=f"check that it is on and reached: ssh -v {'-J ' + reached.jump + ' ' if reached.jump else ''}"
        f"-p {reached.port} {reached.user}@{reached.host} true",
    )


def check_kept(server: Server, kept: Iterable[HostKey], shown: HostKey | None) -> HostKey | None:
    """The key to keep for a server whose key is not kept yet, by the site file's word; None: one is kept.

    Args:
        shown: The key that it shows, asked for where none is kept.

    Raises:
        ConflictError: it is not the one that the site file names, or nobody has said yet that it is the right one.
    """
    fingerprints = [key.fingerprint for key in kept]
    if fingerprints and (not server.host_key or server.host_key in fingerprints):
        return None
    if fingerprints:
        raise ConflictError(
            f"{server.name}: the site file names another host key than the one that is kept",
            evidence=f"site file: {server.host_key}\nkept:      {', '.join(fingerprints)}",
            next_step=f"ai-how hosts trust {server.name} --replace, where the site file is right",
        )
    if shown is not None and shown.fingerprint == server.host_key:
        return shown
    if server.host_key and shown is not None:
        raise changed_key(server, shown.fingerprint, f"the site file's {server.host_key}")
    raise ConflictError(
        f"{server.name}: nobody has said yet that its host key is the right one",
        evidence=f"it shows {shown.fingerprint}" if shown else "",
        next_step="ai-how hosts trust",
    )


def changed_key(server: Server, shown: str, wanted: str) -> ConflictError:
    """The error for a server that shows another key than its own: loud, as nothing was sent to it."""
    return ConflictError(
        f"{server.name} SHOWS ANOTHER HOST KEY THAN ITS OWN: another machine has its address, or listens in between",
        evidence=f"{server.reached.text} shows {shown}\ninstead of {wanted}; nothing was sent to it",
        next_step=f"find out why; only if the server was installed anew: ai-how hosts trust {server.name} --replace",
    )
