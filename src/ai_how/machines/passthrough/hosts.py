"""One libvirt host's cards: looked at, given to machines that start, taken back for the host.

A card stays with vfio-pci when its machine stops: the next one starts sooner, and the host's driver never touches what
a guest left behind. ``release`` gives it back to the host, and so does ``give_back`` when its machine is removed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from urllib.parse import urlsplit

from ai_how.capacity.demand import declared_capacity
from ai_how.capacity.types import HostCapacity, PlacedNode
from ai_how.errors import ConflictError, ProviderError
from ai_how.host.facts.passthrough import PassthroughFacts, observe_passthrough
from ai_how.host.root import Root
from ai_how.machines import domains
from ai_how.machines.connection import Connect
from ai_how.machines.passthrough import binding
from ai_how.machines.passthrough.facts import HostCard, Setting, cards_for, cards_of, find_card
from ai_how.machines.passthrough.guest import check_cards_seen
from ai_how.machines.passthrough.leases import (
    Holder,
    cards_lock,
    check_free,
    holder_of,
    observe_holders,
    previous_drivers,
)
from ai_how.machines.passthrough.node_devices import observe_node_devices
from ai_how.machines.passthrough.reset import verify_reset
from ai_how.machines.passthrough.sysfs import DEVICES, LocalSysfs, RemoteSysfs, Sysfs
from ai_how.machines.types import Card, Machine
from ai_how.run.ssh import SshTarget, jump_of
from ai_how.site.clusters import Host


class CardHost:
    """A host as far as its cards are concerned.

    Args:
        sysfs: The host's files, where they are not those that its address tells.
        root: Where the host's facts are read, for a host that is this machine.
    """

    def __init__(self, host: Host, connect: Connect, *, sysfs: Sysfs | None = None, root: Root | None = None) -> None:
        self.name = host.name
        self.uri = host.uri
        self._declared = host.declared
        self.connect = connect
        self.local = not urlsplit(host.uri).hostname
        self._sysfs = sysfs
        self._root = root or Root()
        self._settings = {
            card.address: Setting(
                allow_in_use=card.allow_in_use,
                rom_file=card.rom_file or "",
                rom_bar=card.rom_bar,
                hide_hypervisor=card.hide_hypervisor,
            )
            for card in host.cards
        }

    @property
    def sysfs(self) -> Sysfs:
        """The host's files.

        Raises:
            ProviderError: it is another machine, and not reached by SSH.
        """
        if self._sysfs is not None:
            return self._sysfs
        if self.local:
            return LocalSysfs()
        target = jump_of(self.uri)
        if not target:
            raise ProviderError(
                f"the drivers of {self.name}'s cards cannot be changed from here",
                evidence=f"uri: {self.uri}",
                next_step="write a uri by SSH, such as qemu+ssh://root@host/system",
            )
        return RemoteSysfs(host=target)

    @cached_property
    def facts(self) -> PassthroughFacts:
        """What the host tells of its PCI devices, as it was when first asked for."""
        if self.local:
            return observe_passthrough(self._root)
        return observe_node_devices(self.connect, boot_vga=self._boot_vga)

    @cached_property
    def cards(self) -> tuple[HostCard, ...]:
        """The host's cards by address, as they were when first asked for."""
        return cards_of(self.facts, settings=self._settings)

    def given(
        self, placed: Sequence[PlacedNode], capacities: Mapping[str, HostCapacity], *, held: Collection[str] = ()
    ) -> tuple[Card, ...]:
        """The cards by the index that placement uses; those that no node gets are empty.

        Args:
            capacities: What was counted on, by name, of the hosts that the site file does not declare.
            held: Addresses of GPUs that others' machines run with: the last to be taken of a kind.

        Raises:
            NotFoundError: the host does not have what its declaration says.
            ConflictError: a card that a node gets cannot be had.
        """
        here = [node for node in placed if node.host == self.name and node.gpus]
        if not here:
            return ()
        counted = declared_capacity(self.name, self._declared) if self._declared else capacities[self.name]
        return cards_for(here, counted.gpus, self.cards, host=self.name, held=held)

    def _boot_vga(self, address: str) -> bool | None:
        if self._sysfs is None and not self.local and not jump_of(self.uri):
            return None
        text = self.sysfs.text(f"{DEVICES}/{address}/boot_vga")
        return None if text is None else text == "1"

    def holders(self) -> list[Holder]:
        """The virtual machines on the host that name PCI devices, ours and others'."""
        return observe_holders(self.connect)

    def start(self, machine: Machine) -> None:
        """Start a machine with its cards, if it has any: see ``prepare``."""
        if not machine.cards:
            domains.start_machine(self.connect, machine.name)
            return
        with cards_lock(local=self.local):
            self._prepare(machine)
            domains.start_machine(self.connect, machine.name)

    def prepare(self, machine: Machine) -> str:
        """Make a machine's cards ready for it: no other machine has one, all functions are bound to vfio-pci.

        What drivers they had is in the machine's definition before the first of them is taken off. Says what was done.

        Raises:
            ConflictError: another machine has a card, or the host uses what shares its group.
            ProviderError: a driver does not let go; the cards are back as they were then.
        """
        with cards_lock(local=self.local):
            changed = self._prepare(machine)
        return f"bound {', '.join(changed)} to {binding.VFIO}" if changed else f"bound to {binding.VFIO} already"

    def _prepare(self, machine: Machine) -> list[str]:
        functions = _functions(machine)
        holders = self.holders()
        for card in machine.cards:
            words = f"the {card.name} at {card.functions[0]} of {self.name}"
            check_free(holders, [str(function) for function in card.functions], domain=machine.name, card=words)
        now = binding.drivers_of(self.sysfs, functions)
        before = previous_drivers(holders, functions)
        before |= {address: driver for address, driver in now.items() if driver != binding.VFIO}
        domains.define_machine(self.connect, replace(machine, drivers=_text(before)))
        return binding.bind(self.sysfs, functions)

    def release(self, address: str) -> dict[str, str]:
        """Give a card back to the drivers that it had; the driver of each function then.

        Raises:
            NotFoundError: the host has no such card.
            ConflictError: a running machine has it.
            ProviderError: the kernel refuses, or the driver is no longer there.
        """
        card = find_card(self.cards, address, host=self.name)
        with cards_lock(local=self.local):
            holders = self.holders()
            holder = holder_of(holders, card.functions)
            if holder is not None:
                raise ConflictError(
                    f"the {card.card.name} at {card.address} of {self.name} is in use",
                    evidence=f"{holder.words} has it",
                    next_step=f"ai-how vm stop {holder.mark['node']}"
                    if "node" in holder.mark
                    else f"virsh shutdown {holder.domain}",
                )
            return binding.release(self.sysfs, card.functions, previous=previous_drivers(holders, card.functions))

    def recorded(self, domain: str) -> dict[str, str]:
        """The drivers that a machine's cards had before it got them, by function, as its definition records them."""
        return next((one.previous for one in self.holders() if one.domain == domain and "node" in one.mark), {})

    def give_back(self, domain: str, *, noted: Mapping[str, str] | None = None, keep: Collection[str] = ()) -> str:
        """Give a machine's cards back to the drivers that are recorded of them; says what was done, empty: nothing.

        What a running machine has stays with it, what the host has already is left alone, and so is what nothing is
        recorded of: it may have been kept for guests before we came.

        Args:
            domain: libvirt's name of the machine. It is off, or gone.
            noted: The drivers as they were noted elsewhere, for a machine whose definition is gone.
            keep: Functions that the machine goes on having.

        Raises:
            ProviderError: the kernel refuses a step.
        """
        previous = {**(noted or {}), **self.recorded(domain)}
        if not previous:
            return ""
        with cards_lock(local=self.local):
            taken = {function for one in self.holders() if one.running for function in one.functions}
            left = sorted(previous.keys() - taken - set(keep))
            return "; ".join([self._give_back(address, previous) for address in left])

    def _give_back(self, address: str, previous: Mapping[str, str]) -> str:
        if self.sysfs.text(f"{DEVICES}/{address}/vendor") is None:
            return f"{address} is no longer on the host"
        try:
            driver = binding.release(self.sysfs, [address], previous=previous)[address]
        except binding.NotTakenBackError as error:
            # nothing is left that we hold
            return error.brief
        return f"{address} is back at {driver or 'no driver'}"

    def verify_reset(self, machine: Machine) -> str:
        """See that a stopped machine's cards answer again; says what was seen."""
        return verify_reset(self.sysfs, _functions(machine))

    def check_seen(self, target: SshTarget, machine: Machine) -> str:
        """See that a machine that runs has its cards on its bus; empty where it has none.

        Raises:
            ProviderError: one is missing.
        """
        if not machine.cards:
            return ""
        ids = [find_card(self.cards, str(card.functions[0]), host=self.name).ids[0] for card in machine.cards]
        return check_cards_seen(target, machine.node, ids)


def _functions(machine: Machine) -> Sequence[str]:
    return [str(function) for card in machine.cards for function in card.functions]


def _text(drivers: Mapping[str, str]) -> str:
    return json.dumps(dict(drivers), sort_keys=True, separators=(",", ":"))
