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

    ``gpus`` are indices into its host's; ``host`` is empty where it found no place.
    """

    node: str
    cluster: str
    role: str
    host: str
    address: str
    vcpus: int
    memory_gib: int
    disk_gib: int
    gpus: tuple[int, ...]
    state: str
    conflict: str = ""


@dataclass(frozen=True, kw_only=True)
class HostView:
    """One host with what it has and what is on it."""

    name: str
    place: str
    cores: int
    threads: int
    memory_gib: float
    disk_gib: float
    declared: bool
    gpus: tuple[GpuView, ...]
    machines: tuple[MachineView, ...]


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
