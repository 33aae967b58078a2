"""Builds trees as sysfs shows PCI devices: folders below devices/, and links to buses, drivers and IOMMU groups."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from ai_how.host.root import Root

ROOT_PORT, UPSTREAM, DOWNSTREAM = 4, 5, 6
NVIDIA, AMD, INTEL = 0x10DE, 0x1002, 0x8086
A6000, A6000_AUDIO = 0x2230, 0x1AEF
VGA, CONTROLLER_3D, AUDIO, USB, UCSI, BRIDGE, HOST_BRIDGE = (
    0x030000, 0x030200, 0x040300, 0x0C0330, 0x0C8000, 0x060400, 0x060000,
)  # fmt: skip
GIB = 1 << 30
# as the kernel prints them: memory, and memory that is 64-bit and prefetchable
MEMORY, MEMORY_64 = 0x40200, 0x14220C


def config_space(*, port: int = 0, flr: bool = False, acs: int | None = None, length: int = 4096) -> bytes:
    """Configuration space with a PCI Express capability, and access control with these control bits where given."""
    data = bytearray(4096)
    struct.pack_into("<HH", data, 0, NVIDIA, A6000)
    struct.pack_into("<H", data, 0x06, 0x10)
    data[0x34] = 0x60
    struct.pack_into("<BBH", data, 0x60, 0x01, 0x78, 0)  # power management, then PCI Express
    struct.pack_into("<BBHI", data, 0x78, 0x10, 0, port << 4 | 2, (1 << 28) if flr else 0)
    struct.pack_into("<I", data, 0x100, 0x0001 | 1 << 16 | 0x148 << 20)  # error reporting, then the next
    if acs is not None:
        struct.pack_into("<IHH", data, 0x148, 0x000D | 1 << 16, 0x5F, acs)
    return bytes(data[:length])


class PciTree:
    """A machine's tree below ``path``. Methods add to it; ``root`` reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write("usr/share/misc/pci.ids", "10de  NVIDIA Corporation\n\t2230  GA102GL [RTX A6000]\n")

    @property
    def root(self) -> Root:
        return Root(self.path)

    def write(self, relative: str, content: str | bytes) -> None:
        file = self.path / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def link(self, relative: str, target: str) -> None:
        """A relative link from one place in the tree to another."""
        place = self.path / relative
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(self.path / target, place.parent))

    def open_file(self, pid: int, program: str, target: str) -> None:
        """A process that has a device file open."""
        self.write(f"proc/{pid}/comm", f"{program}\n")
        folder = self.path / f"proc/{pid}/fd"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(len(list(folder.iterdir())))).symlink_to(target)

    def device(
        self,
        address: str,
        *,
        class_code: int,
        vendor: int = INTEL,
        device: int = 0x1234,
        below: tuple[str, ...] = (),
        driver: str = "",
        group: str | None = None,
        config: bytes | None = None,
        bars: tuple[tuple[int, int, int], ...] = (),
        files: dict[str, str] | None = None,
    ) -> str:
        """Add one function; ``bars`` are (start, size, flags), ``files`` further attributes. Returns its address."""
        domain = ":".join(((below or (address,))[0]).split(":")[:2])
        home = "/".join((f"sys/devices/pci{domain}", *below, address))
        attributes = {"vendor": f"0x{vendor:04x}", "device": f"0x{device:04x}", "class": f"0x{class_code:06x}"}
        for name, text in {**attributes, "numa_node": "-1", **(files or {})}.items():
            self.write(f"{home}/{name}", text + "\n")
        self.write(f"{home}/config", config_space() if config is None else config)
        if bars:
            lines = [f"0x{start:016x} 0x{start + size - 1:016x} 0x{flags:016x}" for start, size, flags in bars]
            self.write(f"{home}/resource", "\n".join(lines) + "\n")
        self.link(f"sys/bus/pci/devices/{address}", home)
        if driver:
            self.write(f"sys/bus/pci/drivers/{driver}/new_id", "")
            self.link(f"{home}/driver", f"sys/bus/pci/drivers/{driver}")
        if group is not None:
            self.link(f"{home}/iommu_group", f"sys/kernel/iommu_groups/{group}")
            self.link(f"sys/kernel/iommu_groups/{group}/devices/{address}", home)
        return address


GPU_FILES = {"reset_method": "flr bus", "boot_vga": "0", "numa_node": "0", "reset": ""}
GPU_BARS = ((0xFA000000, 16 << 20, MEMORY), (0x38_0000_0000, 64 * GIB, MEMORY_64))


def sound_host(path: Path) -> PciTree:
    """An Intel host whose IOMMU works and whose kernel has VFIO; no GPU yet."""
    tree = PciTree(path)
    tree.write("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx\n")
    tree.write("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on iommu=pt quiet\n")
    tree.write("proc/interrupts", " 120:  0  0  IR-PCI-MSI-0000:65:00.0  0-edge  nvidia\n")
    tree.write("proc/1/comm", "systemd\n")
    tree.write("proc/modules", "vfio_pci 16384 0 - Live 0x0\nvfio_iommu_type1 45056 0 - Live 0x0\n")
    tree.write("sys/firmware/acpi/tables/DMAR", b"DMAR")
    tree.write("sys/class/iommu/dmar0/name", "")
    return tree


def add_gpu(
    tree: PciTree,
    address: str = "0000:65:00.0",
    *,
    port: str = "0000:64:00.0",
    group: str | None = "30",
    port_group: str | None = "29",
    driver: str = "vfio-pci",
    files: dict[str, str] | None = None,
    bars: tuple[tuple[int, int, int], ...] = GPU_BARS,
    acs: int | None = 0x1D,
    companions: tuple[int, ...] = (AUDIO,),
) -> str:
    """An RTX A6000 with its functions below a root port of its own."""
    if not (tree.path / "sys/bus/pci/devices" / port).is_symlink():
        tree.device(
            port,
            class_code=BRIDGE,
            driver="pcieport",
            group=port_group,
            config=config_space(port=ROOT_PORT, acs=acs),
        )
    attributes = {name: text for name, text in {**GPU_FILES, **(files or {})}.items() if text != "absent"}
    tree.device(
        address,
        class_code=VGA,
        vendor=NVIDIA,
        device=A6000,
        below=(port,),
        driver=driver,
        group=group,
        config=config_space(flr=True),
        bars=bars,
        files=attributes,
    )
    for function, class_code in enumerate(companions, start=1):
        tree.device(
            f"{address[:-1]}{function}",
            class_code=class_code,
            vendor=NVIDIA,
            device=A6000_AUDIO,
            below=(port,),
            driver="vfio-pci" if driver == "vfio-pci" else "",
            group=group,
        )
    return address
