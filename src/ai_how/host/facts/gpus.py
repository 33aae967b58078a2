"""The GPUs of a machine: each with its name, memory, compute capability and power limit, and where these come from.

The driver's word counts most, then the catalogue's entry for the PCI id, then the pci.ids database's name. Owns putting
them together; ``checks.gpus`` judges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ai_how.accelerators.catalogue import Accelerator, by_name, by_pci_id
from ai_how.host.facts.gpu_users import GpuUsers, User
from ai_how.host.facts.nvidia_smi import SmiFacts, SmiGpu
from ai_how.host.facts.pci import PciDevice

NVIDIA = 0x10DE
_MAKERS = {0x10DE: "NVIDIA", 0x1002: "AMD", 0x8086: "Intel"}


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One display controller. ``functions`` are the other functions of its slot (audio, USB, UCSI).

    ``memory_gib`` is what the card has by the catalogue, else what the driver offers; ``sources`` say where the figures
    come from. ``users`` is None where programs could not be looked at.
    """

    device: PciDevice
    name: str
    sources: tuple[str, ...] = ()
    memory_gib: float | None = None
    compute_capability: tuple[int, int] | None = None
    power_limit_w: int | None = None
    smi: SmiGpu | None = None
    functions: tuple[PciDevice, ...] = ()
    users: tuple[User, ...] | None = None
    displays: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        return self.device.address

    @property
    def supported(self) -> bool:
        """Whether models can be served on it: NVIDIA's only."""
        return self.device.vendor == NVIDIA


def collect_gpus(
    devices: Iterable[PciDevice], *, smi: SmiFacts, names: dict[tuple[int, int], str], users: GpuUsers
) -> tuple[Gpu, ...]:
    """The display controllers among the devices, ordered by address; virtual functions are left out."""
    all_devices = tuple(devices)
    spoken = {gpu.address: gpu for gpu in smi.gpus}
    return tuple(
        _gpu(device, all_devices, smi=spoken.get(device.address), names=names, users=users)
        for device in all_devices
        if device.is_display and not device.is_virtual_function
    )


def _gpu(
    device: PciDevice,
    devices: tuple[PciDevice, ...],
    *,
    smi: SmiGpu | None,
    names: dict[tuple[int, int], str],
    users: GpuUsers,
) -> Gpu:
    known = _accelerator(device, smi=smi, names=names)
    name, name_source = _name(device, known, smi=smi, names=names)
    memory = known.memory_gib if known else None
    if memory is None and smi and smi.memory_mib is not None:
        memory = smi.memory_mib / 1024
    power = smi.power_limit_w if smi and smi.power_limit_w is not None else (known.power_limit_w if known else None)
    sources = [name_source, "nvidia-smi" if smi else "", "catalogue" if known else ""]
    return Gpu(
        device=device,
        name=name,
        sources=tuple(dict.fromkeys(filter(None, sources))),
        memory_gib=memory,
        compute_capability=(smi.compute_capability if smi else None) or (known.compute_capability if known else None),
        power_limit_w=None if power is None else round(power),
        smi=smi,
        functions=tuple(other for other in devices if other.slot == device.slot and other != device),
        users=users.programs.get(device.address, ()) if users.seen else None,
        displays=users.displays.get(device.address, ()),
    )


def _accelerator(device: PciDevice, *, smi: SmiGpu | None, names: dict[tuple[int, int], str]) -> Accelerator | None:
    """The catalogue's entry: by the PCI id, else by the driver's name, else by that in the database's brackets."""
    if device.vendor != NVIDIA or device.device is None:
        return None
    bracketed = re.search(r"\[(.+)\]", names.get((NVIDIA, device.device), ""))
    spellings = [smi.name if smi else "", bracketed[1] if bracketed else ""]
    named = (by_name(spelling) for spelling in spellings if spelling)
    return by_pci_id(f"{device.device:04x}") or next(filter(None, named), None)


def _name(
    device: PciDevice, known: Accelerator | None, *, smi: SmiGpu | None, names: dict[tuple[int, int], str]
) -> tuple[str, str]:
    """(name, source): the driver's, the catalogue's, the database's, else the maker and the id."""
    if smi and smi.name:
        return smi.name, "nvidia-smi"
    if known:
        return known.name, "catalogue"
    if device.vendor is not None and device.device is not None:
        named = names.get((device.vendor, device.device))
        if named:
            return named, "pci.ids"
    return f"{_MAKERS.get(device.vendor or 0, 'unknown')} {device.id_text}", ""
