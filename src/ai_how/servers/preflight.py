"""The doctor's checks on every server of a site, and whether a server is fit to be what the site file says."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.node import address_of_node, check_node
from ai_how.host.checks.nodes import Unreached, check_clocks, check_reach, check_unique
from ai_how.host.checks.system import check_system
from ai_how.host.requirements import load_requirements
from ai_how.servers.known_hosts import HostKey, KnownHosts, known_hosts_text
from ai_how.servers.server import Server
from ai_how.servers.survey import Look, survey
from ai_how.servers.ways import ways_between

_OF_THE_SYSTEM = ("system.os", "system.clock", "system.dns")
_ALWAYS = ("node.ssh", "node.owner", "node.python", "node.sudo", "node.address")
"""Without these nothing can be done on a server; the others count before it becomes a node."""


@dataclass(frozen=True, kw_only=True)
class Examined:
    """One server with its checks, in the order in which they are shown."""

    look: Look
    checks: tuple[Check, ...]

    @property
    def server(self) -> Server:
        return self.look.server

    @property
    def address(self) -> str:
        """By which the other nodes reach it; empty where it is not known."""
        facts = self.look.facts
        return address_of_node(facts, self.server.wish) if facts else ""

    @property
    def blocking(self) -> tuple[Check, ...]:
        """What keeps it from being a node, or from being worked on where it is one."""
        failed = [check for check in self.checks if check.verdict is Verdict.FAIL]
        return tuple(check for check in failed if not self.server.wish.set_up or check.id in _ALWAYS)


def examine_servers(servers: Sequence[Server], known: KnownHosts, *, ways: bool = True) -> dict[str, Examined]:
    """All checks of all servers, by name.

    Args:
        ways: Whether they are asked to reach each other, which takes a second connection to each.
    """
    looks = survey(servers, known)
    unreached = _ways(looks, known) if ways else {}
    return examined(looks, unreached)


def examined(looks: Mapping[str, Look], unreached: Mapping[str, Sequence[Unreached]]) -> dict[str, Examined]:
    """The checks of what was seen. Pure."""
    seen = {name: look.facts for name, look in looks.items() if look.facts}
    unique = check_unique(seen)
    clocks = check_clocks({name: look.clock for name, look in looks.items() if look.clock})
    found = {}
    for name, look in looks.items():
        checks = [_ssh(look)]
        if look.facts:
            checks += [*check_node(look.facts, look.server.wish), *unique[name], clocks[name]]
            if name in unreached:
                peers = [
                    other
                    for other in unreached
                    if other != name and looks[other].server.wish.cluster == look.server.wish.cluster
                ]
                checks += [check_reach(unreached[name], peers)] if peers else []
            checks += _system(look)
        found[name] = Examined(look=look, checks=tuple(checks))
    return found


def _ssh(look: Look) -> Check:
    trouble = look.trouble
    said = f"{trouble.brief}; {' '.join(trouble.evidence.split())}" if trouble and trouble.evidence else ""
    return Check(
        id="node.ssh",
        title="SSH",
        found=said or (trouble.brief if trouble else f"answers as {look.server.reached.text}"),
        wanted="answers",
        verdict=Verdict.FAIL if trouble else Verdict.PASS,
        why="Everything is done on it over SSH.",
        fix=trouble.next_step if trouble else "",
    )


def _system(look: Look) -> list[Check]:
    assert look.facts is not None  # noqa: S101 - the caller's own condition
    asked = load_requirements()
    checks = check_system(look.facts.system, software=asked.software, systems=asked.systems)
    return [_mended(check) for check in checks if check.id in _OF_THE_SYSTEM]


def _mended(check: Check) -> Check:
    return replace(check, fix="") if check.verdict is Verdict.PASS else check


def _ways(looks: Mapping[str, Look], known: KnownHosts) -> dict[str, list[Unreached]]:
    """Among those of a cluster that were seen and have an address, with host keys that the site file vouches for."""
    nodes = [
        (look.server, look.facts)
        for look in looks.values()
        if look.facts and address_of_node(look.facts, look.server.wish) and look.server.wish.ranges
    ]
    if len(nodes) < 2:
        return {}
    learnt: dict[str, list[HostKey]] = {
        look.server.reached.known_as: [look.learnt] for look in looks.values() if look.learnt
    }
    with tempfile.TemporaryDirectory(prefix="ai-how-") as folder:
        file = Path(folder) / "known_hosts"
        file.write_text(known_hosts_text({**known.keys(), **learnt}), encoding="utf-8")
        return ways_between(nodes, file)
