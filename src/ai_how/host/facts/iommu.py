"""The IOMMU of a machine: what firmware announces, what the kernel made of it, which devices share a group.

Owns reading. ``checks.iommu`` judges. Root would add the firmware tables' content, which nothing here needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ai_how.host.facts.pci import PciDevice
from ai_how.host.root import Root

_TABLES = {"DMAR": "Intel VT-d", "IVRS": "AMD-Vi", "IORT": "Arm SMMU"}
# words of the kernel's command line that concern devices for guests
_WORDS = ("intel_iommu", "amd_iommu", "iommu", "iommu.passthrough", "arm-smmu.disable_bypass", "intremap",
          "pcie_acs_override", "vfio-pci.ids", "vfio_pci.ids", "pci")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class IommuFacts:
    """``table`` is the firmware table that announces an IOMMU (DMAR, IVRS, IORT): empty where there is none, None where
    firmware's tables cannot be listed. ``units`` are the IOMMUs that the kernel drives. ``groups`` has the addresses of
    each group's devices. ``options`` are the kernel's own words. ``remapping`` tells of interrupts; None: unknown.
    """

    architecture: str | None = None
    vendor: str | None = None
    table: str | None = None
    units: tuple[str, ...] = ()
    groups: dict[str, tuple[str, ...]]
    options: tuple[str, ...] = ()
    remapping: bool | None = None

    @property
    def works(self) -> bool:
        return bool(self.groups)

    @property
    def override(self) -> str:
        """The ``pcie_acs_override`` word, or empty."""
        return next((word for word in self.options if word.startswith("pcie_acs_override")), "")

    @property
    def technology(self) -> str:
        """``Intel VT-d``, ``AMD-Vi``, ``Arm SMMU`` or ``IOMMU``."""
        return _TABLES.get(self.table or "", "IOMMU")


def observe_iommu(root: Root, devices: Iterable[PciDevice]) -> IommuFacts:
    """Read what is known about the IOMMU; groups come from the devices' own links."""
    groups: dict[str, list[str]] = defaultdict(list)
    for device in devices:
        if device.iommu_group is not None:
            groups[device.iommu_group].append(device.address)
    vendor, architecture = _processor(root)
    return IommuFacts(
        architecture=architecture,
        vendor=vendor,
        table=_table(root),
        units=tuple(root.names("sys/class/iommu")),
        groups={name: tuple(addresses) for name, addresses in sorted(groups.items())},
        options=_options(root.text("proc/cmdline")),
        remapping=parse_remapping(root.text("proc/interrupts")),
    )


def _table(root: Root) -> str | None:
    names = root.names("sys/firmware/acpi/tables")
    if not names:
        return None
    return next((name for name in _TABLES if name in names), "")


def _options(text: str | None) -> tuple[str, ...]:
    words = (text or "").split()
    return tuple(word for word in words if word.partition("=")[0] in _WORDS)


def _processor(root: Root) -> tuple[str | None, str | None]:
    """(vendor, architecture) as /proc/cpuinfo tells: Arm's has no vendor line, but an implementer."""
    for line in (root.text("proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "vendor_id":
            return value.strip(), "x86_64"
        if name.strip() == "CPU implementer":
            return value.strip(), "aarch64"
    return None, None


def parse_remapping(text: str | None) -> bool | None:
    """Whether interrupts are remapped, from /proc/interrupts: x86 names the controllers IR-..., Arm has its ITS."""
    if not text:
        return None
    words = {word for line in text.splitlines() for word in line.split()}
    if any(word.startswith(("IR-", "ITS-")) for word in words):
        return True
    return False if any(word.startswith(("PCI-MSI", "IO-APIC")) for word in words) else None
