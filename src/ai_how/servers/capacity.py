"""What servers have, in the words of capacity planning: each is one node as a whole. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ai_how.capacity.demand import all_needs, declared_capacity, request_of
from ai_how.capacity.sizing import Fit, Solution
from ai_how.capacity.types import GpuCapacity, HostCapacity, NodeNeed, PlacedNode, SizingRequest
from ai_how.host.facts.node import NodeFacts
from ai_how.servers.desired import Fleet
from ai_how.site.spec import Site

_GIB = 2**30
UNREACHED = "unreached"


def capacity_of(name: str, facts: NodeFacts) -> HostCapacity:
    """What a server has; what could not be read is 0."""
    threads = facts.cpu.threads or 0
    return HostCapacity(
        name=name,
        cores=facts.cpu.cores or threads,
        threads=threads,
        memory_gib=facts.memory.total_gib or 0,
        disk_gib=facts.disk_free_bytes / _GIB,
        gpus=tuple(
            GpuCapacity(
                name=gpu.name,
                memory_gib=gpu.memory_gib or 0,
                compute_capability=gpu.compute_capability,
                pci_address=gpu.address,
                power_limit_w=gpu.power_limit_w,
            )
            for gpu in facts.gpus
        ),
        network_mbps=facts.network.fastest_mbps,
    )


def servers_request(site: Site, fleet: Fleet) -> tuple[SizingRequest, Solution]:
    """What is where: the site file says which server each node is, so that nothing is left to be placed."""
    capacities = dict(_capacities(site, fleet))
    request = request_of(site, capacities)
    needs = tuple(_whole(need, capacities[need.host]) for need in all_needs(site))
    placed = tuple(
        PlacedNode(need=need, host=need.host, gpus=tuple(range(len(capacities[need.host].gpus)))) for need in needs
    )
    return replace(request, needs=needs), Solution(schedule=site.schedule, fit=Fit.FITS, placed=placed)


def _capacities(site: Site, fleet: Fleet) -> Iterator[tuple[str, HostCapacity]]:
    for host in site.hosts:
        one = fleet.wanted.get(host.name)
        if host.declared is not None:
            yield host.name, declared_capacity(host.name, host.declared)
        elif one is not None and one.look.facts is not None:
            yield host.name, capacity_of(host.name, one.look.facts)
        else:
            yield host.name, HostCapacity(name=host.name, cores=0, threads=0, memory_gib=0, disk_gib=0)


def _whole(need: NodeNeed, capacity: HostCapacity) -> NodeNeed:
    return replace(
        need,
        vcpus=capacity.threads,
        memory_gib=int(capacity.memory_gib),
        disk_gib=int(capacity.disk_gib),
        gpus=len(capacity.gpus),
    )


def server_states(fleet: Fleet) -> dict[str, str]:
    """By server that is a node, or does not answer: its state in one word. What is missing is no node yet."""
    found = {}
    for name, one in fleet.wanted.items():
        if one.look.facts is None:
            found[name] = UNREACHED
        elif name in fleet.recorded:
            found[name] = "running"
    return found
