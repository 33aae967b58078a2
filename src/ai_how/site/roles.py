"""What a node of each role gets when the site file does not say, and how large it should grow. Pure data.

Source of the cloud roles: the resource requirements, "Cloud Cluster VM Allocation" and "Vertical Scaling". Of the HPC
cluster they give only the sum (44 cores, 112 GB, 1 TB, 2-4 GPUs): its split into one controller and two compute nodes
is ours. GB are read as GiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["control-plane", "cpu-worker", "gpu-worker", "hpc-controller", "hpc-compute"]
Kind = Literal["cloud", "hpc"]
ROLES: tuple[Role, ...] = get_args(Role)
KIND_ROLES: Mapping[Kind, tuple[Role, ...]] = {"cloud": ROLES[:3], "hpc": ROLES[3:]}
SUBNETS: Mapping[Kind, str] = {"cloud": "192.168.200.0/24", "hpc": "192.168.100.0/24"}
"""The cloud cluster's is the resource requirements'; the other is ours."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one node of a role gets, and how many of them a cluster has."""

    count: int
    vcpus: int
    memory_gib: int
    disk_gib: int
    gpus: int = 0


DEFAULTS: Mapping[Role, Allocation] = {
    "control-plane": Allocation(count=1, vcpus=6, memory_gib=12, disk_gib=150),
    "cpu-worker": Allocation(count=1, vcpus=6, memory_gib=16, disk_gib=150),
    "gpu-worker": Allocation(count=2, vcpus=12, memory_gib=32, disk_gib=300, gpus=1),
    "hpc-controller": Allocation(count=1, vcpus=4, memory_gib=16, disk_gib=200),
    "hpc-compute": Allocation(count=2, vcpus=20, memory_gib=48, disk_gib=400, gpus=1),
}


@dataclass(frozen=True, kw_only=True)
class GrowthLimit:
    """How large a node of a role should grow, and how many a cluster should have; None: nothing is said."""

    vcpus: int
    memory_gib: int
    count: int | None = None
    gpus: int = 0
    gpus_typical: int = 0


LIMITS: Mapping[Role, GrowthLimit] = {
    "control-plane": GrowthLimit(vcpus=8, memory_gib=16, count=3),
    "cpu-worker": GrowthLimit(vcpus=16, memory_gib=64, count=5),
    "gpu-worker": GrowthLimit(vcpus=16, memory_gib=64, count=8, gpus=4, gpus_typical=2),
}
"""Source: the resource requirements, "Scaling Considerations". Nothing is said of HPC nodes."""

NODES_PER_HOST = 20
"""Source: the resource requirements, "Resource Limits": typically 10-20 virtual machines."""
