"""Machines on a libvirt host: defined, started, stopped, asked, removed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from xml.etree import ElementTree as ET

from ai_how.errors import ConflictError, NotFoundError
from ai_how.machines.connection import Connect, explained, optional
from ai_how.machines.library import load_libvirt
from ai_how.machines.marks import DRIVERS_URI, METADATA_URI
from ai_how.machines.types import Machine
from ai_how.machines.xml.domain import domain_xml
from ai_how.machines.xml.tree import parse, to_text

Domain = Any
"""libvirt.virDomain"""
_POLL_S = 0.25
# A daemon sets up the types that its schemas name at the first validation, and libxml2 2.9 does so without a lock: of
# two first ones at once one fails. So ours come one after another; those of another program can only be tried again.
_validating = threading.Lock()
_TYPES_NOT_SET_UP = "is not exported by type library"
_VALIDATION_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Found:
    """A machine of ours on a host. ``state`` is libvirt's word; ``mark`` what we wrote when it was made.

    ``run`` names this run of it and no other, empty where it is off; ``ports`` are its places on libvirt's networks.
    """

    name: str
    state: str
    mark: dict[str, Any]
    reason: str = ""
    run: str = ""
    ports: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        return self.state == "running"


def define_machine(connect: Connect, machine: Machine) -> None:
    """Define a machine, or give one of ours new settings, which count from its next start.

    The XML is validated against libvirt's own schema first. What the old definition records of its cards' drivers is
    kept, unless the machine brings a record of its own.

    Raises:
        ConflictError: a machine of that name is not ours.
    """
    libvirt = load_libvirt()
    with explained(f"define machine {machine.name}"):
        found = optional(connect.lookupByName, machine.name)
        if found is not None and found.UUIDString() != machine.uuid:
            raise ConflictError(
                f"a machine {machine.name} is there already, and it is not this site's",
                next_step=f"give the site another name, or remove it: virsh undefine {machine.name}",
            )
        if found is not None and machine.cards and not machine.drivers:
            record = optional(found.metadata, libvirt.VIR_DOMAIN_METADATA_ELEMENT, DRIVERS_URI)
            machine = replace(machine, drivers=(parse(record).text or "") if record else "")
        _define_validated(connect, domain_xml(machine))
        set_autostart(connect, machine)


def _define_validated(connect: Connect, xml: str) -> None:
    libvirt = load_libvirt()
    for tries_left in reversed(range(_VALIDATION_TRIES)):
        try:
            with _validating:
                connect.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except libvirt.libvirtError as error:
            if not tries_left or _TYPES_NOT_SET_UP not in str(error):
                raise
            time.sleep(_POLL_S)
        else:
            return


def set_autostart(connect: Connect, machine: Machine) -> None:
    """Have it started with its host, or not, as the site file says."""
    with explained(f"define machine {machine.name}"):
        domain, wanted = _domain(connect, machine.name), int(machine.autostart)
        if domain.autostart() != wanted:
            domain.setAutostart(wanted)


def start_machine(connect: Connect, name: str) -> None:
    """Start a machine that is off; wake one that is paused or asleep."""
    libvirt = load_libvirt()
    with explained(f"start machine {name}", next_step="ai-how status"):
        domain = _domain(connect, name)
        state, _ = domain.state(0)
        if state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()
        elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
            domain.pMWakeup(0)
        elif not domain.isActive():
            domain.create()


def end_machine(connect: Connect, name: str) -> None:
    """End a machine at once, as pulling the plug does."""
    with explained(f"end machine {name}"):
        domain = _domain(connect, name)
        if domain.isActive():
            domain.destroy()


def reconnect_machine(connect: Connect, name: str, live: frozenset[str] | None) -> bool:
    """Put a running machine's interfaces on their networks again where the network was made anew under it.

    libvirt changes the bridge of a live interface only where its source changes: so it is put on the bridge by name,
    and then on the network.

    Args:
        live: The ports that the networks have now; None: not known, and nothing is done.
    """
    libvirt, mended = load_libvirt(), False
    if live is None:
        return False
    with explained(f"connect machine {name} to its network again"):
        domain = _domain(connect, name)
        for interface in parse(domain.XMLDesc(0)).iterfind("devices/interface[@type='network']"):
            source, mac = interface.find("source"), interface.find("mac")
            if source is None or mac is None or source.get("portid") in live:
                continue
            network = str(source.get("network"))
            bridge = connect.networkLookupByName(network).bridgeName()
            for type_, place in (("bridge", {"bridge": bridge}), ("network", {"network": network})):
                moved = ET.Element("interface", {"type": type_})
                moved.append(mac)
                ET.SubElement(moved, "source", place)
                moved.extend(part for part in interface if part.tag in {"model", "address"})
                domain.updateDeviceFlags(to_text(moved), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            mended = True
    return mended


def stop_machine(connect: Connect, name: str, *, timeout_s: float) -> str:
    """Shut a machine down in an orderly way; end it where it does not within the time. Says which it was."""
    libvirt = load_libvirt()
    with explained(f"stop machine {name}"):
        domain = optional(connect.lookupByName, name)
        if domain is None or not domain.isActive():
            return "was off"
        if domain.state(0)[0] == libvirt.VIR_DOMAIN_RUNNING:
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_DEFAULT)
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                if not domain.isActive():
                    return "shut down"
                time.sleep(_POLL_S)
        if domain.isActive():
            domain.destroy()
            return f"ended: it did not shut down within {timeout_s:g} s"
        return "shut down"


def grow_disk(connect: Connect, name: str, device: str, *, size_bytes: int) -> None:
    """Grow a disk of a running machine, named as the guest's device (``vda``); the guest sees it at once."""
    libvirt = load_libvirt()
    with explained(f"grow disk {device} of machine {name}"):
        _domain(connect, name).blockResize(device, size_bytes, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def remove_machine(connect: Connect, name: str, uuid: str, *, when_off: Callable[[], object] = lambda: None) -> bool:
    """End and forget a machine of ours with its firmware variables and snapshots' records; whether there was one.

    Args:
        when_off: Done between both: what must happen while the machine's record is still there. If it fails, the
            machine stays, off.
    """
    libvirt = load_libvirt()
    with explained(f"remove machine {name}"):
        domain = optional(connect.lookupByName, name)
        if domain is None or domain.UUIDString() != uuid:
            return False
        if domain.isActive():
            domain.destroy()
        when_off()
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        )
        return True


def observe_machines(connect: Connect, *, site: str) -> dict[str, Found]:
    """The site's machines on a host by name, known by the mark in their metadata."""
    return {found.name: found for found in observe_all_machines(connect) if found.mark.get("site") == site}


def observe_machine(connect: Connect, name: str) -> Found | None:
    """One machine that bears our mark, or None."""
    with explained(f"look for machine {name}"):
        domain = optional(connect.lookupByName, name)
        return None if domain is None else _found(domain)


def observe_all_machines(connect: Connect) -> list[Found]:
    """The machines on a host that bear our mark, whatever their site, ordered by name."""
    with explained("list the machines"):
        found = [_found(domain) for domain in connect.listAllDomains(0)]
    return sorted((one for one in found if one is not None), key=lambda one: one.name)


def agent_answers(connect: Connect, name: str, *, timeout_s: int = 5) -> bool:
    """Whether the guest agent of a running machine answers."""
    libvirt = load_libvirt()
    with explained(f"look for machine {name}"):
        domain = _domain(connect, name)
    try:
        domain.agentSetResponseTimeout(timeout_s, 0)
        domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME, 0)
    except libvirt.libvirtError:
        return False
    return True


def _domain(connect: Connect, name: str) -> Domain:
    domain = optional(connect.lookupByName, name)
    if domain is None:
        raise NotFoundError(f"there is no machine {name}", next_step="ai-how up")
    return domain


def _found(domain: Domain) -> Found | None:
    libvirt = load_libvirt()
    try:
        text = optional(domain.metadata, libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI)
        if text is None:
            return None
        state, reason = domain.state(0)
        run, ports = _run_of(domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            # it went away between the list and the question
            return None
        raise
    try:
        mark = json.loads(parse(text).text or "")
    except ValueError:
        mark = {}
    return Found(
        name=domain.name(),
        state=_state_words().get(state, "unknown"),
        mark=mark if isinstance(mark, dict) else {},
        reason=_reason_words().get((state, reason), ""),
        run=run,
        ports=ports,
    )


def _run_of(domain: Domain) -> tuple[str, tuple[str, ...]]:
    """This run's name, and its network ports. libvirt counts runs anew after the host's start, but makes ports up."""
    number = domain.ID()
    if number < 0:
        return "", ()
    interfaces = parse(domain.XMLDesc(0)).iterfind("devices/interface[@type='network']/source")
    ports = tuple(filter(None, (source.get("portid") for source in interfaces)))
    return "/".join([str(number), *ports]), ports


def _reason_words() -> dict[tuple[int, int], str]:
    libvirt = load_libvirt()
    killed = "its QEMU process was killed or crashed"
    return {
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): killed,
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): killed,
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): "stands still: writing to its disk failed, "
        "most often because the pool is full",
    }


def _state_words() -> dict[int, str]:
    libvirt = load_libvirt()
    return {
        libvirt.VIR_DOMAIN_RUNNING: "running",
        libvirt.VIR_DOMAIN_BLOCKED: "running",
        libvirt.VIR_DOMAIN_PAUSED: "paused",
        libvirt.VIR_DOMAIN_SHUTDOWN: "stopping",
        libvirt.VIR_DOMAIN_SHUTOFF: "off",
        libvirt.VIR_DOMAIN_CRASHED: "crashed",
        libvirt.VIR_DOMAIN_PMSUSPENDED: "suspended",
    }
