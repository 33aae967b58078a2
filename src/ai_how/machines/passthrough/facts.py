"""The cards of a host, as machines can get them: all functions of a slot, and what stands in the way. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ai_how.capacity.rooms import same_card
from ai_how.capacity.types import GpuCapacity, PlacedNode
from ai_how.errors import ConflictError, NotFoundError
from ai_how.host.checks.passthrough import blockers
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.passthrough import PassthroughFacts
from ai_how.machines.types import Card, PciAddress


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a card needs to be given away, as the site file says; the defaults are most cards'."""

    allow_in_use: bool = False
    rom_file: str = ""
    rom_bar: bool = True
    hide_hypervisor: bool = False


@dataclass(frozen=True, kw_only=True)
class HostCard:
    """One card of a host. ``blocked`` says why no machine can get it now; empty: one can.

    ``drivers`` and ``ids`` (``10de:2230``) belong to the functions, in their order.
    """

    card: Card
    drivers: tuple[str, ...]
    ids: tuple[str, ...]
    group: str = ""
    numa_node: int | None = None
    blocked: str = ""

    @property
    def address(self) -> str:
        """Address of the GPU itself."""
        return str(self.card.functions[0])

    @property
    def functions(self) -> tuple[str, ...]:
        """Addresses of all functions, the GPU's first."""
        return tuple(str(function) for function in self.card.functions)


def cards_of(
    facts: PassthroughFacts,
    *,
    settings: dict[str, Setting] | None = None,
    is_card: Callable[[Gpu], bool] = lambda gpu: gpu.supported,
) -> tuple[HostCard, ...]:
    """The host's cards by address.

    Args:
        settings: By address of the GPU.
        is_card: Which display controllers count; NVIDIA's, unless said otherwise.
    """
    chosen = settings or {}
    return tuple(_card(gpu, facts, chosen.get(gpu.address, Setting())) for gpu in facts.gpus if is_card(gpu))


def _card(gpu: Gpu, facts: PassthroughFacts, setting: Setting) -> HostCard:
    devices = (gpu.device, *gpu.functions)
    return HostCard(
        card=Card(
            name=gpu.name,
            functions=tuple(PciAddress.parse(device.address) for device in devices),
            memory_gib=gpu.memory_gib or 0,
            rom_file=setting.rom_file,
            rom_bar=setting.rom_bar,
            hide_hypervisor=setting.hide_hypervisor,
        ),
        drivers=tuple(device.driver for device in devices),
        ids=tuple(device.id_text for device in devices),
        group=gpu.device.iommu_group or "",
        numa_node=gpu.device.numa_node,
        blocked="; ".join(blockers(gpu, facts, allow_in_use=setting.allow_in_use)),
    )


def dealt(
    counted: Sequence[GpuCapacity], cards: Sequence[HostCard], *, held: Collection[str] = ()
) -> tuple[HostCard | None, ...]:
    """Which card each GPU is that placement counts: by its address, else the first free one of its kind.

    A declared host says what it has, not where: its GPUs are found by their model, blocked ones and those that others
    have (``held``) last. None: not found.
    """
    left = sorted(cards, key=lambda card: (bool(card.blocked), card.address in held, card.address))
    named = {gpu.pci_address for gpu in counted if gpu.pci_address}
    found: list[HostCard | None] = []
    for gpu in counted:
        fitting = (
            card
            for card in left
            if (card.address == gpu.pci_address if gpu.pci_address else same_card(card.card.name, gpu.name))
            and (gpu.pci_address or card.address not in named)
        )
        card = next(fitting, None)
        found.append(card)
        left = [other for other in left if other is not card]
    return tuple(found)


def cards_for(
    placed: Sequence[PlacedNode],
    counted: Sequence[GpuCapacity],
    cards: Sequence[HostCard],
    *,
    host: str,
    held: Collection[str] = (),
) -> tuple[Card, ...]:
    """The cards of a host by the index that placement uses; those that nobody gets are empty.

    Raises:
        As ``check_given``, for a node's card that is not there or cannot be had.
    """
    found = dealt(counted, cards, held=held)
    given: dict[int, Card] = {}
    for node in placed:
        for index in node.gpus:
            given[index] = check_given(node.need.name, host, counted[index].name, found[index]).card
    nothing = Card(name="", functions=())
    return tuple(given.get(index, nothing) for index in range(len(counted)))


def check_given(node: str, host: str, wanted: str, card: HostCard | None) -> HostCard:
    """See that a machine can get the card that it was given.

    Args:
        wanted: The card in words, for the error: ``RTX A6000``.

    Raises:
        NotFoundError: the host has no such card.
        ConflictError: something stands in the way; the evidence says what.
    """
    if card is None:
        raise NotFoundError(
            f"{host} has no {wanted} for {node}",
            evidence=f"the site file declares one, but none is found on {host}",
            next_step="ai-how gpu list shows its cards",
        )
    if card.blocked:
        used = any(title in card.blocked for title in ("Users of", "Screen of"))
        raise ConflictError(
            f"{node} cannot get the {card.card.name} at {card.address} of {host}",
            evidence=card.blocked,
            next_step="ai-how doctor says how to free it"
            + ("; or write allow_in_use: true under the host's cards" if used else ""),
        )
    return card


def find_card(cards: Sequence[HostCard], address: str, *, host: str) -> HostCard:
    """The card with a function at an address.

    Raises:
        NotFoundError: there is none; the evidence names those that are there.
    """
    found = next((card for card in cards if address in card.functions), None)
    if found is None:
        there = ", ".join(f"{card.address} ({card.card.name})" for card in cards)
        raise NotFoundError(
            f"{host} has no GPU at {address}",
            evidence=f"it has {there}" if there else "it has none",
            next_step="ai-how gpu list",
        )
    return found
