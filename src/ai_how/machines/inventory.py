"""What ``vm list`` shows: every machine that the site file asks for or a host has, made or not."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_how.capacity.demand import all_needs
from ai_how.capacity.types import NodeNeed
from ai_how.machines import domains, snapshots, storage
from ai_how.machines.desired import address_of
from ai_how.machines.marks import object_uuid, pool_name
from ai_how.machines.standing import Standing

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider

_AGENT_TIMEOUT_S = 2
NOT_MADE = "not made"


@dataclass(frozen=True, kw_only=True)
class MachineRow:
    """One machine. Sizes of disks are sums; ``agent`` None: not asked, because the machine is not on.

    ``host`` is empty where the machine is not made and the site file does not say. ``note`` says what is odd about it.
    """

    node: str
    cluster: str
    host: str
    state: str
    address: str
    vcpus: int
    memory_mib: int
    disk_size_bytes: int
    disk_used_bytes: int | None
    gpus: int
    agent: bool | None
    image: str
    snapshots: tuple[str, ...] = ()
    note: str = ""


def machine_rows(provider: LibvirtProvider) -> list[MachineRow]:
    """Every machine, ordered by name. Changes nothing, needs no placement and no image."""
    needs = {need.name: need for need in all_needs(provider.site)}
    used = _used(provider)

    def row(node: str) -> MachineRow:
        machine = provider.standing.get(node)
        if machine is None:
            return _planned(provider, needs[node])
        return _made(machine, needs.get(node), used.get(machine.host, {}))

    nodes = sorted(needs.keys() | provider.standing.keys())
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        return list(pool.map(row, nodes))


def _used(provider: LibvirtProvider) -> dict[str, dict[str, tuple[int, int]]]:
    """By host: its volumes with size and what they take."""
    name, found = provider.site.name, {}
    for host, connect in provider.connections.items():
        pool = storage.find_pool(connect, name=pool_name(name), uuid=object_uuid(name, "pool", name))
        found[host] = storage.allocations(pool) if pool is not None else {}
    return found


def _planned(provider: LibvirtProvider, need: NodeNeed) -> MachineRow:
    return MachineRow(
        node=need.name,
        cluster=need.cluster,
        host=need.host or (next(iter(provider.hosts)) if len(provider.hosts) == 1 else ""),
        state=NOT_MADE,
        address=address_of(provider.site, need),
        vcpus=need.vcpus,
        memory_mib=need.memory_gib * 1024,
        disk_size_bytes=need.disk_gib * 2**30,
        disk_used_bytes=None,
        gpus=need.gpus,
        agent=None,
        image="",
    )


def _made(machine: Standing, need: NodeNeed | None, used: Mapping[str, tuple[int, int]]) -> MachineRow:
    made, found = machine.made_with, machine.found
    disks = [str(volume) for volume in made.get("disks", [])]
    missing = [volume for volume in disks if volume not in used]
    notes = [found.reason, "" if need else "the site file no longer asks for it"]
    notes += [f"its disk {volume} is gone" for volume in missing]
    on = found.running
    return MachineRow(
        node=machine.node,
        cluster=machine.cluster,
        host=machine.host,
        state=found.state,
        address=machine.address,
        vcpus=int(made.get("vcpus", 0)),
        memory_mib=int(made.get("memory_mib", 0)),
        disk_size_bytes=sum(used[volume][0] for volume in disks if volume in used),
        disk_used_bytes=sum(used[volume][1] for volume in disks if volume in used),
        gpus=len(made.get("cards", [])),
        agent=domains.agent_answers(machine.connect, found.name, timeout_s=_AGENT_TIMEOUT_S) if on else None,
        image=str(made.get("image", "")),
        snapshots=tuple(one.name for one in snapshots.list_snapshots(machine)),
        note="; ".join(note for note in notes if note),
    )
