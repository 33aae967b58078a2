"""How much of a node is kept for the kubelet, the container engine and the system, by the node's size. Pure."""

from __future__ import annotations

from dataclasses import dataclass

_STEPS = ((4, 0.25), (4, 0.20), (8, 0.10), (112, 0.06))
"""(GiB, part of them that is kept); 2 % of what is above. Source: Google Kubernetes Engine, "Plan node sizes"."""
_ABOVE = 0.02
SYSTEM_MEMORY_MIB = 512
SYSTEM_CPU_M = 500
KUBE_CPU_M = 100
_KUBE_MEMORY_MIB = 256
"""These four are Kubespray's own defaults: roles/kubernetes/node/defaults/main.yml."""


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """What pods do not get: thousandths of a core, and MiB, for Kubernetes' own processes and for the system's."""

    kube_cpu_m: int
    kube_memory_mib: int
    system_cpu_m: int
    system_memory_mib: int


def reservation(memory_gib: float) -> Reservation:
    """What a node of so much memory keeps; never less than Kubespray's own defaults."""
    kept_mib = int(_kept_gib(memory_gib) * 1024)
    return Reservation(
        kube_cpu_m=KUBE_CPU_M,
        kube_memory_mib=max(_KUBE_MEMORY_MIB, kept_mib - SYSTEM_MEMORY_MIB),
        system_cpu_m=SYSTEM_CPU_M,
        system_memory_mib=SYSTEM_MEMORY_MIB,
    )


def _kept_gib(memory_gib: float) -> float:
    kept, left = 0.0, memory_gib
    for size, part in _STEPS:
        kept += min(left, size) * part
        left = max(0.0, left - size)
    return kept + left * _ABOVE
