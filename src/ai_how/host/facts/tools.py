"""Versions of the programs that the cluster is built with. Asks the programs on the live machine only."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import AiHowError
from ai_how.host.facts.parse import version
from ai_how.host.root import Root
from ai_how.run.process import run, which

_TIMEOUT_S = 4
# daemons lie where an ordinary user's PATH does not lead
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/libexec")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One program.

    Args:
        path: Where it lies; empty: it is not installed.
        version: None where it did not say.
        unclear: Why it is unknown whether it is there, or which version it has.
    """

    path: str = ""
    version: tuple[int, ...] | None = None
    unclear: str = ""

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version or ()))


@dataclass(frozen=True, kw_only=True)
class ToolFacts:
    """The programs. ``libvirt`` is the daemon where there is one, else the client (``libvirt_daemon`` is False)."""

    python: Tool
    ansible: Tool
    libvirt: Tool
    qemu: Tool
    libvirt_daemon: bool = False


def observe_tools(root: Root) -> ToolFacts:
    """Ask them all side by side, four seconds at most each."""
    if not root.live:
        captured = Tool(unclear="a capture does not tell programs' versions")
        return ToolFacts(python=captured, ansible=captured, libvirt=captured, qemu=captured)
    daemon = _find("libvirtd") or _find("virtqemud")
    qemu = _find(f"qemu-system-{os.uname().machine}") or _find("qemu-kvm")
    with ThreadPoolExecutor(max_workers=3) as pool:
        asked = [
            pool.submit(_ansible, _find("ansible-playbook") or _find("ansible")),
            pool.submit(_ask, daemon or _find("virsh")),
            pool.submit(_ask, qemu),
        ]
        ansible, libvirt, emulator = (future.result() for future in asked)
    return ToolFacts(
        python=Tool(path=sys.executable, version=sys.version_info[:3]),
        ansible=ansible,
        libvirt=libvirt,
        qemu=emulator,
        libvirt_daemon=daemon is not None,
    )


def _find(program: str) -> Path | None:
    folders = (Path(folder, program) for folder in _SYSTEM_FOLDERS)
    return which(program) or next((path for path in folders if path.is_file()), None)


def _ask(program: Path | None, *, read: Callable[[str], tuple[int, ...] | None] = version) -> Tool:
    if program is None:
        return Tool()
    try:
        done = run([program, "--version"], timeout_s=_TIMEOUT_S, env={"LC_ALL": "C"}, check=False)
    except (AiHowError, OSError) as error:
        return Tool(path=str(program), unclear=str(error).splitlines()[0])
    found = read(done.stdout or done.stderr)
    return Tool(path=str(program), version=found, unclear="" if found else f"{program} --version says no version")


def _ansible(program: Path | None) -> Tool:
    """Its package's version where that lies beside the program: the program itself takes a second to say it."""
    if program is None:
        return Tool()
    real = program.resolve()
    for folder in real.parents[1].glob("lib/python3*"):
        for package in (*folder.glob("*-packages/ansible_core-*.dist-info"), *folder.glob("*/ansible_core-*.egg-info")):
            match = re.match(r"ansible_core-([0-9]+(?:\.[0-9]+)+)", package.name)
            if match:
                return Tool(path=str(program), version=version(match[1]))
    return _ask(program)
