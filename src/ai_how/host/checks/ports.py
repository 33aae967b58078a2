"""Checks of the ports that the cluster's services need."""

from __future__ import annotations

from ai_how.host.check import Check, Verdict
from ai_how.host.facts.sockets import Listener
from ai_how.host.requirements import PortRange

_SHOWN = 3


def check_ports(listeners: tuple[Listener, ...] | None, *, ports: tuple[PortRange, ...]) -> list[Check]:
    """One check a row of the requirements' tables; ``listeners`` with their owners where these can be seen."""
    return [_check(listeners, wanted) for wanted in ports]


def clashing(listeners: tuple[Listener, ...], ports: tuple[PortRange, ...]) -> tuple[Listener, ...]:
    """Those that stand on a port which the cluster needs."""
    return tuple(listener for listener in listeners if any(_on(listener, wanted) for wanted in ports))


def _on(listener: Listener, wanted: PortRange) -> bool:
    return listener.protocol == wanted.protocol and wanted.first <= listener.port <= wanted.last


def _check(listeners: tuple[Listener, ...] | None, wanted: PortRange) -> Check:
    taken = [listener for listener in listeners or () if _on(listener, wanted)]
    # a port stands twice where a program listens on IPv4 and IPv6
    shown = list(dict.fromkeys(f"{at.port}: {at.owner or 'owner not seen'}" for at in taken))
    found = ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
    protocol = wanted.protocol.upper()
    flag = "-t" if wanted.protocol == "tcp" else "-u"
    return Check(
        id=f"port.{wanted.protocol}.{wanted.text}",
        title=f"{wanted.service}",
        found="sockets cannot be read" if listeners is None else found or "free",
        wanted=f"{protocol} {wanted.text} free",
        verdict=Verdict.UNKNOWN if listeners is None else (Verdict.WARN if taken else Verdict.PASS),
        why="A node on this very host, or a port forwarded to one, cannot listen where another program does.",
        fix="See them all: sudo ss -tulnp"
        if listeners is None
        else f"See who it is: sudo ss {flag}lnp 'sport >= :{wanted.first} and sport <= :{wanted.last}'",
        needs_root=any(not listener.owner for listener in taken),
    )
