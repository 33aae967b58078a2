"""Whether a card came back from a machine in a state that the next one can use."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ai_how.errors import ProviderError
from ai_how.machines.passthrough.sysfs import DEVICES, Sysfs

_SETTLE_S = 10.0
_POLL_S = 0.25
_LOST_POWER = ("D3cold", "error")


def verify_reset(sysfs: Sysfs, functions: Sequence[str], *, settle_s: float = _SETTLE_S) -> str:
    """See that every function answers again after a machine has let go of it; says what was seen.

    A function that fell off the bus reads as ones only. An idle one under vfio-pci sleeps in D3hot, which is well.

    Args:
        settle_s: How long a function may take to answer.

    Raises:
        ProviderError: one of them does not answer, or has no power.
    """
    seen = []
    for address in functions:
        deadline = time.monotonic() + settle_s
        trouble = _trouble(sysfs, address)
        while trouble and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            trouble = _trouble(sysfs, address)
        if trouble:
            raise ProviderError(
                f"{address} did not come back after its machine stopped",
                evidence=f"{trouble}; reset methods: {sysfs.text(f'{DEVICES}/{address}/reset_method') or 'none known'}",
                next_step="reboot the host: the card keeps the last machine's state until then",
            )
        power = sysfs.text(f"{DEVICES}/{address}/power_state") or "power state unknown"
        seen.append(f"{address} answers ({power})")
    return ", ".join(seen)


def _trouble(sysfs: Sysfs, address: str) -> str:
    head = sysfs.head(f"{DEVICES}/{address}/config")
    if len(head) < 4:
        return "its configuration space cannot be read"
    if head[:2] == b"\xff\xff":
        return "its configuration space reads as ones: it has fallen off the bus"
    vendor = sysfs.text(f"{DEVICES}/{address}/vendor")
    told = int.from_bytes(head[:2], "little")
    if vendor is not None and f"0x{told:04x}" != vendor:
        return f"it answers as vendor 0x{told:04x}, not {vendor}"
    power = sysfs.text(f"{DEVICES}/{address}/power_state")
    return f"its power state is {power}" if power in _LOST_POWER else ""
