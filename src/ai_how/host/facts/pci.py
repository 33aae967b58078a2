"""The PCI devices of a machine, from ``/sys/bus/pci/devices``.

Owns reading sysfs' attributes. Knows nothing about GPUs or isolation; what a file does not tell is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ai_how.host.facts.config_space import UNREADABLE, ConfigSpace, parse_config_space
from ai_how.host.root import Root

DEVICES = "sys/bus/pci/devices"
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_BARS = 6
_FLAG_MEMORY, _FLAG_64_BIT, _FLAG_UNSET = 0x200, 0x100000, 0x20000000
_4_GIB = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One memory window (base address register) of a device. ``start`` is None where it has been given no address.

    ``possible_bytes`` are the sizes that a resizable window may take; empty: it cannot be resized.
    """

    index: int
    size_bytes: int
    start: int | None
    is_64_bit: bool
    possible_bytes: tuple[int, ...] = ()

    @property
    def above_4_gib(self) -> bool:
        return self.start is not None and self.start >= _4_GIB


@dataclass(frozen=True, kw_only=True)
class PciDevice:
    """One function of a PCI device. ``parents`` are the bridges above it, from the root down.

    ``driver`` is empty where none is bound; ``reset_methods`` is None where the kernel (before 5.15) lists none.
    """

    address: str
    vendor: int | None
    device: int | None
    class_code: int | None
    driver: str = ""
    iommu_group: str | None = None
    numa_node: int | None = None
    boot_vga: bool | None = None
    parents: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    reset_methods: tuple[str, ...] | None = None
    resettable: bool | None = None
    virtual_functions: int = 0
    virtual_functions_on: int = 0
    is_virtual_function: bool = False
    config: ConfigSpace = UNREADABLE
    config_denied: bool = False

    @property
    def slot(self) -> str:
        """The address without its function: ``0000:65:00``."""
        return self.address.rpartition(".")[0]

    @property
    def id_text(self) -> str:
        """``10de:2230``, or ``unknown``."""
        if self.vendor is None or self.device is None:
            return "unknown"
        return f"{self.vendor:04x}:{self.device:04x}"

    @property
    def base_class(self) -> int | None:
        return None if self.class_code is None else self.class_code >> 16

    @property
    def is_bridge(self) -> bool:
        """A bridge between buses (class 0604): the group's plumbing, never given to a guest."""
        return self.class_code is not None and self.class_code >> 8 == 0x0604

    @property
    def is_host_bridge(self) -> bool:
        return self.class_code is not None and self.class_code >> 8 == 0x0600

    @property
    def is_display(self) -> bool:
        """A display controller: VGA (0300), 3D (0302), other (0380)."""
        return self.base_class == 0x03


def observe_pci(root: Root) -> tuple[PciDevice, ...]:
    """Every PCI function, by address. Empty where there are none, or sysfs cannot be read."""
    return tuple(_device(root, name) for name in root.names(DEVICES) if _ADDRESS.fullmatch(name))


def _device(root: Root, address: str) -> PciDevice:
    folder = f"{DEVICES}/{address}"
    numa, boot_vga = root.number(f"{folder}/numa_node"), root.number(f"{folder}/boot_vga")
    data = root.data(f"{folder}/config")
    config = parse_config_space(data)
    return PciDevice(
        address=address,
        vendor=_within(root.number(f"{folder}/vendor"), 0xFFFF),
        device=_within(root.number(f"{folder}/device"), 0xFFFF),
        class_code=_within(root.number(f"{folder}/class"), 0xFFFFFF),
        driver=root.link(f"{folder}/driver") or "",
        iommu_group=root.link(f"{folder}/iommu_group"),
        numa_node=numa if numa is not None and numa >= 0 else None,
        boot_vga=None if boot_vga is None else boot_vga == 1,
        parents=_parents(root.target(folder)),
        bars=parse_bars(root.text(f"{folder}/resource"), sizes=_sizes(root, folder)),
        reset_methods=_reset_methods(root, folder),
        # captures seldom have these files: that one is missing tells something in a whole tree only
        resettable=root.exists(f"{folder}/reset") if data is not None else None,
        virtual_functions=max(0, root.number(f"{folder}/sriov_totalvfs") or 0),
        virtual_functions_on=max(0, root.number(f"{folder}/sriov_numvfs") or 0),
        is_virtual_function=root.exists(f"{folder}/physfn"),
        config=config,
        config_denied=data is not None and config == UNREADABLE,
    )


def _within(number: int | None, most: int) -> int | None:
    return number if number is not None and 0 <= number <= most else None


def _parents(target: str | None) -> tuple[str, ...]:
    """``../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0`` has the one parent 0000:00:01.0."""
    parts = (target or "").split("/")[:-1]
    return tuple(part for part in parts if _ADDRESS.fullmatch(part))


def _reset_methods(root: Root, folder: str) -> tuple[str, ...] | None:
    text = root.text(f"{folder}/reset_method")
    return None if text is None else tuple(text.split())


def _sizes(root: Root, folder: str) -> dict[int, tuple[int, ...]]:
    texts = {index: root.text(f"{folder}/resource{index}_resize") for index in range(_BARS)}
    return {index: parse_sizes(text) for index, text in texts.items() if text}


def parse_sizes(text: str) -> tuple[int, ...]:
    """A ``resourceN_resize`` file: bit n of a hex number stands for 2**n MiB. Sizes in bytes, ascending."""
    try:
        bits = int(text, 16)
    except ValueError:
        return ()
    return tuple(1 << (20 + n) for n in range(44) if bits >> n & 1) if bits > 0 else ()


def parse_bars(text: str | None, *, sizes: dict[int, tuple[int, ...]]) -> tuple[Bar, ...]:
    """The memory windows in a ``resource`` file: a line each of first address, last address, flags (hex)."""
    bars = []
    for index, line in enumerate((text or "").splitlines()[:_BARS]):
        try:
            start, end, flags = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        if not flags & _FLAG_MEMORY or end < start or start < 0:
            continue
        placed = start != 0 and not flags & _FLAG_UNSET
        bars.append(
            Bar(
                index=index,
                size_bytes=end - start + 1,
                start=start if placed else None,
                is_64_bit=bool(flags & _FLAG_64_BIT),
                possible_bytes=sizes.get(index, ()),
            )
        )
    return tuple(bars)
