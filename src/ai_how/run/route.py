"""Which of this machine's addresses others reach it by. Sends nothing."""

from __future__ import annotations

import socket
from collections.abc import Sequence

_ANY_PORT = 9


def address_towards(addresses: Sequence[str]) -> str:
    """This machine's IPv4 address on the way to the first of these; empty where there is no way."""
    for address in addresses[:1]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            try:
                # a datagram socket chooses its route when it is connected, and sends nothing
                way.connect((address, _ANY_PORT))
            except OSError:
                return ""
            return str(way.getsockname()[0])
    return ""
