"""A PCI device's configuration space as bytes: the capabilities that passthrough depends on. Pure.

Without root the kernel gives the first 64 bytes only, so that everything here is then unknown (None). Offsets and bits:
PCI Express Base Specification, as named in ``linux/pci_regs.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_HEADER_BYTES, _CLASSIC_BYTES, _EXTENDED_BYTES = 64, 256, 4096
_STATUS, _STATUS_CAPABILITIES, _FIRST_CAPABILITY = 0x06, 0x10, 0x34
_ADVANCED_FEATURES, _EXPRESS = 0x13, 0x10
_ACCESS_CONTROL = 0x000D
# source validation, request redirect, completion redirect, upstream forwarding: what the kernel wants for isolation
_ACCESS_CONTROL_WANTED = 0x01 | 0x04 | 0x08 | 0x10


class Isolation(Enum):
    """Access Control Services (ACS) of a port or a device."""

    ON = "on"
    OFF = "there, but off"
    ABSENT = "not there"


class Port(Enum):
    """What a PCI Express device is in the tree, as far as isolation is concerned."""

    ENDPOINT = "endpoint"
    ROOT = "root port"
    UPSTREAM = "switch, upper side"
    DOWNSTREAM = "switch, lower side"
    BRIDGE = "bridge to PCI"
    OTHER = "other"


_PORTS = {0: Port.ENDPOINT, 1: Port.ENDPOINT, 4: Port.ROOT, 5: Port.UPSTREAM, 6: Port.DOWNSTREAM, 7: Port.BRIDGE}


@dataclass(frozen=True, kw_only=True)
class ConfigSpace:
    """What could be read; None: not readable. ``port`` is None for a device that is not PCI Express, too."""

    function_reset: bool | None = None
    port: Port | None = None
    isolation: Isolation | None = None


UNREADABLE = ConfigSpace()


def parse_config_space(data: bytes | None) -> ConfigSpace:
    """Read the capabilities from 64, 256 or 4096 bytes; fewer, or nonsense, tell nothing."""
    if data is None or len(data) < _CLASSIC_BYTES or data[:4] == b"\xff\xff\xff\xff":
        return UNREADABLE
    capabilities = dict(_capabilities(data))
    express, advanced = capabilities.get(_EXPRESS), capabilities.get(_ADVANCED_FEATURES)
    port = None
    resets = advanced is not None and bool(_word(data, advanced + 2) & 0x0200)
    if express is not None:
        port = _PORTS.get(_word(data, express + 2) >> 4 & 0xF, Port.OTHER)
        resets = resets or bool(_double(data, express + 4) & 1 << 28)
    return ConfigSpace(function_reset=resets, port=port, isolation=_isolation(data))


def _word(data: bytes, offset: int) -> int:
    return int(struct.unpack_from("<H", data, offset)[0]) if offset + 2 <= len(data) else 0


def _double(data: bytes, offset: int) -> int:
    return int(struct.unpack_from("<I", data, offset)[0]) if offset + 4 <= len(data) else 0


def _capabilities(data: bytes) -> Iterator[tuple[int, int]]:
    """(id, offset) of each capability in the first 256 bytes. A list that turns back on itself ends."""
    if not _word(data, _STATUS) & _STATUS_CAPABILITIES:
        return
    offset, seen = data[_FIRST_CAPABILITY] & 0xFC, set[int]()
    while _HEADER_BYTES <= offset < _CLASSIC_BYTES - 1 and offset not in seen:
        seen.add(offset)
        yield data[offset], offset
        offset = data[offset + 1] & 0xFC


def _isolation(data: bytes) -> Isolation | None:
    if len(data) < _EXTENDED_BYTES:
        return None
    offset, seen = _CLASSIC_BYTES, set[int]()
    while _CLASSIC_BYTES <= offset <= _EXTENDED_BYTES - 8 and offset not in seen:
        seen.add(offset)
        header = _double(data, offset)
        if header in (0, 0xFFFFFFFF):
            break
        if header & 0xFFFF == _ACCESS_CONTROL:
            return _switched_on(data, offset)
        offset = header >> 20 & 0xFFC
    return Isolation.ABSENT


def _switched_on(data: bytes, offset: int) -> Isolation:
    """What the device can do of what is wanted must be on; what it cannot is of no concern, as to the kernel."""
    can, does = _word(data, offset + 4), _word(data, offset + 6)
    wanted = can & _ACCESS_CONTROL_WANTED
    return Isolation.ON if does & wanted == wanted else Isolation.OFF
