"""Who has a card: what libvirt says of its machines, ours and others'. There is no other record.

A lock keeps two commands on one host from giving out a card at once. It is a file of this machine's; for a remote host
libvirt itself is the judge: it starts no second machine with a PCI device that a running one has.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from ai_how.errors import ConflictError, LockedError
from ai_how.machines.connection import Connect, explained
from ai_how.machines.library import load_libvirt
from ai_how.machines.marks import DRIVERS_URI, METADATA_URI
from ai_how.machines.types import PciAddress
from ai_how.machines.xml.tree import parse

_WAIT_S = 300.0
"""Several machines of one command wait for each other here; a remote binding takes some seconds each."""
_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A virtual machine that names PCI devices of the host. ``mark`` is empty where it is none of ours.

    ``previous`` are the drivers that its cards had before, as recorded before they were taken off.
    """

    domain: str
    uuid: str
    running: bool
    functions: frozenset[str]
    mark: dict[str, Any]
    previous: dict[str, str]

    @property
    def words(self) -> str:
        """``machine cloud-gpu-worker-1 of cluster cloud, site lab``."""
        if "node" not in self.mark:
            return f"virtual machine {self.domain}, which ai-how did not make"
        return f"machine {self.mark['node']} of cluster {self.mark.get('cluster')}, site {self.mark.get('site')}"


def observe_holders(connect: Connect) -> list[Holder]:
    """Every virtual machine on the host that names a PCI device, running ones first, then by name.

    Raises:
        ProviderError: libvirt does not say.
    """
    libvirt = load_libvirt()
    found = []
    with explained("ask which virtual machines have PCI devices"):
        for domain in connect.listAllDomains(0):
            try:
                # a running machine's XML is what it has now, hot-plugged devices included
                holder = _holder(domain.XMLDesc(0), running=bool(domain.isActive()))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                continue
            if holder.functions:
                found.append(holder)
    return sorted(found, key=lambda holder: (not holder.running, holder.domain))


def _holder(text: str, *, running: bool) -> Holder:
    root = parse(text)
    return Holder(
        domain=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        running=running,
        functions=frozenset(_functions(root)),
        mark=_json(root.find(f"metadata/{{{METADATA_URI}}}machine")),
        previous=_drivers(root.find(f"metadata/{{{DRIVERS_URI}}}drivers")),
    )


def _functions(root: ET.Element) -> Iterator[str]:
    for place in ("devices/hostdev[@type='pci']", "devices/interface[@type='hostdev']"):
        for device in root.iterfind(place):
            address = device.find("source/address")
            if address is not None:
                parts = {key: int(address.get(key, "0"), 0) for key in ("domain", "bus", "slot", "function")}
                yield str(PciAddress(**parts))


def _json(element: ET.Element | None) -> dict[str, Any]:
    try:
        found = json.loads(element.text or "") if element is not None else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _drivers(element: ET.Element | None) -> dict[str, str]:
    return {str(address): str(driver) for address, driver in _json(element).items()}


def holder_of(holders: Sequence[Holder], functions: Collection[str]) -> Holder | None:
    """The running machine that has one of the functions."""
    return next((one for one in holders if one.running and one.functions & set(functions)), None)


def check_free(holders: Sequence[Holder], functions: Collection[str], *, domain: str, card: str) -> None:
    """See that no other running machine has a card.

    Args:
        domain: libvirt's name of the machine that wants it.
        card: The card in words, for the error.

    Raises:
        ConflictError: another one has it; the evidence names it.
    """
    holder = holder_of([one for one in holders if one.domain != domain], functions)
    if holder is None:
        return
    cluster = holder.mark.get("cluster")
    raise ConflictError(
        f"{domain} cannot start: {card} is in use",
        evidence=f"{holder.words} has it",
        next_step=f"stop cluster {cluster}, or let them take turns: ai-how switch CLUSTER"
        if cluster
        else f"shut it down: virsh shutdown {holder.domain}",
    )


def previous_drivers(holders: Sequence[Holder], functions: Sequence[str]) -> dict[str, str]:
    """The drivers that functions had before any machine got them, as far as a machine of ours records them."""
    recorded: dict[str, str] = {}
    for holder in holders:
        recorded |= {address: driver for address, driver in holder.previous.items() if address in functions}
    return recorded


@contextlib.contextmanager
def cards_lock(*, local: bool, folder: Path | None = None, wait_s: float = _WAIT_S) -> Iterator[None]:
    """Be the only command of this machine that gives out cards; waits for another one to finish.

    Args:
        local: Whether the host is this machine; for another one there is no lock.

    Raises:
        LockedError: another command held it all the time.
    """
    if not local:
        yield
        return
    handle = _open_lock((folder or _lock_folder()) / "ai-how-cards.lock")
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() >= deadline:
                raise LockedError(
                    "another command is giving out this host's GPUs",
                    evidence=f"it has held the lock for {wait_s:g} s",
                    next_step="wait until it has finished, then run this again",
                )
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(handle)


def _lock_folder() -> Path:
    folder = Path("/run/lock")
    return folder if folder.is_dir() else Path(tempfile.gettempdir())


def _open_lock(path: Path) -> int:
    """A file that every user of the host can lock. One that is there is not created anew: in a folder that all may
    write to, the kernel refuses that for another user's file."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
