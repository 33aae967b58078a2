"""Snapshots of machines: kept inside their own disks, so that they go with them. Taken, listed, gone back to, deleted.

libvirt 9 keeps memory in a snapshot only for machines that boot by BIOS, and goes back only to snapshots inside the
disk. So a running BIOS machine is kept with its memory; any other one must be off, and its disks are kept.
Source: libvirt's snapshot documentation (formatsnapshot, snapshots.html), and its answers in version 9.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ai_how.errors import ConflictError, NotFoundError, SpecError
from ai_how.machines.connection import explained
from ai_how.machines.standing import Standing
from ai_how.machines.types import Firmware
from ai_how.machines.xml.snapshot import described, snapshot_xml

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One snapshot. ``with_memory``: going back gives a running machine; ``taken_at_s`` is Unix time."""

    name: str
    taken_at_s: int
    with_memory: bool
    current: bool


def list_snapshots(machine: Standing) -> list[Snapshot]:
    """A machine's snapshots, oldest first."""
    with explained(f"list the snapshots of {machine.node}"):
        domain = machine.connect.lookupByName(machine.name)
        found = [_snapshot(one) for one in domain.listAllSnapshots(0)]
    return sorted(found, key=lambda one: (one.taken_at_s, one.name))


def take_snapshot(machine: Standing, name: str) -> Snapshot:
    """Keep a machine as it is now; a running one pauses while its memory is written.

    Raises:
        SpecError: the name cannot be one.
        ConflictError: the name is taken, or the machine must be off for it.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} cannot be a snapshot's name", next_step="use up to 63 letters, digits, dots, dashes and _"
        )
    _refuse_memory(machine)
    with explained(f"take a snapshot of {machine.node}"):
        domain = machine.connect.lookupByName(machine.name)
        if any(one.getName() == name for one in domain.listAllSnapshots(0)):
            raise ConflictError(
                f"{machine.node} has a snapshot {name} already",
                next_step=f"give it another name, or: ai-how vm snapshot {machine.node} --delete {name}",
            )
        return _snapshot(domain.snapshotCreateXML(snapshot_xml(name), 0))


def roll_back(machine: Standing, name: str | None) -> Snapshot:
    """Put a machine back to a snapshot, the newest where no name is given; what it did since is lost.

    Raises:
        NotFoundError: there is no such snapshot.
        ProviderError: libvirt could not; its words are the evidence.
    """
    wanted = find_snapshot(machine, name)
    with explained(f"put {machine.node} back to snapshot {wanted.name}"):
        domain = machine.connect.lookupByName(machine.name)
        domain.revertToSnapshot(domain.snapshotLookupByName(wanted.name), 0)
    return wanted


def delete_snapshot(machine: Standing, name: str) -> None:
    """Remove a snapshot and give back its place in the disks.

    Raises:
        NotFoundError: there is no such snapshot.
    """
    find_snapshot(machine, name)
    with explained(f"delete snapshot {name} of {machine.node}"):
        machine.connect.lookupByName(machine.name).snapshotLookupByName(name).delete(0)


def find_snapshot(machine: Standing, name: str | None) -> Snapshot:
    """The snapshot of that name; None: the newest.

    Raises:
        NotFoundError: there is none.
    """
    found = list_snapshots(machine)
    if not found:
        raise NotFoundError(f"{machine.node} has no snapshot", next_step=f"ai-how vm snapshot {machine.node}")
    wanted = found[-1] if name is None else next((one for one in found if one.name == name), None)
    if wanted is None:
        raise NotFoundError(
            f"{machine.node} has no snapshot {name!r}",
            evidence="it has: " + ", ".join(one.name for one in found),
            next_step=f"ai-how vm snapshot {machine.node} --list",
        )
    return wanted


def _refuse_memory(machine: Standing) -> None:
    if machine.found.state == "off":
        return
    uefi = machine.made_with.get("firmware") == Firmware.UEFI
    if not uefi and not machine.made_with.get("cards"):
        return
    why = "it boots by UEFI" if uefi else "it has a GPU, whose memory cannot be kept"
    raise ConflictError(
        f"{machine.node} must be off for a snapshot",
        evidence=f"{why}: libvirt can keep its disks, not its memory",
        next_step=f"ai-how vm stop {machine.node}, then: ai-how vm snapshot {machine.node}",
    )


def _snapshot(found: Any) -> Snapshot:
    taken_at_s, with_memory = described(found.getXMLDesc(0))
    return Snapshot(
        name=found.getName(), taken_at_s=taken_at_s, with_memory=with_memory, current=bool(found.isCurrent())
    )
