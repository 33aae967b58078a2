"""What ``collect`` said of a machine, as a tree that the doctor's readers can read, and as the answers beside it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ai_how.errors import ProviderError
from ai_how.host.facts.system import SystemFacts, observe_system
from ai_how.host.root import Root

MARK = "ai-how-facts:"
NO_PYTHON = "ai-how-no-python"
Sudo = Literal["root", "yes", "no", "missing"]
_SUDO = (
    'if [ "$(id -u)" = 0 ]; then s=root; elif ! command -v sudo >/dev/null; then s=missing; '
    "elif sudo -n true </dev/null >/dev/null 2>&1; then s=yes; else s=no; fi; "
)
COMMAND = f'command -v python3 >/dev/null || {{ echo {NO_PYTHON}; exit 0; }}; {_SUDO}exec python3 - "$s"'
"""For ``sh -c``: runs what comes on standard input, in Python, with what sudo said as its argument."""


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One machine as it was seen. ``root`` is a tree on this machine; ``time_s`` the clock there, Unix time.

    ``reached_at`` is the address there that our connection came to. ``owners`` are by socket inode.
    """

    root: Root
    python: tuple[int, ...]
    sudo: Sudo
    user: str
    reached_at: str
    time_s: float
    disk_free_bytes: int
    disk_size_bytes: int
    clock_synchronised: bool | None
    owners: Mapping[int, str]

    def system(self) -> SystemFacts:
        """The system, with the clock as the kernel there says."""
        return replace(observe_system(self.root), clock_synchronised=self.clock_synchronised)


def program(name: Literal["collect", "reach"]) -> str:
    """The text of a program that is sent."""
    return files("ai_how.host.remote").joinpath(f"{name}.py").read_text(encoding="utf-8")


def read_capture(said: str, folder: Path) -> Capture | None:
    """What a machine printed, its files written below ``folder``; None where it has no Python.

    Raises:
        ProviderError: it printed something else.
    """
    lines = said.splitlines()
    if NO_PYTHON in lines:
        return None
    found = next((line.removeprefix(MARK) for line in reversed(lines) if line.startswith(MARK)), None)
    try:
        data = json.loads(found or "")
        write_tree(folder, data["files"], data["links"])
        return _capture(data, folder)
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        raise ProviderError(
            "it did not answer as expected",
            evidence="\n".join(lines[-5:]) or f"{type(error).__name__}: {error}",
            next_step="look at what its shell prints when somebody logs in",
        ) from error


def _capture(data: Mapping[str, Any], folder: Path) -> Capture:
    sudo: Mapping[str, Sudo] = {"root": "root", "yes": "yes", "missing": "missing"}
    return Capture(
        root=Root(folder),
        python=tuple(int(part) for part in data["python"]),
        sudo=sudo.get(data["sudo"], "no"),
        user=str(data["user"]),
        reached_at=str(data["reached_at"]),
        time_s=float(data["time_s"]),
        disk_free_bytes=int(data["disk"]["free_bytes"]),
        disk_size_bytes=int(data["disk"]["size_bytes"]),
        clock_synchronised=data["clock_synchronised"],
        owners={int(inode): str(owner) for inode, owner in data["owners"].items()},
    )


def write_tree(folder: Path, contents: Mapping[str, str], links: Mapping[str, str]) -> None:
    """Write files (base64) and links below a folder. Nothing that the machine says leads out of it.

    Raises:
        ValueError: a path is no relative one.
    """
    for name, text in contents.items():
        path = _inside(folder, name)
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(text, validate=True))
    # after the files, the deepest first: nothing is written through a link
    for name, target in sorted(links.items(), key=lambda link: -len(PurePosixPath(link[0]).parts)):
        path = _inside(folder, name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{name!r} is no path inside of a tree")
    return folder / path
