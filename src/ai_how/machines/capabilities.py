"""Whether a host's libvirt and QEMU can run what is asked of them: their own word, before anything is defined.

Source: libvirt's domain capabilities (formatdomaincaps).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from ai_how.errors import AiHowError, ProviderError
from ai_how.machines.connection import Connect, explained, unless_unsupported
from ai_how.machines.types import Firmware, Machine, Virtualization
from ai_how.machines.xml.tree import parse

_PACKAGES = {"efi": "apt-get install ovmf"}


def check_capabilities(connect: Connect, machines: Iterable[Machine], *, host: str) -> None:
    """Refuse machines that the host cannot run, as far as its libvirt tells.

    Raises:
        ProviderError: the evidence has one line for each thing that it lacks.
    """
    for kind in Virtualization:
        wanted = [machine for machine in machines if machine.virtualization is kind]
        if not wanted:
            continue
        domain_type = "kvm" if kind is Virtualization.KVM else "qemu"
        try:
            with explained(f"run machines on {host} ({kind})"):
                said = unless_unsupported(connect.getDomainCapabilities, None, "x86_64", "q35", domain_type, 0)
        except AiHowError as error:
            raise ProviderError(error.brief, evidence=error.evidence, next_step="ai-how doctor") from error
        lacks = sorted(set(missing(said, wanted))) if said is not None else []
        if lacks:
            efi = any("UEFI" in line for line in lacks)
            raise ProviderError(
                f"{host} cannot run this site's machines",
                evidence="\n".join(lacks),
                next_step=f"on {host}: {_PACKAGES['efi']}" if efi else "ai-how doctor",
            )


def missing(capabilities: str, machines: Iterable[Machine]) -> Iterator[str]:
    """What of the machines is not in libvirt's domain capabilities, one line a lack. Pure."""
    root = parse(capabilities)
    most = root.find("vcpu")
    for machine in machines:
        if most is not None and machine.cpu.count > int(most.get("max", "0")):
            yield f"{machine.node}: {machine.cpu.count} vCPUs, at most {most.get('max')} in one machine"
        if machine.firmware is Firmware.UEFI and "efi" not in _values(root, "os", "firmware"):
            yield f"{machine.node}: no UEFI firmware for guests"
        if machine.cards and "pci" not in _values(root, "devices/hostdev", "subsysType"):
            yield f"{machine.node}: no PCI devices can be passed through"
        if machine.virtualization is Virtualization.KVM and not _supported(root, "cpu/mode[@name='host-passthrough']"):
            yield f"{machine.node}: the processor cannot be passed through to guests"
    for bus in ("virtio", "sata"):
        if bus not in _values(root, "devices/disk", "bus"):
            yield f"no disks on the bus {bus}"
    if not _supported(root, "devices/rng"):
        yield "no random number generator for guests"


def _values(root: ET.Element, place: str, name: str) -> set[str]:
    found = root.find(place)
    if found is None or found.get("supported") != "yes":
        return set()
    return {value.text or "" for value in found.iterfind(f"enum[@name='{name}']/value")}


def _supported(root: ET.Element, place: str) -> bool:
    found = root.find(place)
    return found is not None and found.get("supported") == "yes"
