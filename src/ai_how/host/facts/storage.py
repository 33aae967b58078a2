"""Where a folder's data lies: file system, free space, and the devices under it with their kind.

Owns the way down from a path to the disks: mount table, partitions, LVM and device mapper, md. Says why where the
way ends before a disk (network file systems, ZFS, virtual disks): a guess would be worse.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from ai_how.host.facts.mounts import Mount, mount_of
from ai_how.host.facts.parse import settings
from ai_how.host.root import Root

IMAGES_FOLDER = "/var/lib/libvirt/images"
"""Where libvirt keeps images and volumes unless told otherwise."""
_SECTOR_BYTES = 512
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "lustre", "9p", "virtiofs", "afs", "beegfs"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
# names that hypervisors give to the disks that they emulate
_VIRTUAL_MODEL = re.compile(r"qemu|vmware|vbox|virtual|amazon elastic block store|persistentdisk", re.IGNORECASE)


class Medium(StrEnum):
    """What a device is made of, as far as the kernel knows. A virtual disk's flags are its hypervisor's choice."""

    NVME = "NVMe"
    SSD = "SSD"
    ROTATIONAL = "rotational"
    VIRTUAL = "virtual"
    NETWORK = "network"
    MEMORY = "memory"


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk at the bottom of a file system. ``medium`` is None where the kernel does not say."""

    name: str
    medium: Medium | None
    size_bytes: int | None = None
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class StorageFacts:
    """The storage of one folder; None where it cannot be told, ``unclear`` says why.

    Args:
        path: The folder that was asked for.
        existing: It, or the nearest folder above that exists.
        free_bytes: What an ordinary user may still write.
        disks: Ordered by name; more than one under LVM, md or btrfs.
    """

    path: str
    existing: str
    filesystem: str = ""
    source: str = ""
    free_bytes: int | None = None
    size_bytes: int | None = None
    read_only: bool = False
    disks: tuple[Disk, ...] = ()
    unclear: str = ""


def observe_storage(root: Root, *, path: str) -> StorageFacts:
    """The storage at an absolute path of ``root``, which need not exist yet."""
    existing = _nearest(root, path)
    # a capture holds the mount table but seldom the folders that were mounted on
    mount = mount_of(root, existing if root.live else path)
    free_bytes, size_bytes = _space(root, existing)
    disks, unclear = ((), "the mount table cannot be read") if mount is None else _disks(root, mount)
    return StorageFacts(
        path=path,
        existing=existing,
        filesystem=mount.filesystem if mount else "",
        source=mount.source if mount else "",
        free_bytes=free_bytes,
        size_bytes=size_bytes,
        read_only=mount is not None and mount.read_only,
        disks=disks,
        unclear=unclear,
    )


def _nearest(root: Root, path: str) -> str:
    asked = PurePosixPath("/", path)
    for folder in (asked, *asked.parents):
        real = root.resolved(str(folder).lstrip("/") or ".")
        if real is not None:
            return "/" if real == "." else f"/{real}"
    return "/"


def _space(root: Root, path: str) -> tuple[int | None, int | None]:
    """Free and whole bytes; unknown for a capture, whose files lie on another machine's disk."""
    if not root.live:
        return None, None
    try:
        found = os.statvfs(path)
    except OSError:
        return None, None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _disks(root: Root, mount: Mount) -> tuple[tuple[Disk, ...], str]:
    special = _without_block_device(mount)
    if special is not None:
        return special
    folder = _block_folder(root, mount)
    if folder is None:
        return (), f"{mount.source} is not in the list of block devices"
    disks = tuple(sorted(set(_bottom(root, folder, depth=0)), key=lambda disk: disk.name))
    return (disks, _why_unclear(disks)) if disks else ((), f"{PurePosixPath(folder).name} leads to no disk")


def _without_block_device(mount: Mount) -> tuple[tuple[Disk, ...], str] | None:
    kind = mount.filesystem
    if kind in _NETWORK or kind == "fuse" or kind.startswith("fuse."):
        unclear = f"{kind} from {mount.source}: its disks are another machine's or program's"
        return (Disk(name=mount.source, medium=Medium.NETWORK),), unclear
    if kind in _IN_MEMORY:
        return (Disk(name=kind, medium=Medium.MEMORY),), ""
    if kind == "overlay":
        return (), "an overlay (a container's layers): the disk under it is seen only on the host"
    if kind == "zfs":
        return (), f"ZFS: the disks of {mount.source} are listed by: zpool list -v"
    return None


def _why_unclear(disks: tuple[Disk, ...]) -> str:
    unclear = [disk.name for disk in disks if disk.medium is Medium.VIRTUAL]
    if unclear:
        return f"{', '.join(unclear)} is a virtual disk: what lies under it is the hypervisor's"
    silent = [disk.name for disk in disks if disk.medium is None]
    return f"the kernel does not say what {', '.join(silent)} is made of" if silent else ""


def _block_folder(root: Root, mount: Mount) -> str | None:
    """The sysfs folder of a mounted block device, by its number, else by its name."""
    if mount.device and not mount.device.startswith("0:"):
        found = root.resolved(f"sys/dev/block/{mount.device}")
        if found:
            return found
    name = _kernel_name(root, mount.source)
    for folder in _all_block_folders(root):
        if PurePosixPath(folder).name == name or (
            not mount.device.startswith("0:") and mount.device and root.text(f"{folder}/dev") == mount.device
        ):
            return folder
    return None


def _kernel_name(root: Root, source: str) -> str:
    """``/dev/mapper/vg-root`` is ``dm-0``, ``/dev/nvme0n1p2`` is ``nvme0n1p2``."""
    if not source.startswith("/dev/"):
        return ""
    mapped = source.removeprefix("/dev/mapper/")
    for name in root.names("sys/block") if mapped != source else []:
        if root.text(f"sys/block/{name}/dm/name") == mapped:
            return name
    return PurePosixPath(root.resolved(source.lstrip("/")) or source).name


def _all_block_folders(root: Root) -> Iterator[str]:
    """Each disk's folder and those of its partitions."""
    for name in root.names("sys/block"):
        folder = root.resolved(f"sys/block/{name}")
        if folder is None:
            continue
        yield folder
        for part in root.names(folder):
            if part.startswith(name) and root.exists(f"{folder}/{part}/partition"):
                yield f"{folder}/{part}"


def _bottom(root: Root, folder: str, *, depth: int) -> Iterator[Disk]:
    """The disks under a block device: up from a partition, down through device mapper and md."""
    if root.exists(f"{folder}/partition"):
        folder = str(PurePosixPath(folder).parent)
    under = root.names(f"{folder}/slaves")
    if under and depth < 8:
        for name in under:
            target = root.resolved(f"{folder}/slaves/{name}")
            if target:
                yield from _bottom(root, target, depth=depth + 1)
        return
    yield _disk(root, folder)


def _disk(root: Root, folder: str) -> Disk:
    name = PurePosixPath(folder).name
    sectors = root.number(f"{folder}/size")
    return Disk(
        name=name,
        medium=_medium(root, folder),
        size_bytes=None if sectors is None or sectors < 0 else sectors * _SECTOR_BYTES,
        model=root.text(f"{folder}/device/model") or "",
    )


def _medium(root: Root, folder: str) -> Medium | None:
    name = PurePosixPath(folder).name
    model = root.text(f"{folder}/device/model") or ""
    if re.match("(nbd|rbd|drbd)[0-9]", name):
        return Medium.NETWORK
    if re.match("(ram|zram|pmem)[0-9]", name):
        return Medium.MEMORY
    if re.match("(vd|xvd)[a-z]", name) or "/virtio" in folder or _VIRTUAL_MODEL.search(model):
        return Medium.VIRTUAL
    if name.startswith("nvme"):
        transport = root.text(f"{folder}/device/transport") or _uevent(root, folder).get("NVME_TRTYPE", "pcie")
        return Medium.NVME if transport == "pcie" else Medium.NETWORK
    if re.match("(loop|dm-|md)[0-9]", name):
        # the files or devices under it are not shown: its own flag may be a default
        return None
    rotational = root.number(f"{folder}/queue/rotational")
    return {0: Medium.SSD, 1: Medium.ROTATIONAL}.get(rotational) if rotational is not None else None


def _uevent(root: Root, folder: str) -> dict[str, str]:
    return settings(root.text(f"{folder}/device/uevent"))
