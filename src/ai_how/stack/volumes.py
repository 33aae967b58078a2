"""Whether the stack's volumes find room on the nodes' own disks, where they lie with local-path. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ai_how.capacity.types import NodeNeed
from ai_how.stack.part import Part
from ai_how.stack.setting import Setting

LOCAL = "local-path"


@dataclass(frozen=True, kw_only=True)
class VolumeNeed:
    """Sum of the volumes and of the disks that may hold them, GiB; ``disks_gib`` is None where they lie elsewhere."""

    volumes_gib: int
    disks_gib: int | None

    @property
    def fits(self) -> bool:
        """Whether the disks could hold full volumes; what else lies on them is not counted."""
        return self.disks_gib is None or self.volumes_gib <= self.disks_gib


def volume_need(parts: Iterable[Part], setting: Setting, nodes: Sequence[NodeNeed]) -> VolumeNeed:
    """What the volumes may grow to, against the disks of the nodes that take the stack."""
    volumes = sum(volume.size_gib * volume.claims for part in parts for volume in part.volumes)
    if setting.stack.storage_class != LOCAL:
        return VolumeNeed(volumes_gib=volumes, disks_gib=None)
    workers = [node for node in nodes if node.role != "control-plane"]
    general = [node for node in workers if node.role != "gpu-worker"] or workers
    return VolumeNeed(volumes_gib=volumes, disks_gib=sum(node.disk_gib for node in general))
