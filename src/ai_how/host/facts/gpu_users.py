"""Who uses a GPU on this host: programs that have its device files open, and displays that are lit.

Owns reading ``/proc/*/fd`` and ``/sys/class/drm``. Without root only our own user's programs can be seen; it is said.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass

from ai_how.host.facts.pci import DEVICES
from ai_how.host.root import Root

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_DEVICE_FILES = re.compile(r"/dev/(?:nvidia[0-9]+|dri/(?:card|renderD)[0-9]+|vfio/(?:devices/vfio)?[0-9]+)")
_VFIO = "/dev/vfio/"


@dataclass(frozen=True, kw_only=True)
class User:
    """A program with a GPU's device file open. ``guest``: it holds the GPU for a virtual machine."""

    pid: int
    program: str
    guest: bool = False


@dataclass(frozen=True, kw_only=True)
class GpuUsers:
    """By PCI address. ``seen``: programs could be looked at at all; ``partial``: not those of other users."""

    seen: bool = False
    partial: bool = False
    programs: dict[str, tuple[User, ...]]
    displays: dict[str, tuple[str, ...]]


def observe_users(root: Root, groups: dict[str, tuple[str, ...]]) -> GpuUsers:
    """Read who uses which GPU; ``groups`` are the IOMMU groups' devices (a guest opens the group, not the device)."""
    files = {f"{_VFIO}{name}": addresses for name, addresses in groups.items()}
    single = {**_nvidia_files(root), **_drm_files(root), **_vfio_files(root, groups)}
    files |= {node: (address,) for node, address in single.items()}
    pids = [name for name in root.names("proc") if name.isdecimal()]
    found: dict[str, set[User]] = defaultdict(set)
    for pid in pids if files else []:
        for node in _open_files(root, pid):
            user = User(pid=int(pid), program=root.text(f"proc/{pid}/comm") or "?", guest=node.startswith(_VFIO))
            for address in files.get(node, ()):
                found[address].add(user)
    return GpuUsers(
        seen=bool(pids),
        partial=root.live and os.geteuid() != 0,
        programs={address: tuple(sorted(users, key=lambda user: user.pid)) for address, users in found.items()},
        displays=_displays(root),
    )


def _open_files(root: Root, pid: str) -> set[str]:
    targets = (root.target(f"proc/{pid}/fd/{number}") for number in root.names(f"proc/{pid}/fd"))
    return {target for target in targets if target and _DEVICE_FILES.fullmatch(target)}


def _nvidia_files(root: Root) -> dict[str, str]:
    files = {}
    for name in root.names("proc/driver/nvidia/gpus"):
        match = re.search(r"Device Minor:\s*([0-9]+)", root.text(f"proc/driver/nvidia/gpus/{name}/information") or "")
        if match:
            files[f"/dev/nvidia{match[1]}"] = name
    return files


def _vfio_files(root: Root, groups: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The files of single devices, which guests with iommufd open instead of their group's."""
    addresses = (address for members in groups.values() for address in members)
    return {
        f"{_VFIO}devices/{name}": address
        for address in addresses
        for name in root.names(f"{DEVICES}/{address}/vfio-dev")
    }


def _drm_files(root: Root) -> dict[str, str]:
    nodes = (name for name in root.names("sys/class/drm") if re.fullmatch(r"(?:card|renderD)[0-9]+", name))
    return {f"/dev/dri/{name}": address for name in nodes if (address := _pci_address(root, name))}


def _displays(root: Root) -> dict[str, tuple[str, ...]]:
    """Connectors with a display that is switched on: ``HDMI-A-1``."""
    lit: dict[str, list[str]] = defaultdict(list)
    for name in root.names("sys/class/drm"):
        connector = re.fullmatch(r"card[0-9]+-(.+)", name)
        if connector and root.text(f"sys/class/drm/{name}/enabled") == "enabled":
            lit[_pci_address(root, name)].append(connector[1])
    return {address: tuple(names) for address, names in lit.items() if address}


def _pci_address(root: Root, name: str) -> str:
    """``../../devices/pci0000:00/0000:00:01.0/0000:01:00.0/drm/card0`` belongs to the last address in it."""
    found = _ADDRESS.findall(root.target(f"sys/class/drm/{name}") or "")
    return found[-1] if found else ""
