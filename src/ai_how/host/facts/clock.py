"""Whether the kernel's clock follows a time source, as the kernel itself says it."""

from __future__ import annotations

import ctypes

from ai_how.host.root import Root

# timex.h: the clock is not synchronised
_STA_UNSYNC = 0x0040


class _Timex(ctypes.Structure):
    """The head of ``struct timex`` (adjtimex(2)), with room for the rest, which is not looked at."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock_synchronised(root: Root) -> bool | None:
    """Whether it is; None where it cannot be told.

    The live kernel is asked with ``adjtimex`` (modes 0: it only reads). A capture tells it by the file that
    systemd-timesyncd leaves, and that one can only say yes.
    """
    if root.live:
        return _asked()
    return True if root.exists("run/systemd/timesync/synchronized") else None


def _asked() -> bool | None:
    buffer = _Timex()
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(buffer))
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else not buffer.status & _STA_UNSYNC
