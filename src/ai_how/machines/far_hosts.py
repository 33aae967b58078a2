"""What another libvirt host has, as its libvirt says it: processors, memory, huge pages, free disk, network, GPUs.

Changes nothing there. Source: libvirt's capabilities (formatcaps), its node devices (formatnode) and its pools' sizes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

from ai_how.capacity.types import GpuCapacity, HostCapacity, NumaCapacity
from ai_how.errors import AiHowError, ProviderError
from ai_how.host.checks.passthrough import gpu_capacities
from ai_how.machines.connection import Connect, explained, open_connection, unless_unsupported
from ai_how.machines.library import load_libvirt
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.xml.tree import parse
from ai_how.run.ssh import jump_of, run_on_host
from ai_how.site.clusters import Host

_GIB = 2**30
_KIB_IN_GIB = 2**20
_SMALLEST_HUGE_KIB = 2048
# the file system that a folder will lie on, which need not exist yet
_FREE = 'p=$1; while [ ! -e "$p" ]; do p=$(dirname "$p"); done; df -P -B1 "$p"'


def ask_far_host(host: Host) -> HostCapacity:
    """What a host that is not this machine has.

    Raises:
        AiHowError: it cannot be reached, or does not say; the evidence adds that it can be declared instead.
    """
    try:
        return far_capacity(host, open_connection(host.uri))
    except AiHowError as error:
        also = f"the site file can say what it has instead: hosts, {host.name}: declared"
        raise type(error)(
            error.brief, evidence=f"{error.evidence}\n{also}".strip(), next_step=error.next_step
        ) from error


def far_capacity(host: Host, connect: Connect) -> HostCapacity:
    """As ``ask_far_host``, over a connection that is there."""
    cards = CardHost(host, connect)
    allowed = {card.address for card in host.cards if card.allow_in_use}
    with explained(f"ask {host.name} what it has"):
        capabilities, info = connect.getCapabilities(), connect.getInfo()
    return capacity_of(
        host.name,
        capabilities,
        threads=int(info[2]),
        threads_per_core=int(info[7]),
        memory_mib=int(info[1]),
        disk_gib=_free_gib(host, connect),
        gpus=gpu_capacities(cards.facts, allow_in_use=allowed),
        network_mbps=_fastest_mbps(connect, host.name),
    )


def capacity_of(
    name: str,
    capabilities: str,
    *,
    threads: int,
    threads_per_core: int,
    memory_mib: int,
    disk_gib: float,
    gpus: tuple[GpuCapacity, ...] = (),
    network_mbps: int | None = None,
) -> HostCapacity:
    """A host's capacity from libvirt's capabilities; what its topology does not say is taken from the sums. Pure.

    Args:
        threads: Logical processors in all; ``threads_per_core`` of them are one core.
    """
    cells = parse(capabilities).findall("host/topology/cells/cell")
    numa = tuple(sorted(map(_numa, cells), key=lambda node: node.id))
    counted = sum(node.threads for node in numa)
    cores = sum(_cores(cell) for cell in cells)
    return HostCapacity(
        name=name,
        cores=cores or max(1, threads // max(1, threads_per_core)),
        threads=counted or threads,
        memory_gib=sum(node.memory_gib for node in numa) or memory_mib / 1024,
        disk_gib=disk_gib,
        gpus=gpus,
        numa=numa,
        hugepages_gib=sum(map(_hugepages_gib, cells)),
        network_mbps=network_mbps,
    )


def _numa(cell: ET.Element) -> NumaCapacity:
    return NumaCapacity(
        id=int(cell.get("id", "0")),
        threads=len(cell.findall("cpus/cpu")),
        memory_gib=int(cell.findtext("memory", "0")) / _KIB_IN_GIB,
    )


def _cores(cell: ET.Element) -> int:
    """Cores are told apart by the threads that share them; by their own number where the siblings are not said."""
    cpus = cell.findall("cpus/cpu")
    keys = ("socket_id", "die_id", "core_id")
    return len({cpu.get("siblings") or tuple(cpu.get(key) for key in keys) for cpu in cpus})


def _hugepages_gib(cell: ET.Element) -> float:
    pages = [(int(page.get("size", "0")), int(page.text or "0")) for page in cell.findall("pages")]
    return sum(size * count for size, count in pages if size >= _SMALLEST_HUGE_KIB) / _KIB_IN_GIB


def _free_gib(host: Host, connect: Connect) -> float:
    """Free space where images and disks will lie: a pool's there, else the file system's as SSH says it.

    Raises:
        ProviderError: neither can be asked.
    """
    with explained(f"ask {host.name} for its storage pools"):
        pools = {pool.name(): pool for pool in connect.listAllStoragePools(0) if pool.isActive()}
        places = {name: parse(pool.XMLDesc(0)).findtext("target/path", "") for name, pool in pools.items()}
        nearest = pool_at(host.storage_path, places)
        if nearest is not None:
            return float(pools[nearest].info()[3]) / _GIB
    target = jump_of(host.uri)
    if not target:
        raise ProviderError(
            f"free disk of host {host.name} is not known",
            evidence=f"no storage pool of its libvirt has {host.storage_path}; pools: {', '.join(pools) or 'none'}",
            next_step="write a storage_path that lies in a pool of it; "
            f"see: virsh -c {shlex.quote(host.uri)} pool-list --details",
        )
    said = run_on_host(target, shlex.join(["sh", "-c", _FREE, "sh", host.storage_path]))
    return free_bytes_of(said.stdout, place=f"{host.name}:{host.storage_path}") / _GIB


def pool_at(path: str, places: Mapping[str, str]) -> str | None:
    """The name of the pool whose folder has a path, the nearest above it; None: there is none. Pure."""
    wanted = PurePosixPath(path)
    having = [name for name, place in places.items() if place and wanted.is_relative_to(place)]
    return max(having, key=lambda name: len(PurePosixPath(places[name]).parts), default=None)


def free_bytes_of(said: str, *, place: str) -> int:
    """Free space by what POSIX ``df -P -B1`` printed. Pure.

    Raises:
        ProviderError: it is no such output.
    """
    words = (said.strip().splitlines() or [""])[-1].split()
    if len(words) < 6 or not words[3].isdigit():
        raise ProviderError(f"free space at {place} cannot be read", evidence=said.strip()[-300:])
    return int(words[3])


def _fastest_mbps(connect: Connect, name: str) -> int | None:
    """The speed of the fastest network card whose link is up; None where none says."""
    libvirt = load_libvirt()
    with explained(f"list the network cards of {name}"):
        flag = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET
        found = unless_unsupported(connect.listAllDevices, flag) or []
        texts = [device.XMLDesc(0) for device in found]
    return fastest_mbps(texts)


def fastest_mbps(texts: Iterable[str]) -> int | None:
    """The fastest link that is up among node devices, Mbit/s. Pure."""
    links = [link for text in texts for link in parse(text).iterfind("capability[@type='net']/link")]
    speeds = [link.get("speed", "") for link in links if link.get("state") == "up"]
    return max((int(speed) for speed in speeds if speed.isdigit()), default=None)
