"""What is wrong with the cards of machines that are there: gone, not to be had, or with somebody else's machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ai_how.errors import AiHowError
from ai_how.machines.passthrough.facts import HostCard
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.passthrough.leases import Holder, holder_of
from ai_how.machines.standing import Standing


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is wrong in one line, and the command that goes on."""

    what: str
    remedy: str


def held_cards(hosts: Mapping[str, CardHost], *, site: str, owner: str) -> dict[str, dict[str, str]]:
    """Cards that machines of others run with: host -> the GPU's address -> who that is, in words."""
    return {name: _held(host.cards, host.holders(), site=site, owner=owner) for name, host in hosts.items()}


def _held(cards: Sequence[HostCard], holders: Sequence[Holder], *, site: str, owner: str) -> dict[str, str]:
    others = [one for one in holders if (one.mark.get("site"), one.mark.get("owner")) != (site, owner)]
    found = {card.address: holder_of(others, card.functions) for card in cards}
    return {address: holder.words for address, holder in found.items() if holder is not None}


def card_troubles(
    hosts: Mapping[str, CardHost], machines: Mapping[str, Standing], *, site: str, owner: str
) -> dict[str, Trouble]:
    """By node, what is wrong with the cards that its machine was made with; nothing for those where all is well."""
    having = {node: one for node, one in machines.items() if _addresses(one)}
    found: dict[str, Trouble] = {}
    for name in sorted({one.host for one in having.values()}):
        here = {node: one for node, one in having.items() if one.host == name}
        try:
            cards = {card.address: card for card in hosts[name].cards}
            held = _held(hosts[name].cards, hosts[name].holders(), site=site, owner=owner)
        except AiHowError as error:
            what = f"whether its GPU can be had is not known: {error.brief}"
            found |= {node: Trouble(what=what, remedy=error.next_step or "ai-how gpu list") for node in here}
            continue
        for node, machine in here.items():
            found |= _trouble(node, machine, cards, held)
    return found


def _trouble(
    node: str, machine: Standing, cards: Mapping[str, HostCard], held: Mapping[str, str]
) -> dict[str, Trouble]:
    for address in _addresses(machine):
        card = cards.get(address)
        if card is None:
            what = f"its GPU {address} is no longer on {machine.host}"
            return {node: Trouble(what=what, remedy="ai-how gpu list")}
        if machine.found.state != "off":
            continue
        if address in held:
            what = f"its GPU {address} is in use: {held[address]} has it"
            return {node: Trouble(what=what, remedy="ai-how gpu list")}
        if card.blocked:
            return {node: Trouble(what=f"its GPU {address} cannot be had: {card.blocked}", remedy="ai-how doctor")}
    return {}


def _addresses(machine: Standing) -> list[str]:
    """The GPUs of a machine; their other functions are left out."""
    return [str(functions[0]) for functions in machine.made_with.get("cards", []) if functions]
