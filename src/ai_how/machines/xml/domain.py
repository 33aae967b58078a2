"""A machine as libvirt's domain XML: q35, virtio, a serial log instead of a display.

Source: libvirt's domain format (formatdomain) and its schema domain.rng.
"""

from __future__ import annotations

from string import ascii_lowercase
from xml.etree import ElementTree as ET

from ai_how.machines.marks import DRIVERS_URI, METADATA_URI
from ai_how.machines.types import Card, Firmware, Machine, Nic, PciAddress, Virtualization
from ai_how.machines.xml.tree import add, to_text

_FIRST_CARD_PORT = 8
"""Index of the first root port that is kept for cards, above those that libvirt makes for the other devices."""


def domain_xml(machine: Machine) -> str:
    """The domain that is defined for a machine."""
    kvm = machine.virtualization is Virtualization.KVM
    root = ET.Element("domain", {"type": "kvm" if kvm else "qemu"})
    add(root, "name", machine.name)
    add(root, "uuid", machine.uuid)
    add(root, "title", f"{machine.node} of cluster {machine.cluster}")
    _metadata(root, machine)
    _memory(root, machine)
    _processors(root, machine)
    _boot(root, machine)
    _features(root, machine)
    _clock(root, machine)
    add(root, "on_poweroff", "destroy")
    add(root, "on_reboot", "restart")
    add(root, "on_crash", "destroy")
    _devices(root, machine)
    return to_text(root)


def _metadata(root: ET.Element, machine: Machine) -> None:
    ET.register_namespace("ai-how", METADATA_URI)
    metadata = add(root, "metadata")
    ET.SubElement(metadata, f"{{{METADATA_URI}}}machine").text = machine.mark
    if machine.drivers:
        ET.register_namespace("ai-how-drivers", DRIVERS_URI)
        ET.SubElement(metadata, f"{{{DRIVERS_URI}}}drivers").text = machine.drivers


def _memory(root: ET.Element, machine: Machine) -> None:
    add(root, "memory", machine.memory.size_mib, unit="MiB")
    if machine.memory.hugepage_kib or machine.cards:
        backing = add(root, "memoryBacking")
        if machine.memory.hugepage_kib:
            add(add(backing, "hugepages"), "page", size=machine.memory.hugepage_kib, unit="KiB")
        if machine.cards:
            # the card writes to the guest's memory by itself: all of it stays where it is
            add(backing, "locked")
    if machine.memory.host_numa_node is not None:
        add(add(root, "numatune"), "memory", mode="strict", nodeset=machine.memory.host_numa_node)


def _processors(root: ET.Element, machine: Machine) -> None:
    add(root, "vcpu", machine.cpu.count, placement="static")
    if machine.cpu.pins or machine.cpu.emulator_pin:
        tune = add(root, "cputune")
        for number, cpus in enumerate(machine.cpu.pins):
            add(tune, "vcpupin", vcpu=number, cpuset=cpus)
        if machine.cpu.emulator_pin:
            add(tune, "emulatorpin", cpuset=machine.cpu.emulator_pin)
    if machine.virtualization is Virtualization.KVM:
        cpu = add(root, "cpu", mode="host-passthrough", check="none", migratable="off")
        add(cpu, "topology", sockets=1, cores=machine.cpu.count, threads=1)
        if machine.cards:
            # firmware and guest map large windows only when they know the host's address width
            add(cpu, "maxphysaddr", mode="passthrough")


def _boot(root: ET.Element, machine: Machine) -> None:
    uefi = machine.firmware is Firmware.UEFI
    system = add(root, "os", firmware="efi" if uefi else None)
    add(system, "type", "hvm", arch="x86_64", machine="q35")
    if uefi:
        firmware = add(system, "firmware")
        add(firmware, "feature", enabled="no", name="secure-boot")
    add(system, "boot", dev="hd")


def _features(root: ET.Element, machine: Machine) -> None:
    features = add(root, "features")
    add(features, "acpi")
    add(features, "apic")
    if any(card.hide_hypervisor for card in machine.cards):
        add(add(features, "kvm"), "hidden", state="on")


def _clock(root: ET.Element, machine: Machine) -> None:
    clock = add(root, "clock", offset="utc")
    add(clock, "timer", name="rtc", tickpolicy="catchup")
    if machine.virtualization is Virtualization.KVM:
        add(clock, "timer", name="pit", tickpolicy="delay")
        add(clock, "timer", name="hpet", present="no")


def _devices(root: ET.Element, machine: Machine) -> None:
    devices = add(root, "devices")
    _disks(devices, machine)
    for nic in machine.nics:
        _nic(devices, nic)
    serial = add(devices, "serial", type_="pty")
    add(serial, "log", file=machine.serial_log, append="off")
    add(serial, "target", port=0)
    add(add(devices, "console", type_="pty"), "target", type_="serial", port=0)
    agent = add(devices, "channel", type_="unix")
    add(agent, "target", type_="virtio", name="org.qemu.guest_agent.0")
    rng = add(devices, "rng", model="virtio")
    add(rng, "backend", "/dev/urandom", model="random")
    add(devices, "video").append(ET.Element("model", {"type": "none"}))
    add(devices, "memballoon", model="none" if machine.cards else "virtio")
    for index, card in enumerate(machine.cards):
        _card(devices, card, port=_FIRST_CARD_PORT + index)


def _disks(devices: ET.Element, machine: Machine) -> None:
    for letter, disk in zip(ascii_lowercase, machine.disks, strict=False):
        element = add(devices, "disk", type_="volume", device="disk")
        add(element, "driver", name="qemu", type_="qcow2", cache="none", io="native", discard="unmap")
        add(element, "source", pool=machine.pool, volume=disk.volume)
        add(element, "target", dev=f"vd{letter}", bus="virtio")
        if disk.serial:
            add(element, "serial", disk.serial)
    seed = add(devices, "disk", type_="volume", device="cdrom")
    add(seed, "driver", name="qemu", type_="raw")
    add(seed, "source", pool=machine.pool, volume=machine.seed)
    add(seed, "target", dev="sda", bus="sata")
    add(seed, "readonly")


def _nic(devices: ET.Element, nic: Nic) -> None:
    interface = add(devices, "interface", type_="bridge" if nic.bridge else "network")
    add(interface, "mac", address=nic.mac)
    add(interface, "source", bridge=nic.bridge or None, network=None if nic.bridge else nic.network)
    add(interface, "model", type_="virtio")


def _card(devices: ET.Element, card: Card, *, port: int) -> None:
    """All functions of a card on one guest slot, behind a root port of its own.

    libvirt would spread them over several ports, and drivers look for the audio function beside the GPU.
    """
    add(devices, "controller", type_="pci", index=port, model="pcie-root-port")
    for function, address in enumerate(card.functions):
        device = add(devices, "hostdev", mode="subsystem", type_="pci", managed="no")
        add(device, "driver", name="vfio")
        _pci(add(device, "source"), address)
        if function == 0 and (card.rom_file or not card.rom_bar):
            add(device, "rom", bar=None if card.rom_bar else "off", file=card.rom_file or None)
        several = len(card.functions) > 1 and function == 0
        guest = PciAddress(bus=port, slot=0, function=function)
        _pci(device, guest, type_="pci", multifunction="on" if several else None)


def _pci(parent: ET.Element, address: PciAddress, **extra: object) -> None:
    add(
        parent,
        "address",
        domain=f"0x{address.domain:04x}",
        bus=f"0x{address.bus:02x}",
        slot=f"0x{address.slot:02x}",
        function=f"0x{address.function:x}",
        **extra,
    )
