"""The part of the site file that says which machines there are and which clusters shall run on them.

Owns the meaning of these keys. What spans several of them (quorum, roles of a kind, overlapping networks) is
``cluster_rules``'. Sizes that are not written are those of the role: ``roles``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ai_how.site.kubernetes import Kubernetes, Subnet
from ai_how.site.roles import DEFAULTS, KIND_ROLES, Kind, Role
from ai_how.site.section import Section
from ai_how.site.servers import HostKey, Ssh
from ai_how.site.stack import Stack

# what a shell takes for more than text is in none
LibvirtUri = Annotated[
    str, Field(pattern=r"^(qemu|test)(\+(unix|ssh|libssh2?|tls|tcp))?://[A-Za-z0-9._~@:%\[\]/?=&,+-]*$")
]
HostName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
ClusterName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
_ADDRESS = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"
Factor = Annotated[float, Field(ge=1, le=8)]


def whole_address(text: str) -> str:
    """A PCI address as the kernel writes it: ``65:00.0`` is ``0000:65:00.0``."""
    return text.lower() if text.count(":") == 2 else f"0000:{text.lower()}"


PciFunction = Annotated[
    str, Field(pattern=r"^([0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]$"), AfterValidator(whole_address)
]


class DeclaredGpus(Section):
    """GPUs of one kind in a declared machine."""

    model: str
    """Name of the card, such as RTX A6000 or T4."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """How many of them."""
    memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Memory of one card, GiB; needed for a card that the catalogue does not know."""
    power_limit_w: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Power limit of one card, watts, for its cost; needed for a card that the catalogue does not know."""
    numa_node: Annotated[int, Field(ge=0, le=63)] | None = None
    """NUMA node that they are attached to; default: dealt out over the nodes in turn."""
    addresses: list[PciFunction] = Field(default_factory=list)
    """PCI addresses, one for each card, such as 65:00.0; default: found on the host by their model."""


class Declared(Section):
    """What a machine has, for planning without it at hand. Without this section it is looked at."""

    cores: Annotated[int, Field(ge=1, le=4096)]
    """Physical cores."""
    threads: Annotated[int, Field(ge=1, le=8192)] | None = None
    """Hardware threads; default: as many as cores, which is a machine without SMT."""
    memory_gib: Annotated[float, Field(gt=0)]
    """Memory, GiB."""
    disk_gib: Annotated[float, Field(gt=0)]
    """Free disk where images and volumes will lie, GiB."""
    gpus: list[DeclaredGpus] = Field(default_factory=list)
    """GPUs, one entry a kind."""
    numa_nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """NUMA nodes; cores and memory are taken to be spread evenly over them."""
    hugepages_gib: Annotated[float, Field(ge=0)] = 0
    """Memory that is set aside as huge pages, GiB."""
    network_mbps: Annotated[int, Field(ge=1)] | None = None
    """Speed of its network, Mbit/s."""


class CardSettings(Section):
    """What one GPU of a host needs to be given to machines. Most cards need no entry here."""

    address: PciFunction
    """PCI address of the GPU, such as 65:00.0."""
    allow_in_use: bool = False
    """Give it away although the host shows its screen on it or programs use it; the host loses both."""
    rom_file: Annotated[str, Field(pattern=r"^/\S+$")] | None = None
    """File on the host with the card's ROM, for a card whose own cannot be read."""
    rom_bar: bool = True
    """Whether the machine sees the card's ROM; without it a card whose ROM hangs the firmware can still compute."""
    hide_hypervisor: bool = False
    """Hide KVM from the machine, which GeForce drivers before 465 want."""


class Reserve(Section):
    """What a host keeps for itself. Source: the resource requirements' total summary (4 cores, 4 GB, 100 GB of 1 TB).

    For provider libvirt; a server of an inventory is a node as a whole.
    """

    cores: Annotated[int, Field(ge=0)] = 4
    """Physical cores for the host's own work."""
    memory_gib: Annotated[float, Field(ge=0)] = 4
    """Memory for the host itself, GiB. What QEMU needs beside each guest's memory comes on top."""
    disk_percent: Annotated[float, Field(ge=0, le=90)] = 10
    """Part of the disk that stays free, for images, logs and snapshots, percent."""


class Host(Section):
    """One machine that nodes may run on."""

    name: HostName
    """Name of the machine in plans and in `nodes[].host`."""
    uri: LibvirtUri = "qemu:///system"
    """libvirt's address of the machine (provider libvirt); the default is this machine."""
    address: str | None = None
    """SSH address, such as admin@192.0.2.10 (provider inventory)."""
    ssh: Ssh = Ssh()
    host_key: HostKey | None = None
    """Fingerprint of its SSH host key (provider inventory); default: asked for once by `ai-how hosts trust`."""
    cluster_address: Annotated[str, Field(pattern=_ADDRESS)] | None = None
    """Its IPv4 address for other nodes (provider inventory); default: the one in the cluster's subnet, else address."""
    storage_path: Annotated[str, Field(pattern=r"^/[^\s]*$")] = "/var/lib/libvirt/images/ai-how"
    """Folder on the machine for images and disks (provider libvirt); each site has its own in it."""
    declared: Declared | None = None
    reserve: Reserve = Reserve()
    cards: list[CardSettings] = Field(default_factory=list)
    """Settings of single GPUs (provider libvirt); a GPU without an entry has the defaults."""


class Node(Section):
    """Nodes of one kind. Sizes that are not written are those of the role."""

    role: Role
    """What the nodes do: the first three in a cloud cluster, the others in an HPC cluster."""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many of them."""
    vcpus: Annotated[int, Field(ge=1, le=512)] | None = None
    """Virtual processors of each."""
    memory_gib: Annotated[int, Field(ge=1, le=65536)] | None = None
    """Memory of each, GiB."""
    disk_gib: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Disk of each, GiB."""
    gpus: Annotated[int, Field(ge=0, le=16)] | None = None
    """GPUs passed through to each."""
    gpu_model: str | None = None
    """Only cards of this name, such as RTX A6000; default: any."""
    gpu_memory_gib: Annotated[float, Field(gt=0)] | None = None
    """Only cards with at least so much memory, GiB; default: any."""
    gpu_addresses: list[PciFunction] = Field(default_factory=list)
    """Exactly the cards at these PCI addresses, such as [65:00.0]; for one node, best with host; default: any."""
    host: HostName | None = None
    """Only on this host; default: wherever they fit."""
    image: str | None = None
    """Disk image of each; default: the cluster's."""
    models_disk_gib: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """A second disk for models, GiB; default: none."""


class ClusterNetwork(Section):
    """How a cluster's machines reach each other and the world (provider libvirt)."""

    mode: Literal["nat", "routed", "isolated", "bridge"] = "nat"
    """nat: out through the host; routed: others know the way; isolated: no way out; bridge: one that the host has."""
    bridge: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$")] | None = None
    """The host's bridge, for mode bridge; the machines' addresses are fixed, no DHCP of its network is asked."""
    gateway: Annotated[str, Field(pattern=_ADDRESS)] | None = None
    """Router of the bridge's network, an IPv4 address in the cluster's subnet (mode bridge)."""
    nameservers: list[Annotated[str, Field(pattern=_ADDRESS)]] = Field(default_factory=list)
    """DNS servers for the machines, IPv4 addresses (mode bridge)."""

    @model_validator(mode="after")
    def _bridge_is_whole(self) -> ClusterNetwork:
        if self.mode == "bridge" and not (self.bridge and self.gateway and self.nameservers):
            raise ValueError("mode: bridge needs bridge, gateway and nameservers")
        if self.mode != "bridge" and (self.bridge or self.gateway or self.nameservers):
            raise ValueError("bridge, gateway and nameservers are for mode: bridge only")
        return self


class Cluster(Section):
    """One cluster of nodes."""

    kind: Kind = "cloud"
    """cloud: Kubernetes for inference; hpc: a batch cluster for training."""
    subnet: Subnet | None = None
    """IPv4 network of its nodes; default 192.168.200.0/24 for cloud, 192.168.100.0/24 for hpc."""
    network: ClusterNetwork = ClusterNetwork()
    image: str | None = None
    """Disk image of its nodes: an image's or recipe's name; default cloud-base, with GPUs cloud-gpu-worker."""
    firmware: Literal["auto", "bios", "uefi"] = "auto"
    """auto: UEFI for machines with GPUs, whose memory windows it maps; BIOS for the others, which can be snapshot."""
    start: Literal["always", "manual"] = "always"
    """Whether `ai-how up` starts it. With `schedule: in-turns` only one may be always."""
    ready_timeout_s: Annotated[float, Field(gt=0)] = 900
    """How long a machine may take from its start until it can be worked on (provider libvirt), seconds."""
    nodes: Annotated[list[Node], Field(min_length=1)] = Field(default_factory=list)
    """Its nodes, one entry a kind, not none; default: one of each role of its kind, two where they carry GPUs."""
    kubernetes: Kubernetes = Kubernetes()
    stack: Stack = Stack()

    @property
    def node_groups(self) -> tuple[Node, ...]:
        """The nodes as written, or the default ones of its kind."""
        return tuple(self.nodes) or default_nodes(self.kind)

    @property
    def has_kubernetes(self) -> bool:
        """Whether Kubernetes is set up on its nodes."""
        return self.kind == "cloud" and self.kubernetes.enabled

    @property
    def has_stack(self) -> bool:
        """Whether the stack runs on its Kubernetes."""
        return self.has_kubernetes and self.stack.enabled


class VcpuOvercommit(Section):
    """How many virtual processors may share one hardware thread, by role. Memory and GPUs are never shared.

    Chosen, not measured: GPU workers and compute nodes keep their threads to themselves, because a delayed scheduler
    of the engine leaves the GPU idle.
    """

    control_plane: Factor = 2
    """Control plane nodes."""
    cpu_worker: Factor = 2
    """CPU workers."""
    gpu_worker: Factor = 1
    """GPU workers."""
    hpc_controller: Factor = 2
    """HPC controllers."""
    hpc_compute: Factor = 1
    """HPC compute nodes."""

    def factor(self, role: Role) -> float:
        """The factor of a role."""
        return float(getattr(self, role.replace("-", "_")))


class Placement(Section):
    """Rules for placing nodes on hosts."""

    vcpu_overcommit: VcpuOvercommit = VcpuOvercommit()
    numa_locality: Literal["prefer", "require", "ignore"] = "prefer"
    """Whether a node with GPUs lies wholly in the NUMA node of its GPUs."""
    hugepages: Literal["none", "2mib", "1gib"] = "none"
    """Huge pages behind the nodes' memory; the plan says how many the host must set aside."""
    thin_disk_overcommit: Annotated[float, Field(ge=1, le=4)] = 1
    """How far the nodes' disks together may exceed the usable disk, as thin disks hold only what was written."""


class Storage(Section):
    """How the volumes of cloud clusters grow, for the disk budget of `ai-how plan`; rates are the requirements' own."""

    models_per_month: Annotated[float, Field(ge=0, le=100_000)] | None = None
    """Models that are kept each month; default: not stated, so their growth is unknown."""
    metrics_retention_days: Annotated[float, Field(gt=0, le=36_500)] = 30
    """How long metrics are kept, days."""


def default_nodes(kind: Kind) -> tuple[Node, ...]:
    """The nodes of a cluster that names none."""
    return tuple(Node(role=role, count=DEFAULTS[role].count) for role in KIND_ROLES[kind])
