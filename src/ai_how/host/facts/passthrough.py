"""All facts about giving this machine's GPUs to virtual machines, read in one go. The doctor's entry to them."""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.host.facts.gpu_users import GpuUsers, observe_users
from ai_how.host.facts.gpus import NVIDIA, Gpu, collect_gpus
from ai_how.host.facts.iommu import IommuFacts, observe_iommu
from ai_how.host.facts.nvidia_smi import SmiFacts, observe_nvidia_smi
from ai_how.host.facts.pci import PciDevice, observe_pci
from ai_how.host.facts.pci_ids import lookup, read_database
from ai_how.host.facts.vfio import ModuleState, observe_modules
from ai_how.host.root import Root


@dataclass(frozen=True, kw_only=True)
class PassthroughFacts:
    """``driver_version`` is that of the NVIDIA driver in the kernel, empty where none is loaded.

    ``bus`` is False where there is no PCI bus to be read; ``named`` where no pci.ids database was found; ``partial`` is
    True where programs of other users were not visible.
    """

    devices: tuple[PciDevice, ...]
    gpus: tuple[Gpu, ...]
    iommu: IommuFacts
    modules: dict[str, ModuleState]
    smi: SmiFacts
    driver_version: str = ""
    bus: bool = True
    named: bool = True
    partial: bool = False

    @property
    def nvidia(self) -> tuple[Gpu, ...]:
        return tuple(gpu for gpu in self.gpus if gpu.supported)

    @property
    def countable(self) -> tuple[Gpu, ...] | None:
        """The NVIDIA GPUs; None where it cannot be told whether there are any."""
        return self.nvidia if self.bus else None

    def device(self, address: str) -> PciDevice | None:
        return next((device for device in self.devices if device.address == address), None)


def observe_passthrough(root: Root, *, smi: SmiFacts | None = None) -> PassthroughFacts:
    """Read devices, IOMMU, GPUs, drivers and users.

    Args:
        smi: What the driver says, where it is known already; else nvidia-smi is asked, on the live machine only.
    """
    devices = observe_pci(root)
    iommu = observe_iommu(root, devices)
    displays = [device for device in devices if device.is_display]
    if smi is None:
        asked = root.live and any(device.vendor == NVIDIA for device in displays)
        smi = observe_nvidia_smi() if asked else SmiFacts()
    # a capture seldom has the database; that of this machine names the same ids
    database = (read_database(root) or read_database(Root())) if displays else None
    wanted = {(d.vendor, d.device) for d in displays if d.vendor is not None and d.device is not None}
    users = observe_users(root, iommu.groups) if displays else GpuUsers(programs={}, displays={})
    return PassthroughFacts(
        devices=devices,
        gpus=collect_gpus(devices, smi=smi, names=lookup(database, wanted) if database else {}, users=users),
        iommu=iommu,
        modules=observe_modules(root),
        smi=smi,
        driver_version=root.text("sys/module/nvidia/version") or smi.driver_version,
        bus=root.exists("sys/bus/pci/devices"),
        named=database is not None or not displays,
        partial=users.partial,
    )
