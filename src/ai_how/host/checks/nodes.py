"""Checks of servers together: what must differ from each other, clocks, and who reaches whom. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ai_how.host.check import Check, Verdict
from ai_how.host.facts.node import NodeFacts

CLOCK_S = 1.0
"""etcd complains where its members' clocks differ by more."""
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How far a server's clock is from ours, seconds, and by how much that may be wrong: what the answer took."""

    offset_s: float
    error_s: float


@dataclass(frozen=True, kw_only=True)
class Unreached:
    """A port of another server that one could not reach, and why."""

    peer: str
    protocol: str
    port: int
    why: str


def check_unique(nodes: Mapping[str, NodeFacts]) -> dict[str, list[Check]]:
    """By server: its host name, machine id and hardware addresses are its own."""
    return {
        name: [
            _unique(name, nodes, "hostname", "Host name", lambda facts: (facts.hostname,)),
            _unique(name, nodes, "machine-id", "Machine id", lambda facts: (facts.machine_id,)),
            _unique(name, nodes, "mac", "Network cards", lambda facts: tuple(facts.macs.values())),
        ]
        for name in nodes
    }


_FIXES = {
    "hostname": "sudo hostnamectl set-hostname NAME, another one on each server",
    "machine-id": "sudo rm /etc/machine-id && sudo systemd-machine-id-setup, then reboot: they are copies of one disk",
    "mac": "Give each virtual machine's card an address of its own",
}


def _unique(
    name: str,
    nodes: Mapping[str, NodeFacts],
    key: str,
    title: str,
    values_of: Callable[[NodeFacts], Sequence[str]],
) -> Check:
    mine = [value for value in values_of(nodes[name]) if value]
    shared = {value: [other for other in nodes if other != name and value in values_of(nodes[other])] for value in mine}
    doubles = [f"{value} is {' and '.join(others)}'s too" for value, others in shared.items() if others]
    return Check(
        id=f"node.{key}",
        title=title,
        found="; ".join(doubles) or ", ".join(mine[:_SHOWN]) or "cannot be read",
        wanted="its own alone",
        verdict=Verdict.FAIL if doubles else Verdict.PASS if mine else Verdict.UNKNOWN,
        why="Kubernetes and its network know a node by it; kubeadm asks for it to be unique.",
        fix=_FIXES[key] if doubles or not mine else "",
    )


def check_clocks(clocks: Mapping[str, Clock]) -> dict[str, Check]:
    """By server: how far its clock is from those of the others."""
    ordered = sorted(clock.offset_s for clock in clocks.values())
    middle = ordered[len(ordered) // 2] if ordered else 0.0
    return {name: _clock(clock, clock.offset_s - middle) for name, clock in clocks.items()}


def _clock(clock: Clock, ahead_s: float) -> Check:
    off = abs(ahead_s) > CLOCK_S + clock.error_s
    word = "ahead" if ahead_s > 0 else "behind"
    return Check(
        id="node.clock",
        title="Clock, to others",
        found=f"{abs(ahead_s):.1f} s {word}" if off else f"within {CLOCK_S:g} s",
        wanted=f"within {CLOCK_S:g} s",
        verdict=Verdict.WARN if off else Verdict.PASS,
        why="etcd warns when its members' clocks differ by more, and certificates are not valid yet or any more.",
        fix="Let each follow the same time servers: timedatectl show-timesync, chronyc sources" if off else "",
    )


def check_reach(failed: Sequence[Unreached], peers: Sequence[str]) -> Check:
    """One server's way to the others' ports."""
    said = [f"{each.peer} {each.port}/{each.protocol}: {each.why}" for each in failed]
    more = f" and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return Check(
        id="node.reach",
        title="Way to other nodes",
        found="; ".join(said[:_SHOWN]) + more if said else f"reaches {', '.join(peers)}",
        wanted="all that Kubernetes uses",
        verdict=Verdict.FAIL if said else Verdict.PASS,
        why="Kubernetes, etcd and the pods' network speak over these ports; a firewall between nodes breaks them.",
        fix="Open them between the servers, on each and in the network between (nft list ruleset)" if said else "",
    )
