"""Checks of the programs that build and run the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import version_at_least, version_text
from ai_how.host.facts.tools import Tool, ToolFacts

_NEWER = "where it is too old: Debian 13, Ubuntu 24.04 or your release's backports have a newer one"


def check_software(tools: ToolFacts, *, software: Mapping[str, tuple[int, ...]]) -> list[Check]:
    """Python, Ansible, libvirt, QEMU against the requirements' software table."""
    return [
        _check(
            "python",
            tools.python,
            title="Python",
            wanted=software["python"],
            why="ai-how and Kubespray's Ansible run on it.",
            fix=f"sudo apt install python3; {_NEWER}",
        ),
        _ansible(tools.ansible, software["ansible"]),
        _libvirt(tools, software["libvirt"]),
        _check(
            "qemu",
            tools.qemu,
            title="QEMU",
            wanted=software["qemu"],
            why="It runs the virtual machines.",
            fix=f"sudo apt install qemu-system-x86; {_NEWER}",
        ),
    ]


def _ansible(tool: Tool, wanted: tuple[int, ...]) -> Check:
    """The host's own is never run: that it is missing or old stops nothing. The requirements name it all the same."""
    found = _check(
        "ansible",
        tool,
        title="Ansible (core)",
        wanted=wanted,
        why="It configures the cluster's machines. ai-how does not need the host's: it brings its own.",
        fix="nothing for ai-how; to run Kubespray yourself: sudo apt install ansible-core",
    )
    return replace(found, verdict=Verdict.WARN) if found.verdict is Verdict.FAIL else found


def _libvirt(tools: ToolFacts, wanted: tuple[int, ...]) -> Check:
    fix = f"sudo apt install libvirt-daemon-system; {_NEWER}"
    why = "It defines, starts and watches the virtual machines."
    if tools.libvirt.path and not tools.libvirt_daemon:
        return Check(
            id="software.libvirt",
            title="libvirt",
            found=f"only the client ({tools.libvirt.version_text})",
            wanted=f"daemon, {version_text(wanted)} or newer",
            verdict=Verdict.WARN,
            why=f"{why} A client alone can only use another machine's.",
            fix=fix,
        )
    return _check("libvirt", tools.libvirt, title="libvirt", wanted=wanted, why=why, fix=fix)


def _check(name: str, tool: Tool, *, title: str, wanted: tuple[int, ...], why: str, fix: str) -> Check:
    missing = not tool.path and not tool.unclear
    verdict = Verdict.FAIL if missing else version_at_least(tool.version, wanted)
    return Check(
        id=f"software.{name}",
        title=title,
        found="not installed" if missing else tool.version_text or tool.unclear,
        wanted=f"{version_text(wanted)} or newer",
        verdict=verdict,
        why=why,
        fix=f"See what it says: {tool.path or name} --version" if verdict is Verdict.UNKNOWN else fix,
    )
