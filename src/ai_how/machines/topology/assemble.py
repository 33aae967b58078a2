"""From the site, what its hosts have, where its nodes go and what is there to a picture of it all. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from itertools import chain

from ai_how.capacity.demand import hosts_of
from ai_how.capacity.sizing import Fit, Solution
from ai_how.capacity.types import GpuCapacity, HostCapacity, NodeNeed, PlacedNode, SizingRequest
from ai_how.machines.desired import address_of, subnet_of
from ai_how.machines.topology.types import GpuView, HostView, MachineView, NetworkView, Topology
from ai_how.machines.turns import clusters_to_run
from ai_how.site.spec import Site

PLANNED, NOT_MADE, RUNNING, OFF = "planned", "not made", "running", "off"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A machine that is on a host: its state in libvirt's word, and the addresses of its cards' first functions."""

    host: str
    state: str
    cards: tuple[str, ...] = ()


def assemble(
    site: Site,
    request: SizingRequest,
    solution: Solution,
    *,
    seen: Mapping[str, Seen] | None,
    unseen: str = "",
    foreign: Mapping[str, IPv4Network] | None = None,
) -> Topology:
    """The picture of a site.

    Args:
        seen: The machines that are there, by node; None: libvirt was not asked, ``unseen`` says why.
        foreign: Networks on the hosts that are not the site's, by name.
    """
    placed = {node.need.name: node for node in solution.placed}
    capacities = {offer.name: offer.capacity for offer in request.hosts}
    running = {need.cluster for need in request.needs if (seen or {}).get(need.name, _NOWHERE).state == RUNNING}
    wanted = clusters_to_run(site, running=running) if site.planned_clusters else frozenset()
    machines = [
        _machine(site, need, placed.get(need.name), capacities, seen, should_run=need.cluster in wanted)
        for need in sorted(request.needs, key=lambda need: need.name)
    ]
    hosts = tuple(_host(site, name, capacities[name], place, machines) for name, place in _places(site))
    networks = tuple(_networks(site, machines, foreign or {}))
    unplaced = tuple(machine for machine in machines if not machine.host)
    return Topology(
        site=site.name,
        schedule=site.schedule,
        unseen=unseen,
        hosts=hosts,
        networks=networks,
        unplaced=unplaced,
        conflicts=tuple(_conflicts(solution, hosts, networks)),
    )


_NOWHERE = Seen(host="", state="")


def _places(site: Site) -> Iterator[tuple[str, str]]:
    for host in hosts_of(site):
        yield host.name, (host.address or "") if site.provider == "inventory" else host.uri


def _machine(
    site: Site,
    need: NodeNeed,
    placed: PlacedNode | None,
    capacities: Mapping[str, HostCapacity],
    seen: Mapping[str, Seen] | None,
    *,
    should_run: bool,
) -> MachineView:
    there = None if seen is None else seen.get(need.name)
    host = there.host if there else placed.host if placed else ""
    gpus = placed.gpus if placed else ()
    if there and there.cards:
        gpus = tuple(
            index
            for index, gpu in enumerate(capacities[host].gpus)
            if gpu.pci_address and gpu.pci_address in there.cards
        )
    state = PLANNED if seen is None else there.state if there else NOT_MADE
    wrong = there is not None and should_run and there.state != RUNNING
    # only a server as a whole can be a node of unknown size
    known = need.vcpus > 0
    return MachineView(
        node=need.name,
        cluster=need.cluster,
        role=need.role,
        host=host,
        address=_address(site, need),
        vcpus=need.vcpus if known else None,
        memory_gib=need.memory_gib if known else None,
        disk_gib=need.disk_gib if known else None,
        gpus=gpus,
        state=state,
        conflict=f"should run, is {state}" if wrong else "" if host else "finds no place",
    )


def _address(site: Site, need: NodeNeed) -> str:
    if site.provider != "inventory":
        return address_of(site, need)
    host = next((host for host in site.hosts if host.name == need.host), None)
    return (host.cluster_address or (host.address or "").rpartition("@")[2]) if host else ""


def _host(site: Site, name: str, capacity: HostCapacity, place: str, machines: Sequence[MachineView]) -> HostView:
    here = tuple(machine for machine in machines if machine.host == name)
    known = capacity.threads > 0
    return HostView(
        name=name,
        place=place,
        cores=capacity.cores if known else None,
        threads=capacity.threads if known else None,
        memory_gib=capacity.memory_gib if known else None,
        disk_gib=capacity.disk_gib if known else None,
        declared=not capacity.observed,
        gpus=tuple(_gpu(site, index, gpu, here) for index, gpu in enumerate(capacity.gpus)),
        machines=here,
    )


def _gpu(site: Site, index: int, gpu: GpuCapacity, machines: Sequence[MachineView]) -> GpuView:
    users = [machine for machine in machines if index in machine.gpus]
    return GpuView(
        name=gpu.name,
        memory_gib=gpu.memory_gib,
        address=gpu.pci_address,
        nodes=tuple(machine.node for machine in users),
        conflict=_gpu_conflict(site, gpu, users),
    )


def _gpu_conflict(site: Site, gpu: GpuCapacity, users: Sequence[MachineView]) -> str:
    clusters = sorted({machine.cluster for machine in users})
    on = [machine.node for machine in users if machine.state == RUNNING]
    if len(on) > 1:
        return f"runs in {' and '.join(on)} at once"
    if len(users) > 1 and (site.schedule == "side-by-side" or len(clusters) == 1):
        return f"is wanted by {' and '.join(machine.node for machine in users)} at once"
    if users and gpu.blocked:
        return f"cannot be passed through: {gpu.blocked}"
    return ""


def _networks(site: Site, machines: Sequence[MachineView], foreign: Mapping[str, IPv4Network]) -> Iterator[NetworkView]:
    for name, cluster in site.planned_clusters.items():
        own = site.provider == "inventory" and cluster.subnet is None
        subnet = IPv4Network(subnet_of(cluster))
        over = [f"{other} of network {taken}" for taken, other in foreign.items() if other.overlaps(subnet)]
        virtual = site.provider == "libvirt"
        yield NetworkView(
            cluster=name,
            kind=cluster.kind,
            subnet="the servers' own" if own else str(subnet),
            mode=cluster.network.mode if virtual else "",
            bridge=cluster.network.bridge or "",
            start=cluster.start,
            machines=sum(machine.cluster == name for machine in machines),
            conflict=f"overlaps {' and '.join(over)}" if over and cluster.network.mode != "bridge" else "",
        )


def _conflicts(
    solution: Solution,
    hosts: Sequence[HostView],
    networks: Sequence[NetworkView],
) -> Iterator[str]:
    if solution.fit is not Fit.FITS:
        yield from (f"{binding.rule}: {binding.what}" for binding in solution.bindings)
        if not solution.bindings:
            yield solution.why
    for machine in chain.from_iterable(host.machines for host in hosts):
        if machine.conflict:
            yield f"{machine.node} {machine.conflict}"
    for host in hosts:
        for index, gpu in enumerate(host.gpus):
            if gpu.conflict:
                yield f"GPU {index} of {host.name} ({gpu.name}) {gpu.conflict}"
    for network in networks:
        if network.conflict:
            yield f"network {network.subnet} of cluster {network.cluster} {network.conflict}"
