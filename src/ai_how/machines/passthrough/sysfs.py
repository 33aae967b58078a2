"""The few files of a host's sysfs that give a device to another driver: on this machine, or on one reached by SSH.

Owns reading and writing them, one at a time. Decides nothing.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ai_how.errors import ProviderError
from ai_how.run.process import Completed, run
from ai_how.run.ssh import run_on_host

DEVICES = "sys/bus/pci/devices"
DRIVERS = "sys/bus/pci/drivers"
_WRITE_TIMEOUT_S = 60
"""A driver that is in use does not let go of its device: the write hangs."""


class Sysfs(Protocol):
    """Paths are relative to ``/``."""

    def link(self, path: str) -> str:
        """The last part of a symbolic link's target; empty where there is none."""

    def text(self, path: str) -> str | None:
        """A file's text without white space around it; None where it cannot be read."""

    def names(self, path: str) -> list[str]:
        """The names in a folder, ordered; none where it cannot be listed."""

    def head(self, path: str) -> bytes:
        """A file's first four bytes; fewer where it cannot be read."""

    def write(self, path: str, text: str) -> None:
        """Write to a file that is there.

        Raises:
            ProviderError: the kernel refuses; the evidence is what it says.
        """

    def load_module(self, name: str) -> None:
        """Load a kernel module; nothing where it is loaded or built in.

        Raises:
            ProviderError: it cannot be loaded.
        """


@dataclass(frozen=True)
class LocalSysfs:
    """This machine's, or a tree like it below ``root``."""

    root: Path = Path("/")

    def link(self, path: str) -> str:
        try:
            return (self.root / path).readlink().name
        except OSError:
            return ""

    def text(self, path: str) -> str | None:
        try:
            return (self.root / path).read_bytes().decode(errors="replace").replace("\0", "\n").strip()
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        try:
            return sorted(entry.name for entry in (self.root / path).iterdir())
        except OSError:
            return []

    def head(self, path: str) -> bytes:
        try:
            with (self.root / path).open("rb") as file:
                return file.read(4)
        except OSError:
            return b""

    def write(self, path: str, text: str) -> None:
        try:
            handle = os.open(self.root / path, os.O_WRONLY | os.O_TRUNC)
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise _refused(
                path, text, error.strerror or str(error), denied=isinstance(error, PermissionError)
            ) from error

    def load_module(self, name: str) -> None:
        run(["modprobe", name])


@dataclass(frozen=True, kw_only=True)
class RemoteSysfs:
    """Another machine's, as its SSH user; who is not root there must be allowed ``sudo -n`` for what is written.

    Args:
        host: As ``run.ssh.jump_of`` gives it; reached as the user's own ssh reaches it.
    """

    host: str
    root: str = "/"

    def link(self, path: str) -> str:
        return self._ask("readlink", "--", self._path(path)).stdout.strip().rpartition("/")[2]

    def text(self, path: str) -> str | None:
        done = self._ask("cat", "--", self._path(path))
        return done.stdout.replace("\0", "\n").strip() if done.returncode == 0 else None

    def names(self, path: str) -> list[str]:
        return sorted(self._ask("ls", "-A", "--", self._path(path)).stdout.split())

    def head(self, path: str) -> bytes:
        words = self._ask("od", "-An", "-tx1", "-N4", "--", self._path(path)).stdout.split()
        return bytes(int(word, 16) for word in words)

    def write(self, path: str, text: str) -> None:
        place = self._path(path)
        done = self._ask_root("sh", "-c", '[ -e "$1" ] && printf %s "$2" > "$1"', "sh", place, text)
        if done.returncode != 0:
            said = done.stderr.strip() or "there is no such file"
            raise _refused(path, text, said, denied="sudo:" in said or "Permission denied" in said)

    def load_module(self, name: str) -> None:
        done = self._ask_root("modprobe", name)
        if done.returncode != 0:
            raise ProviderError(f"{self.host} cannot load the module {name}", evidence=done.stderr.strip())

    def _path(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"

    def _ask_root(self, *words: str) -> Completed:
        command = shlex.join(words)
        return self._send(f'if [ "$(id -u)" = 0 ]; then exec {command}; else exec sudo -n {command}; fi')

    def _ask(self, *words: str) -> Completed:
        return self._send(shlex.join(words))

    def _send(self, command: str) -> Completed:
        return run_on_host(self.host, command, timeout_s=_WRITE_TIMEOUT_S, needs="sudo -n true")


def _refused(path: str, text: str, said: str, *, denied: bool) -> ProviderError:
    return ProviderError(
        f"the kernel does not take {text.strip() or 'an empty line'!r} in /{path}",
        evidence=said,
        next_step="run this as root, or allow its user sudo without a password there" if denied else "",
    )
