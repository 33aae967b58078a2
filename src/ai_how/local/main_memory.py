"""Whether the weights of a model that sleeps fit into this machine's main memory."""

from __future__ import annotations

from pathlib import Path

from ai_how.host.facts.limits import observe_limits
from ai_how.host.root import Root

_GIB = 2**30


def weights_bytes(folder: Path) -> int:
    """The size of a checkpoint's weights."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.suffix in (".safetensors", ".bin", ".pt"))


def no_room_for(needed_bytes: int) -> str | None:
    """Why so much does not fit into the main memory that is free now; None where it does."""
    import psutil

    free_bytes = psutil.virtual_memory().available
    if needed_bytes <= free_bytes:
        return None
    return f"its weights take {needed_bytes / _GIB:.1f} GiB of main memory, {free_bytes / _GIB:.1f} GiB are free"


def too_much_for(needed_bytes: int) -> str | None:
    """Why so much can never fit into the main memory of this machine, or of its container; None where it can."""
    import psutil

    whole_gib = min(psutil.virtual_memory().total / _GIB, observe_limits(Root()).memory_gib or float("inf"))
    if needed_bytes / _GIB <= whole_gib:
        return None
    return f"its weights take {needed_bytes / _GIB:.1f} GiB, this machine has {whole_gib:.1f} GiB of main memory"
