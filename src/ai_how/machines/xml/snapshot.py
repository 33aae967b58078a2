"""A snapshot as libvirt's XML. Source: formatsnapshot, domainsnapshot.rng."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ai_how.machines.xml.tree import add, parse, to_text


def snapshot_xml(name: str) -> str:
    """The snapshot that is taken: libvirt keeps memory too where the machine runs."""
    root = ET.Element("domainsnapshot")
    add(root, "name", name)
    return to_text(root)


def described(xml: str) -> tuple[int, bool]:
    """When a snapshot was taken (Unix time), and whether it holds memory."""
    root = parse(xml)
    memory = root.find("memory")
    return int(root.findtext("creationTime") or 0), memory is not None and memory.get("snapshot") != "no"
