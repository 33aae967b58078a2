"""From placed nodes to what libvirt shall have: machines, networks, disks, and what each of them needs. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ai_how.capacity.types import NodeNeed, PlacedNode
from ai_how.errors import SpecError
from ai_how.machines.addresses import host_address, node_address
from ai_how.machines.marks import IMAGE_PREFIX, bridge_name, mac_address, network_name, object_uuid, pool_name
from ai_how.machines.seed import StaticAddress
from ai_how.machines.types import (
    Card,
    Cpu,
    Disk,
    Firmware,
    Machine,
    Memory,
    Network,
    NetworkMode,
    Nic,
    Reservation,
    Virtualization,
)
from ai_how.machines.xml.network import network_xml, settings_of
from ai_how.plan.model import Resource
from ai_how.site.clusters import Cluster, Node
from ai_how.site.roles import SUBNETS
from ai_how.site.spec import Site

GIB = 2**30
KEYS = "keys"
BUILD = "build/"
_HUGEPAGE_KIB = {"none": 0, "2mib": 2048, "1gib": 1048576}
_MODELS_SERIAL = "models"


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image as machines use it: its name in the store, and its size as a disk."""

    name: str
    virtual_size_bytes: int

    @property
    def volume(self) -> str:
        return f"{IMAGE_PREFIX}{self.name}.qcow2"


@dataclass(frozen=True, kw_only=True)
class HostSetting:
    """What is known of a host: how its guests run, and its cards by the index that placement uses.

    ``numa_cpus`` are the processors of its NUMA nodes (``0-7,16-23``), where they are known.
    """

    name: str
    uri: str
    storage_path: str
    virtualization: Virtualization
    cards: tuple[Card, ...] = ()
    numa_cpus: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MachineWish:
    """One machine, where, and with what."""

    machine: Machine
    host: str
    image: ImageFile
    address: str
    domain: str
    start: bool
    static: StaticAddress | None = None
    """Its address where no DHCP of ours gives it."""
    resolver: str = ""
    """The name server of its network, where that is ours."""


@dataclass(frozen=True, kw_only=True)
class NetworkWish:
    """One network, and the hosts that have it."""

    network: Network
    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Everything that the site wants of libvirt. ``machines`` by node name, ``networks`` by cluster.

    ``pool_paths`` has the hosts that machines lie on, ``host_names`` all of the site.
    """

    pool: str
    pool_uuid: str
    to_build: tuple[str, ...]
    pool_paths: Mapping[str, str]
    host_names: tuple[str, ...]
    machines: Mapping[str, MachineWish]
    networks: Mapping[str, NetworkWish]

    def at(self, name: str, host: str) -> str:
        """A resource's name on a host: the host is named only where the site has several."""
        return f"{name}@{host}" if len(self.host_names) > 1 else name


def desired_of(
    site: Site,
    placed: Sequence[PlacedNode],
    *,
    owner: str,
    hosts: Mapping[str, HostSetting],
    images: Mapping[str, ImageFile],
    to_build: Sequence[str] = (),
    running: AbstractSet[str] | None = None,
) -> Desired:
    """What libvirt shall have for a site.

    Args:
        owner: Who made it, kept in every machine's mark: the site's folder.
        images: By node name: a machine that is there keeps the image that it was made from.
        to_build: Names of images that this machine does not have yet.
        running: Clusters whose machines shall be on; None: those that start by themselves.

    Raises:
        SpecError: a cluster is spread over hosts by a network that ends at each of them.
    """
    if running is None:
        running = {name for name, cluster in site.planned_clusters.items() if cluster.start == "always"}
    machines = {
        node.need.name: _wish(
            site,
            node,
            owner=owner,
            host=hosts[node.host],
            image=images[node.need.name],
            start=node.need.cluster in running,
        )
        for node in sorted(placed, key=lambda node: node.need.name)
    }
    used = {wish.host for wish in machines.values()}
    networks = dict(_networks(site, machines))
    return Desired(
        pool=pool_name(site.name),
        pool_uuid=object_uuid(site.name, "pool", site.name),
        to_build=tuple(sorted(to_build)),
        pool_paths={name: f"{hosts[name].storage_path}/{site.name}" for name in sorted(used)},
        host_names=tuple(sorted(hosts)),
        machines=machines,
        networks=networks,
    )


def image_name_of(site: Site, need: NodeNeed) -> str:
    """The image that a new node is made from, as the site file names it: an image's or a recipe's name."""
    group, _ = group_of(site, need)
    chosen = group.image or site.planned_clusters[need.cluster].image
    return chosen or ("cloud-gpu-worker" if need.gpus else "cloud-base")


def group_of(site: Site, need: NodeNeed) -> tuple[Node, int]:
    """The entry of the site file that a node comes from, and its number among the nodes of its role, from 1."""
    return site.planned_clusters[need.cluster].node_groups[entry_of(site, need)], number_of(need)


def number_of(need: NodeNeed) -> int:
    """A node's number among the nodes of its role in its cluster, from 1."""
    return int(need.name.rpartition("-")[2])


def entry_of(site: Site, need: NodeNeed) -> int:
    """Which of its cluster's entries a node comes from, from 0."""
    left = number_of(need)
    for index, group in enumerate(site.planned_clusters[need.cluster].node_groups):
        if group.role == need.role:
            if left <= group.count:
                return index
            left -= group.count
    raise ValueError(f"{need.name} comes from no entry of the site file")


def address_of(site: Site, need: NodeNeed) -> str:
    """The IPv4 address of a node.

    Raises:
        SpecError: its cluster's subnet is full.
    """
    cluster = site.planned_clusters[need.cluster]
    return str(node_address(subnet_of(cluster), kind=cluster.kind, role=need.role, number=number_of(need)))


def subnet_of(cluster: Cluster) -> str:
    """A cluster's IPv4 network, in CIDR form."""
    return cluster.subnet or SUBNETS[cluster.kind]


def resources(wanted: Desired) -> list[Resource]:
    """The resources of a plan, each with what it needs."""
    found = [Resource(name=KEYS)]
    found += [Resource(name=f"{BUILD}{name}") for name in wanted.to_build]
    for host, path in sorted(wanted.pool_paths.items()):
        found.append(Resource(name=wanted.at("pool", host), settings={"path": path, "host": host}))
    images = {(wish.host, wish.image.volume): wish.image for wish in wanted.machines.values()}
    for (host, volume), image in sorted(images.items()):
        name, needs = wanted.at(f"image/{volume}", host), (wanted.at("pool", host), f"{BUILD}{image.name}")
        found.append(Resource(name=name, settings={"host": host, "volume": volume}, needs=needs))
    for cluster, wish in wanted.networks.items():
        if wish.network.mode is not NetworkMode.BRIDGE:
            made = settings_of(network_xml(wish.network))
            found += [
                Resource(name=wanted.at(f"network/{cluster}", host), settings={**made, "host": host})
                for host in wish.hosts
            ]
    for node, machine in wanted.machines.items():
        found += _machine_resources(node, machine, wanted)
    return found


def _machine_resources(node: str, wish: MachineWish, wanted: Desired) -> Iterator[Resource]:
    pool, image = wanted.at("pool", wish.host), wanted.at(f"image/{wish.image.volume}", wish.host)
    disks = []
    for disk in wish.machine.disks:
        name = f"disk/{disk.volume.removesuffix('.qcow2')}"
        disks.append(name)
        settings = {"host": wish.host, "size_bytes": disk.size_bytes, "backing": disk.backing}
        yield Resource(name=name, settings=settings, needs=(image if disk.backing else pool,))
    yield Resource(name=f"seed/{node}", settings={"host": wish.host, "volume": wish.machine.seed}, needs=(pool, KEYS))
    needs = [*disks, f"seed/{node}"]
    if wanted.networks[wish.machine.cluster].network.mode is not NetworkMode.BRIDGE:
        needs.append(wanted.at(f"network/{wish.machine.cluster}", wish.host))
    yield Resource(name=f"machine/{node}", settings=machine_settings(wish), needs=tuple(needs))


def machine_settings(wish: MachineWish) -> dict[str, Any]:
    """What a machine is made with, as plain JSON: what its mark keeps, and what plans compare."""
    machine = wish.machine
    return {
        "host": wish.host,
        "image": wish.image.name,
        "virtualization": str(machine.virtualization),
        "firmware": str(machine.firmware),
        "vcpus": machine.cpu.count,
        "pins": list(machine.cpu.pins),
        "memory_mib": machine.memory.size_mib,
        "hugepage_kib": machine.memory.hugepage_kib,
        "numa_node": machine.memory.host_numa_node,
        "disks": [disk.volume for disk in machine.disks],
        "seed": machine.seed,
        "nics": [asdict(nic) for nic in machine.nics],
        "cards": [[str(function) for function in card.functions] for card in machine.cards],
        "card_options": [_card_options(card) for card in machine.cards],
    }


def _card_options(card: Card) -> dict[str, Any]:
    return {"rom_file": card.rom_file, "rom_bar": card.rom_bar, "hide_hypervisor": card.hide_hypervisor}


def _wish(
    site: Site, placed: PlacedNode, *, owner: str, host: HostSetting, image: ImageFile, start: bool
) -> MachineWish:
    need = placed.need
    cluster = site.planned_clusters[need.cluster]
    group, _ = group_of(site, need)
    address = address_of(site, need)
    size_bytes = need.disk_gib * GIB
    if size_bytes < image.virtual_size_bytes:
        raise SpecError(
            f"{need.name} has a smaller disk than its image",
            evidence=f"disk {need.disk_gib} GiB, image {image.volume} {image.virtual_size_bytes / GIB:.0f} GiB",
            next_step="write a larger disk_gib for it",
        )
    disks = [Disk(volume=f"{need.name}.qcow2", size_bytes=size_bytes, backing=image.volume)]
    if group.models_disk_gib:
        models = f"{need.name}-models.qcow2"
        disks.append(Disk(volume=models, size_bytes=group.models_disk_gib * GIB, serial=_MODELS_SERIAL))
    nic = Nic(
        network=network_name(site.name, need.cluster),
        mac=mac_address(site.name, need.name),
        address=address,
        bridge=cluster.network.bridge or "",
    )
    uefi = cluster.firmware == "uefi" or (cluster.firmware == "auto" and need.gpus > 0)
    machine = Machine(
        name=f"{site.name}-{need.name}",
        uuid=object_uuid(site.name, "machine", need.name),
        cluster=need.cluster,
        node=need.name,
        virtualization=host.virtualization,
        firmware=Firmware.UEFI if uefi else Firmware.BIOS,
        cpu=_cpu(need.vcpus, host.numa_cpus.get(placed.numa_node) if placed.numa_node is not None else None),
        memory=Memory(
            size_mib=need.memory_gib * 1024,
            hugepage_kib=_HUGEPAGE_KIB[site.placement.hugepages],
            host_numa_node=placed.numa_node,
        ),
        pool=pool_name(site.name),
        disks=tuple(disks),
        seed=f"{need.name}-seed.iso",
        nics=(nic,),
        serial_log=f"{host.storage_path}/{site.name}/{need.name}.log",
        mark="",
        cards=tuple(host.cards[index] for index in placed.gpus),
        autostart=cluster.start == "always",
    )
    wish = MachineWish(
        machine=machine,
        host=host.name,
        image=image,
        address=address,
        domain=domain_of(site, need.cluster),
        start=start,
        static=_static(cluster, address),
        resolver="" if cluster.network.bridge else host_address(subnet_of(cluster)),
    )
    mark = {"site": site.name, "owner": owner, "cluster": need.cluster, "node": need.name}
    text = json.dumps({**mark, "settings": machine_settings(wish)}, sort_keys=True, separators=(",", ":"))
    return replace(wish, machine=replace(machine, mark=text))


def _cpu(count: int, cpus: str | None) -> Cpu:
    """Processors of a machine that is bound to a NUMA node's, as its memory is; ``cpus`` None: any of the host."""
    return Cpu(count=count, pins=(cpus,) * count, emulator_pin=cpus) if cpus else Cpu(count=count)


def _static(cluster: Cluster, address: str) -> StaticAddress | None:
    network = cluster.network
    if network.mode != "bridge" or network.gateway is None:
        return None
    if address in (network.gateway, *network.nameservers):
        raise SpecError(
            f"{address} is a router or name server and would be a machine's address too",
            evidence=f"subnet {subnet_of(cluster)}",
            next_step="write another subnet for the cluster, or another gateway",
        )
    prefix = subnet_of(cluster).partition("/")[2]
    return StaticAddress(address=f"{address}/{prefix}", gateway=network.gateway, nameservers=tuple(network.nameservers))


def domain_of(site: Site, cluster: str) -> str:
    """The domain of a cluster's names; ``internal`` is reserved for private use."""
    return f"{cluster}.{site.name}.internal"


def _networks(site: Site, machines: Mapping[str, MachineWish]) -> Iterator[tuple[str, NetworkWish]]:
    for name, cluster in site.planned_clusters.items():
        wishes = [wish for wish in machines.values() if wish.machine.cluster == name]
        hosts = tuple(sorted({wish.host for wish in wishes}))
        mode = NetworkMode(cluster.network.mode)
        if len(hosts) > 1 and mode is not NetworkMode.BRIDGE:
            raise SpecError(
                f"cluster {name} lies on several hosts, but its network ends at each of them",
                evidence=f"hosts: {', '.join(hosts)}; network mode {mode}",
                next_step="give it network: {mode: bridge, bridge: NAME}, or pin its nodes to one host",
            )
        network = Network(
            name=network_name(site.name, name),
            uuid=object_uuid(site.name, "network", name),
            mode=mode,
            bridge=cluster.network.bridge or bridge_name(site.name, name),
            subnet=subnet_of(cluster),
            domain=domain_of(site, name),
            reservations=tuple(
                Reservation(name=wish.machine.node, mac=wish.machine.nics[0].mac, address=wish.address)
                for wish in wishes
            ),
        )
        yield name, NetworkWish(network=network, hosts=hosts)
