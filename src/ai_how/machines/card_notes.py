"""Gives the cards of removed machines back to their hosts, also of machines that somebody else removed before.

A machine's definition records the drivers that its cards had. The site's state notes the same once it has started: so
the way back is known when the definition is gone. Who has a card is libvirt's word alone, never this note's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ai_how.apply.state import State
from ai_how.machines.passthrough.hosts import CardHost

_KIND = "cards/"


class CardNotes:
    """What the site's state notes of cards, by the node that got them."""

    def __init__(self, state: State, hosts: Mapping[str, CardHost], *, site: str) -> None:
        self._state = state
        self._hosts = hosts
        self._site = site

    def note(self, node: str, *, host: str) -> None:
        """Note what the definition of a machine that has cards records of them."""
        drivers = self._hosts[host].recorded(self._domain(node))
        if drivers:
            noted = self._noted(node).get("drivers") or {}
            self._state.record(f"{_KIND}{node}", {"host": host, "drivers": {**noted, **drivers}})

    def give_back(self, node: str, *, host: str, keep: Collection[str] = ()) -> str:
        """Give back what a node's machine, which is off or gone, has no more; as ``CardHost.give_back``."""
        noted = self._noted(node)
        # what was noted of another host says nothing of this one's addresses
        drivers = noted.get("drivers") or {} if noted.get("host") == host else {}
        said = self._hosts[host].give_back(self._domain(node), noted=drivers, keep=keep)
        left = {address: driver for address, driver in drivers.items() if address in keep}
        if noted:
            self._state.record(f"{_KIND}{node}", {"host": host, "drivers": left} if left else None)
        return said

    def give_all_back(self) -> list[str]:
        """Give back what is still noted of any node; says what was done."""
        said = []
        for name, noted in self._state.resources().items():
            host = str(noted.get("host"))
            if name.startswith(_KIND) and host in self._hosts:
                said.append(self.give_back(name.removeprefix(_KIND), host=host))
        return list(filter(None, said))

    def _noted(self, node: str) -> dict[str, Any]:
        return self._state.resources().get(f"{_KIND}{node}", {})

    def _domain(self, node: str) -> str:
        return f"{self._site}-{node}"
