"""Every card of the hosts, who has it and who wants it: libvirt's and the kernel's own word, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ai_how.errors import NotFoundError, SpecError
from ai_how.machines.passthrough.facts import HostCard
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.passthrough.leases import Holder, holder_of


@dataclass(frozen=True, kw_only=True)
class CardRow:
    """One card. ``drivers`` belong to ``functions``; ``held_by`` and ``wanted_by`` are virtual machines in words.

    ``holder`` is the running machine's node, cluster and site where it is one of ours. ``blocked`` says why no machine
    can get it; while a machine has it that does not count.
    """

    host: str
    address: str
    model: str
    memory_gib: float
    functions: tuple[str, ...]
    drivers: tuple[str, ...]
    iommu_group: str
    numa_node: int | None
    held_by: str
    holder: dict[str, str] | None
    wanted_by: tuple[str, ...]
    blocked: str


def card_rows(hosts: Mapping[str, CardHost]) -> list[CardRow]:
    """The cards of all hosts, by host and address."""
    rows = []
    for name, host in hosts.items():
        holders = host.holders()
        rows += [card_row(name, card, holders) for card in host.cards]
    return rows


def card_row(host: str, card: HostCard, holders: Sequence[Holder]) -> CardRow:
    """One card's row. Pure."""
    holder = holder_of(holders, card.functions)
    ours = holder is not None and "node" in holder.mark
    naming = [one for one in holders if not one.running and one.functions & set(card.functions)]
    return CardRow(
        host=host,
        address=card.address,
        model=card.card.name,
        memory_gib=card.card.memory_gib,
        functions=card.functions,
        drivers=card.drivers,
        iommu_group=card.group,
        numa_node=card.numa_node,
        held_by=holder.words if holder else "",
        holder={key: str(holder.mark.get(key, "")) for key in ("node", "cluster", "site")} if holder and ours else None,
        wanted_by=tuple(one.words for one in naming),
        blocked="" if holder else card.blocked,
    )


def host_of(hosts: Mapping[str, CardHost], address: str, *, chosen: str | None) -> CardHost:
    """The host that has a card at an address.

    Args:
        chosen: Its name, where it was said.

    Raises:
        NotFoundError: there is no such host, or none has such a card.
        SpecError: several have one.
    """
    if chosen is not None:
        if chosen not in hosts:
            raise NotFoundError(f"there is no host {chosen!r}", evidence="hosts: " + ", ".join(hosts))
        return hosts[chosen]
    having = [host for host in hosts.values() if any(address in card.functions for card in host.cards)]
    if len(having) > 1:
        raise SpecError(
            f"several hosts have a GPU at {address}",
            evidence=", ".join(host.name for host in having),
            next_step=f"ai-how gpu release {address} --host {having[0].name}",
        )
    if not having:
        there = [f"{card.address} on {host.name}" for host in hosts.values() for card in host.cards]
        raise NotFoundError(
            f"no host has a GPU at {address}",
            evidence=f"there are {', '.join(there)}" if there else f"{', '.join(hosts)}: no GPU at all",
            next_step="ai-how gpu list",
        )
    return having[0]
