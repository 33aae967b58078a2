"""The PCI devices of a host as libvirt describes them: for a host whose files cannot be read from here.

Less than the host's own files tell: neither programs nor screens that use a card, nor resets, nor memory windows.
Source: libvirt's node device format (formatnode).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from xml.etree import ElementTree as ET

from ai_how.host.facts.gpu_users import GpuUsers
from ai_how.host.facts.gpus import collect_gpus
from ai_how.host.facts.iommu import IommuFacts
from ai_how.host.facts.nvidia_smi import SmiFacts
from ai_how.host.facts.passthrough import PassthroughFacts
from ai_how.host.facts.pci import PciDevice
from ai_how.machines.connection import Connect, explained
from ai_how.machines.library import load_libvirt
from ai_how.machines.types import PciAddress
from ai_how.machines.xml.tree import parse


def observe_node_devices(connect: Connect, *, boot_vga: Callable[[str], bool | None]) -> PassthroughFacts:
    """Ask libvirt for the host's PCI devices.

    Args:
        boot_vga: Told an address: whether that is the firmware's first display; None: not known.

    Raises:
        ProviderError: libvirt does not say.
    """
    libvirt = load_libvirt()
    with explained("list the host's PCI devices"):
        found = connect.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV)
        texts = [device.XMLDesc(0) for device in found]
    return facts_of(texts, boot_vga=boot_vga)


def facts_of(texts: Iterable[str], *, boot_vga: Callable[[str], bool | None]) -> PassthroughFacts:
    """Facts from the devices' XML. Pure where ``boot_vga`` is."""
    roots = {root.findtext("name", ""): root for root in map(parse, texts)}
    devices = tuple(sorted(_devices(roots, boot_vga), key=lambda device: device.address))
    groups: dict[str, list[str]] = defaultdict(list)
    for device in devices:
        if device.iommu_group is not None:
            groups[device.iommu_group].append(device.address)
    smi = SmiFacts()
    names = {(d.vendor or 0, d.device or 0): _name(roots, d.address) for d in devices if d.is_display}
    return PassthroughFacts(
        devices=devices,
        gpus=collect_gpus(devices, smi=smi, names=names, users=GpuUsers(programs={}, displays={})),
        iommu=IommuFacts(groups={name: tuple(members) for name, members in groups.items()}),
        modules={},
        smi=smi,
    )


def _devices(roots: dict[str, ET.Element], boot_vga: Callable[[str], bool | None]) -> Iterable[PciDevice]:
    for root in roots.values():
        about = root.find("capability[@type='pci']")
        if about is None:
            continue
        address = _address(about)
        code = _number(about.findtext("class"))
        group = about.find("iommuGroup")
        numa = about.find("numa")
        yield PciDevice(
            address=address,
            vendor=_id(about, "vendor"),
            device=_id(about, "product"),
            class_code=code,
            driver=root.findtext("driver/name", ""),
            iommu_group=group.get("number") if group is not None else None,
            numa_node=_number(numa.get("node")) if numa is not None else None,
            boot_vga=boot_vga(address) if code is not None and code >> 8 == 0x0300 else None,
            parents=tuple(_parents(roots, root)),
            is_virtual_function=about.find("capability[@type='phys_function']") is not None,
        )


def _address(about: ET.Element) -> str:
    parts = {key: _number(about.findtext(key)) or 0 for key in ("domain", "bus", "slot", "function")}
    return str(PciAddress(**parts))


def _parents(roots: dict[str, ET.Element], root: ET.Element) -> list[str]:
    above: list[str] = []
    seen = set[str]()
    name = root.findtext("parent", "")
    while name in roots and name not in seen:
        seen.add(name)
        about = roots[name].find("capability[@type='pci']")
        if about is not None:
            above.insert(0, _address(about))
        name = roots[name].findtext("parent", "")
    return above


def _name(roots: dict[str, ET.Element], address: str) -> str:
    """Maker and product as libvirt found them in the host's own pci.ids database; empty where it did not."""
    for root in roots.values():
        about = root.find("capability[@type='pci']")
        if about is not None and _address(about) == address and about.findtext("product"):
            return f"{about.findtext('vendor', '')} {about.findtext('product', '')}".strip()
    return ""


def _id(about: ET.Element, tag: str) -> int | None:
    element = about.find(tag)
    return None if element is None else _number(element.get("id"))


def _number(text: str | None) -> int | None:
    try:
        return int(text, 0) if text else None
    except ValueError:
        return None
