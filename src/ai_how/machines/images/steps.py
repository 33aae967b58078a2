"""Runs the programs that make an image: as root or as root of a user namespace, and never longer than this process.

Owns how a step is started and how its failure is told. Never decides what is run.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

from ai_how.apply.files import free_places
from ai_how.errors import AiHowError, MissingToolError, ProviderError
from ai_how.run.process import run, which

_DISK_FULL = "No space left on device"
# the disk tools lie in sbin, which an ordinary user's PATH does not have
_SYSTEM_PATH = "/usr/sbin:/sbin"


def step(words: Sequence[str | Path], *, timeout_s: float = 300, env: dict[str, str] | None = None) -> str:
    """Run one program to its end; gives what it printed.

    The kernel ends it when this process is killed, so that nothing goes on writing into a folder that is given up.

    Raises:
        ProviderError: it failed; the evidence is the end of what it said.
    """
    environment = {"PATH": f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}", "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        return run(["setpriv", "--pdeathsig", "TERM", "--", *words], timeout_s=timeout_s, env=environment).stdout
    except AiHowError as error:
        raise _explained(error) from error


def rooted(words: Sequence[str | Path], *, timeout_s: float = 600) -> str:
    """Run a step that keeps files' owners: as root, or as root of a user namespace."""
    prefix = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto", "--"]
    return step([*prefix, *words], timeout_s=timeout_s)


def compress(source: Path, disk: Path, *, format_: str) -> Path:
    """Write a disk anew as compressed qcow2, and remove the old file.

    Compression by zstd reads several times faster than zlib, and every machine reads through to this file.
    """
    words = ["qemu-img", "convert", "-f", format_, "-O", "qcow2", "-c", "-o", "compression_type=zstd"]
    step([*words, source, disk], timeout_s=1800)
    source.unlink()
    return disk


def in_system_path(program: str) -> bool:
    """Whether a program lies where an ordinary user's PATH does not look, and steps do."""
    return any((Path(folder) / program).exists() for folder in _SYSTEM_PATH.split(":"))


def require_ownership() -> None:
    """Raise MissingToolError where this user can neither be root nor own the files of others in a user namespace."""
    if os.geteuid() == 0:
        return
    try:
        rooted(["true"], timeout_s=30)
    except AiHowError as error:
        raise MissingToolError(
            "this user cannot build images: it can own no files of others in a user namespace",
            evidence=error.evidence or error.brief,
            next_step=f"{_remedy()}; or build as root",
        ) from error


def _remedy() -> str:
    """What an administrator has to do so that this user may have ids of its own."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    if which("newuidmap") is None:
        return "as root: apt-get install uidmap"
    subuid = Path("/etc/subuid")
    if not subuid.exists() or f"{user}:" not in subuid.read_text(encoding="utf-8"):
        return f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    return "as root, allow user namespaces: see sysctl user.max_user_namespaces kernel.unprivileged_userns_clone"


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, whoever owns the files."""
    if folder.exists():
        rooted(["rm", "-rf", "--one-file-system", folder])


def _explained(error: AiHowError) -> AiHowError:
    if isinstance(error, MissingToolError):
        return error
    if _DISK_FULL in error.evidence:
        return ProviderError(
            "the image could not be made: the disk is full",
            evidence=f"{error.evidence.splitlines()[-1]}\n{free_places()}",
            next_step="free some space, then run the same command again",
        )
    return ProviderError(
        f"the image could not be made: {error.brief}",
        evidence=error.evidence,
        next_step="mend what it says, then run the same command again",
    )
