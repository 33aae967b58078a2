"""Whether the stack's volumes find room on the nodes' own disks, where they lie with local-path. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ai_how.capacity.types import NodeNeed
from ai_how.stack.part import Part
from ai_how.stack.setting import Setting

LOCAL = "local-path"


@dataclass(frozen=True, kw_only=True)
class NodeDisk:
    """A node's disk, and the full volumes that are counted on it, GiB."""

    name: str
    disk_gib: int
    volumes_gib: int = 0

    @property
    def overfull(self) -> bool:
        """Whether it could not hold them; what else lies on it is not counted."""
        return self.volumes_gib > self.disk_gib


@dataclass(frozen=True, kw_only=True)
class VolumeNeed:
    """Sum of the volumes, GiB, and the disks that may hold them; ``disks`` is None where they lie elsewhere."""

    volumes_gib: int
    disks: tuple[NodeDisk, ...] | None

    @property
    def disks_gib(self) -> int | None:
        """Sum of the disks."""
        return None if self.disks is None else sum(disk.disk_gib for disk in self.disks)

    @property
    def overfull(self) -> tuple[NodeDisk, ...]:
        """The disks that full volumes would be too much for."""
        return tuple(disk for disk in self.disks or () if disk.overfull)

    @property
    def fits(self) -> bool:
        """Whether the disks could hold full volumes."""
        return not self.overfull and not (self.disks == () and self.volumes_gib)


def volume_need(parts: Iterable[Part], setting: Setting, nodes: Sequence[NodeNeed]) -> VolumeNeed:
    """What the volumes may grow to, against the disks of the nodes that take the stack.

    A volume lies whole on one node. Which one is Kubernetes' choice: here the largest comes first, each where most is
    left.
    """
    sizes = [volume.size_gib for part in parts for volume in part.volumes for _ in range(volume.claims)]
    if setting.stack.storage_class != LOCAL:
        return VolumeNeed(volumes_gib=sum(sizes), disks=None)
    workers = [node for node in nodes if node.role != "control-plane"]
    general = [node for node in workers if node.role != "gpu-worker"] or workers
    disks = [NodeDisk(name=node.name, disk_gib=node.disk_gib) for node in general]
    for size in sorted(sizes, reverse=True) if disks else ():
        most = max(range(len(disks)), key=lambda at: disks[at].disk_gib - disks[at].volumes_gib)
        disks[most] = replace(disks[most], volumes_gib=disks[most].volumes_gib + size)
    return VolumeNeed(volumes_gib=sum(sizes), disks=tuple(disks))
