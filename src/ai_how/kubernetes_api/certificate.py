"""When a certificate ends. Reads only the validity of an X.509 certificate (RFC 5280, 4.1.2.5); checks nothing."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_EXPLICIT_VERSION = 0xA0
_UTC_TIME = 0x17


def valid_until(pem: str) -> datetime | None:
    """The end of the first certificate's validity, in UTC; None where there is none to read."""
    block = _BLOCK.search(pem)
    if block is None:
        return None
    try:
        return _not_after(base64.b64decode("".join(block[1].split()), validate=True))
    except (ValueError, IndexError, binascii.Error):
        return None


def _not_after(der: bytes) -> datetime:
    certificate = _elements(der)[0][1]
    to_be_signed = _elements(_elements(certificate)[0][1])
    if to_be_signed[0][0] == _EXPLICIT_VERSION:
        to_be_signed = to_be_signed[1:]
    _serial, _signature, _issuer, (_, validity), *_ = to_be_signed
    tag, value = _elements(validity)[1]
    shape = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(value.decode("ascii"), shape).replace(tzinfo=UTC)


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """DER elements that follow each other, as tag and content."""
    found = []
    at = 0
    while at < len(der):
        tag, size = der[at], der[at + 1]
        at += 2
        if size & 0x80:
            width = size & 0x7F
            size = int.from_bytes(der[at : at + width], "big")
            at += width
        if at + size > len(der):
            raise ValueError("an element is longer than what holds it")
        found.append((tag, der[at : at + size]))
        at += size
    return found
