"""Building XML by hand without noise: attributes that are None are left out, order is kept."""

from __future__ import annotations

from xml.etree import ElementTree as ET


def add(parent: ET.Element, tag: str, text: object = None, **attributes: object) -> ET.Element:
    """Add a child. A trailing underscore of an attribute's name (``type_``) and None values are dropped."""
    found = {name.rstrip("_"): str(value) for name, value in attributes.items() if value is not None}
    child = ET.SubElement(parent, tag, found)
    if text is not None:
        child.text = str(text)
    return child


def to_text(root: ET.Element) -> str:
    """The XML, indented by two blanks, with a line end."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def parse(text: str) -> ET.Element:
    """XML that libvirt gave us: a daemon that already acts as root for us has nothing to gain by a hostile entity."""
    return ET.fromstring(text)  # noqa: S314
