"""How much of a GPU's memory a program gets: less than the vendor states. Pure.

Owns what was seen on real cards. Driver and error correction take their part before any program starts: cards with GDDR
memory and error correction lose a sixteenth, all lose some hundred MiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ai_how.accelerators.catalogue import Accelerator, by_name
from ai_how.capacity.types import GpuCapacity, HostCapacity

_SEEN: Mapping[str, tuple[float, str]] = {
    "Tesla T4": (14.62, "nvidia-smi of driver 515: total 15,360 MiB, 388 MiB of it reserved"),
    "A10G": (22.06, "nvidia-smi of driver 515: total 23,028 MiB, 435 MiB of it reserved"),
    "GeForce RTX 3090": (23.69, "nvidia-smi of driver 525: total 24,576 MiB, 316 MiB of it reserved"),
    "GeForce RTX 4090": (23.55, "vLLM issue 13061: 98 % of the memory is 23.08 GiB"),
    "RTX A2000 12GB": (11.53, "vLLM issue 12030: total capacity of 11.53 GiB"),
    "H100": (79.19, "llm-d planner, accuracy/results/v0.19.0: init_total_memory_gib"),
    "H200": (139.72, "vLLM issue 10702: total_gpu_memory=139.72GiB"),
}
# no error correction inside GDDR memory: HBM has its own, GeForce none. Seen: 0.981 (RTX 4090) to 0.991 (H200)
_WHOLE = ("geforce", "a100", "h100", "h200", "b200", "gh200", "v100", "a30")
_WHOLE_SHARE = 0.98
_LEAST_SHARE = 0.91
"""The least that was seen of any card: 14.62 of 16 GiB (Tesla T4)."""


@dataclass(frozen=True, kw_only=True)
class UsableGpu:
    """A kind of GPU as a program finds it. ``source`` says where ``usable_gib`` comes from."""

    name: str
    nominal_gib: float
    usable_gib: float
    source: str
    compute_capability: tuple[int, int] | None = None


def usable_gpu(gpu: Accelerator | GpuCapacity) -> UsableGpu:
    """What a program gets of a GPU, seen or assumed."""
    share = _WHOLE_SHARE if any(word in gpu.name.lower() for word in _WHOLE) else _LEAST_SHARE
    usable, source = gpu.memory_gib * share, f"assumed: {share:.0%} of the stated memory"
    known = by_name(gpu.name)
    for name, (seen_gib, where) in _SEEN.items():
        same = f" {name} " in f" {gpu.name} " or (known is not None and known is by_name(name))
        # a card of the same name with other memory (A100, H100 NVL) is another card
        if same and seen_gib <= gpu.memory_gib * 1.001 and seen_gib >= gpu.memory_gib * (_LEAST_SHARE - 0.01):
            usable, source = seen_gib, where
    return UsableGpu(
        name=gpu.name,
        nominal_gib=gpu.memory_gib,
        usable_gib=usable,
        source=source,
        compute_capability=gpu.compute_capability or (known.compute_capability if known else None),
    )


def kinds_on_hosts(hosts: Sequence[HostCapacity], *, gpus: int) -> list[UsableGpu]:
    """The kinds of GPU of which one host has ``gpus`` at least, by name; of unknown memory none.

    A model that is split is split over the GPUs of one host.
    """
    kinds: dict[tuple[str, float], UsableGpu] = {}
    for host in hosts:
        alike = Counter((gpu.name, gpu.memory_gib) for gpu in host.gpus)
        for gpu in host.gpus:
            key = gpu.name, gpu.memory_gib
            if gpu.memory_gib and alike[key] >= gpus:
                kinds.setdefault(key, usable_gpu(gpu))
    return [kinds[key] for key in sorted(kinds)]
