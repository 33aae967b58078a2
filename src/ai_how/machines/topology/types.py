"""What a picture of a site shows. Pure data; also its JSON form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GpuView:
    """One GPU of a host, and the nodes that get it. ``address`` is empty where the card is only declared."""

    name: str
    memory_gib: float
    address: str
    nodes: tuple[str, ...]
    conflict: str = ""


@dataclass(frozen=True, kw_only=True)
class MachineView:
    """One node. ``state`` is libvirt's word, ``not made``, or ``planned`` where libvirt was not asked.

    ``gpus`` are indices into its host's; ``host`` is empty where it found no place. Of a server that was not reached,
    sizes are None.
    """

    node: str
    cluster: str
    role: str
    host: str
    address: str
    vcpus: int | None
    memory_gib: int | None
    disk_gib: int | None
    gpus: tuple[int, ...]
    state: str
    conflict: str = ""

    @property
    def size_text(self) -> str:
        return "size not known" if self.vcpus is None else f"{self.vcpus} vCPU, {self.memory_gib} GiB"


@dataclass(frozen=True, kw_only=True)
class HostView:
    """One host with what it has (None: not known, as it was not reached) and what is on it."""

    name: str
    place: str
    cores: int | None
    threads: int | None
    memory_gib: float | None
    disk_gib: float | None
    declared: bool
    gpus: tuple[GpuView, ...]
    machines: tuple[MachineView, ...]

    @property
    def size_text(self) -> str:
        if self.cores is None or self.memory_gib is None or self.disk_gib is None:
            return "what it has is not known"
        cores = f"{self.cores} core{'' if self.cores == 1 else 's'}"
        return f"{cores}, {self.memory_gib:.0f} GiB memory, {self.disk_gib:.0f} GiB disk"


@dataclass(frozen=True, kw_only=True)
class NetworkView:
    """A cluster's network. ``start`` says whether ``up`` starts the cluster."""

    cluster: str
    kind: str
    subnet: str
    mode: str
    bridge: str
    start: str
    machines: int
    conflict: str = ""


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A whole site. ``unseen`` says why the states of machines are not known; empty: they are.

    ``unplaced`` are nodes without a host; ``conflicts`` has every conflict in one sentence.
    """

    site: str
    schedule: str
    unseen: str
    hosts: tuple[HostView, ...]
    networks: tuple[NetworkView, ...]
    unplaced: tuple[MachineView, ...]
    conflicts: tuple[str, ...]

    @property
    def machine_count(self) -> int:
        return sum(len(host.machines) for host in self.hosts) + len(self.unplaced)
