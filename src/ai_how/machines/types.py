"""What is made on a libvirt host: networks, disks, machines, cards. Pure data, in libvirt's terms and sizes.

Sizes are what QEMU gets: MiB of memory, bytes of disk. ``layout`` makes these from the site's clusters and their
placement; ``xml`` renders them; ``observe`` reads them back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Virtualization(StrEnum):
    """How a guest's instructions run: by the processor (needs a KVM that boots guests), or by QEMU's translator."""

    KVM = "kvm"
    EMULATED = "emulated"


class Firmware(StrEnum):
    """UEFI machines cannot take internal snapshots with memory."""

    BIOS = "bios"
    UEFI = "uefi"


@dataclass(frozen=True, order=True, kw_only=True)
class PciAddress:
    """A function on the PCI bus; as text ``0000:65:00.1``."""

    domain: int = 0
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``0000:65:00.1`` or ``65:00.1``, hex.

        Raises:
            ValueError: it is no PCI address.
        """
        match = re.fullmatch(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])", text.lower())
        if match is None:
            raise ValueError(f"{text!r} is no PCI address such as 0000:65:00.0")
        domain, bus, slot, function = (int(part or "0", 16) for part in match.groups())
        return cls(domain=domain, bus=bus, slot=slot, function=function)

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"


@dataclass(frozen=True, kw_only=True)
class Card:
    """A GPU with all its functions (audio, USB, UCSI): they go to one guest slot, in this order.

    ``rom_file`` is a ROM image on the host, for cards whose own cannot be read; ``rom_bar`` False hides the ROM.
    ``hide_hypervisor`` hides KVM from the machine that has the card.
    """

    name: str
    functions: tuple[PciAddress, ...]
    memory_gib: float = 0
    rom_file: str = ""
    rom_bar: bool = True
    hide_hypervisor: bool = False


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A qcow2 volume of a pool. ``backing`` is the volume that it lies over, in the same pool; empty: none."""

    volume: str
    size_bytes: int
    backing: str = ""
    serial: str = ""


@dataclass(frozen=True, kw_only=True)
class Nic:
    """An interface on a network (by its libvirt name) or on a bridge of the host; ``address`` is IPv4."""

    network: str
    mac: str
    address: str
    bridge: str = ""


class NetworkMode(StrEnum):
    """How a network reaches the world. ``bridge`` uses one that the host has; nothing is made for it."""

    NAT = "nat"
    ROUTED = "routed"
    ISOLATED = "isolated"
    BRIDGE = "bridge"


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """One host entry of a network's DHCP and DNS."""

    name: str
    mac: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Network:
    """A libvirt network. ``subnet`` in CIDR form, the host has its first address; ``bridge`` up to 15 characters."""

    name: str
    uuid: str
    mode: NetworkMode
    bridge: str
    subnet: str
    domain: str
    reservations: tuple[Reservation, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """Processors of a machine. ``pins`` has one set of host CPUs a vCPU (``4-7,12``); empty: not pinned."""

    count: int
    pins: tuple[str, ...] = ()
    emulator_pin: str = ""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of a machine. ``hugepage_kib`` 0: ordinary pages. ``host_numa_node`` None: anywhere."""

    size_mib: int
    hugepage_kib: int = 0
    host_numa_node: int | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A libvirt domain. ``name`` and ``uuid`` are the domain's; ``node`` and ``cluster`` those of the site file.

    ``disks`` become vda, vdb, ... in order; ``seed`` is the volume with cloud-init's data. ``serial_log`` is a file on
    the host. ``mark`` is plain JSON without secrets, kept in the domain's metadata: whose it is, made with what.
    ``drivers`` is JSON too, kept beside it: the driver that each function of the cards had on the host.
    """

    name: str
    uuid: str
    cluster: str
    node: str
    virtualization: Virtualization
    firmware: Firmware
    cpu: Cpu
    memory: Memory
    pool: str
    disks: tuple[Disk, ...]
    seed: str
    nics: tuple[Nic, ...]
    serial_log: str
    mark: str
    cards: tuple[Card, ...] = ()
    drivers: str = ""
    autostart: bool = False
