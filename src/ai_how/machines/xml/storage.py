"""A pool and its volumes as libvirt's storage XML. Source: formatstorage, storagepool.rng, storagevol.rng."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ai_how.machines.types import Disk
from ai_how.machines.xml.tree import add, to_text


def pool_xml(*, name: str, uuid: str, path: str) -> str:
    """A pool of files in a folder of the host."""
    root = ET.Element("pool", {"type": "dir"})
    add(root, "name", name)
    add(root, "uuid", uuid)
    target = add(root, "target")
    add(target, "path", path)
    add(add(target, "permissions"), "mode", "0711")
    return to_text(root)


def disk_xml(disk: Disk, *, backing_path: str = "") -> str:
    """A qcow2 volume, thin, over a backing volume where it has one."""
    root = ET.Element("volume")
    add(root, "name", disk.volume)
    add(root, "capacity", disk.size_bytes, unit="bytes")
    target = add(root, "target")
    add(target, "format", type_="qcow2")
    add(add(target, "permissions"), "mode", "0600")
    add(target, "compat", "1.1")
    if backing_path:
        backing = add(root, "backingStore")
        add(backing, "path", backing_path)
        add(backing, "format", type_="qcow2")
    return to_text(root)


def raw_volume_xml(*, name: str, size_bytes: int, format_: str = "raw", mode: str = "0644") -> str:
    """A volume that a stream is uploaded to: an image or a seed."""
    root = ET.Element("volume")
    add(root, "name", name)
    add(root, "capacity", size_bytes, unit="bytes")
    target = add(root, "target")
    add(target, "format", type_=format_)
    add(add(target, "permissions"), "mode", mode)
    return to_text(root)
