"""Nodes with GPUs as placement sees them, and where a model is put. Pure data; ``placement`` decides.

Source of the labels: NVIDIA/k8s-device-plugin, GPU feature discovery (``nvidia.com/gpu.product``, ``.memory``,
``.count``, ``.replicas``, ``nvidia.com/mig-*``).
"""

from __future__ import annotations

from dataclasses import dataclass

GPU = "nvidia.com/gpu"
PRODUCT = "nvidia.com/gpu.product"


@dataclass(frozen=True, kw_only=True)
class GpuPool:
    """GPUs of one kind on a node: whole ones, slices of MIG, or turns on shared ones.

    ``product`` is the label's value (``Tesla-T4``, ``NVIDIA-A100-80GB-PCIe-MIG-1g.10gb``). ``memory_gib`` is one's own:
    of a slice the slice's, of a shared card the whole card's. ``count`` is how many pods may ask for, ``taken`` how
    many they have. ``turns``: how many share one card, 1 for none. ``spellings`` are other values that the label may
    have, where it was not read but planned.
    """

    product: str
    memory_gib: float
    count: int
    taken: int = 0
    resource: str = GPU
    turns: int = 1
    mig: bool = False
    spellings: tuple[str, ...] = ()
    compute_capability: tuple[int, int] | None = None

    @property
    def free(self) -> int:
        return max(0, self.count - self.taken)


@dataclass(frozen=True, kw_only=True)
class GpuNode:
    """A node with GPUs. ``closed`` says why pods may not come, empty where they may."""

    name: str
    pools: tuple[GpuPool, ...]
    closed: str = ""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The kind of GPU that a revision's pods ask for, and how many each.

    ``accelerator`` is the kind in Oumi's spelling or the site's. ``products`` are the label values of the nodes that
    have it; empty: any. ``memory_share`` is the part of a card's memory that one replica may take: less than 1 on
    shared cards. ``nodes`` are all that have it, full or not, with ``total`` of them together; 0: not known.
    """

    accelerator: str
    products: tuple[str, ...]
    count: int = 1
    resource: str = GPU
    memory_share: float = 1.0
    compute_capability: tuple[int, int] | None = None
    nodes: tuple[str, ...] = ()
    total: int = 0
