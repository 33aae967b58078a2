"""Names of PCI devices, from the pci.ids database that distributions carry (package ``pci.ids`` or ``hwdata``).

Format: https://pci-ids.ucw.cz/ - vendors at the start of a line, their devices after one tab, subsystems after two.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection

from ai_how.host.root import Root

_FILES = ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids.gz")
_VENDOR = re.compile(r"([0-9a-f]{4})  (\S.*)")
_DEVICE = re.compile(r"\t([0-9a-f]{4})  (\S.*)")


def read_database(root: Root) -> str | None:
    """The database's text in a tree, or None where none is installed."""
    for name in _FILES:
        data = root.data(name)
        if data is None:
            continue
        if name.endswith(".gz"):
            try:
                data = gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                continue
        return data.decode(errors="replace")
    return None


def lookup(database: str, wanted: Collection[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """Names (``NVIDIA Corporation GA102GL [RTX A6000]``) by (vendor, device), of those pairs that it has."""
    vendors = {f"{vendor:04x}" for vendor, _device in wanted}
    names: dict[tuple[int, int], str] = {}
    vendor, vendor_name = "", ""
    for line in database.splitlines():
        if not line or line[0] == "#":
            continue
        if line[0] != "\t":
            match = _VENDOR.fullmatch(line)
            vendor, vendor_name = (match[1], match[2]) if match else ("", "")
        elif vendor in vendors and (match := _DEVICE.fullmatch(line)):
            key = int(vendor, 16), int(match[1], 16)
            if key in wanted:
                names[key] = f"{vendor_name} {match[2]}".strip()
    return names
