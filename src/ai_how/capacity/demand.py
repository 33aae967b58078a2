"""From the site file to a sizing request: nodes with names and sizes, declared machines, rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ai_how.accelerators.catalogue import by_name
from ai_how.capacity.types import (
    GpuCapacity,
    HostCapacity,
    HostOffer,
    HostReserve,
    NodeNeed,
    NumaCapacity,
    PlacementRules,
    SizingRequest,
)
from ai_how.site.clusters import Cluster, Declared, DeclaredGpus, Host, Node, Placement, Reserve
from ai_how.site.roles import DEFAULTS, ROLES, Role
from ai_how.site.spec import Site


def request_of(site: Site, observed: Mapping[str, HostCapacity]) -> SizingRequest:
    """What to place where.

    Args:
        observed: By name, the hosts that the site file does not declare.

    Raises:
        KeyError: a host is neither declared nor observed.
    """
    whole = site.provider == "inventory"
    return SizingRequest(
        needs=all_needs(site),
        hosts=tuple(_offer(host, observed, whole_hosts=whole) for host in hosts_of(site)),
        rules=rules_of(site.placement, whole_hosts=whole),
        schedule=site.schedule,
    )


def all_needs(site: Site) -> tuple[NodeNeed, ...]:
    """The nodes of all clusters; servers of an inventory keep their own names."""
    needs = (need for name, cluster in site.planned_clusters.items() for need in needs_of(name, cluster))
    if site.provider != "inventory":
        return tuple(needs)
    addressed = {host.name for host in site.hosts if host.address}
    return tuple(replace(need, name=need.host) if need.host in addressed else need for need in needs)


def hosts_of(site: Site) -> tuple[Host, ...]:
    """The hosts as written, or this machine under the name ``this-machine``."""
    return tuple(site.hosts) or (Host(name="this-machine"),)


def _offer(host: Host, observed: Mapping[str, HostCapacity], *, whole_hosts: bool) -> HostOffer:
    capacity = declared_capacity(host.name, host.declared) if host.declared else observed[host.name]
    return HostOffer(capacity=capacity, reserve=HostReserve() if whole_hosts else reserve_of(host.reserve))


def reserve_of(reserve: Reserve) -> HostReserve:
    """What a host keeps for itself."""
    return HostReserve(cores=reserve.cores, memory_gib=reserve.memory_gib, disk_percent=reserve.disk_percent)


def rules_of(placement: Placement, *, whole_hosts: bool = False) -> PlacementRules:
    """The rules' settings."""
    return PlacementRules(
        vcpu_overcommit={role: placement.vcpu_overcommit.factor(role) for role in ROLES},
        numa_locality=placement.numa_locality,
        hugepages="none" if whole_hosts else placement.hugepages,
        thin_disk_overcommit=1 if whole_hosts else placement.thin_disk_overcommit,
        whole_hosts=whole_hosts,
    )


def needs_of(name: str, cluster: Cluster) -> tuple[NodeNeed, ...]:
    """A cluster's nodes, named ``<cluster>-<role>-<number>`` in the order of the file, the role without ``hpc-``."""
    numbers: dict[Role, int] = {}
    needs = []
    for group in cluster.node_groups:
        for _ in range(group.count):
            numbers[group.role] = numbers.get(group.role, 0) + 1
            needs.append(_need(name, group, numbers[group.role]))
    return tuple(needs)


def _need(cluster: str, group: Node, number: int) -> NodeNeed:
    usual = DEFAULTS[group.role]
    return NodeNeed(
        name=f"{cluster}-{group.role.removeprefix('hpc-')}-{number}",
        cluster=cluster,
        role=group.role,
        vcpus=usual.vcpus if group.vcpus is None else group.vcpus,
        memory_gib=usual.memory_gib if group.memory_gib is None else group.memory_gib,
        disk_gib=usual.disk_gib if group.disk_gib is None else group.disk_gib,
        gpus=(len(group.gpu_addresses) or usual.gpus) if group.gpus is None else group.gpus,
        gpu_model=group.gpu_model or "",
        gpu_memory_gib=group.gpu_memory_gib or 0,
        gpu_addresses=tuple(group.gpu_addresses),
        host=group.host or "",
    )


def declared_capacity(name: str, declared: Declared) -> HostCapacity:
    """What a declared machine has; its cores and memory are spread evenly over its NUMA nodes."""
    threads = declared.threads or declared.cores
    nodes = declared.numa_nodes
    return HostCapacity(
        name=name,
        cores=declared.cores,
        threads=threads,
        memory_gib=declared.memory_gib,
        disk_gib=declared.disk_gib,
        gpus=_declared_gpus(declared.gpus, nodes),
        numa=tuple(
            NumaCapacity(
                id=node,
                threads=threads * (node + 1) // nodes - threads * node // nodes,
                memory_gib=declared.memory_gib / nodes,
            )
            for node in range(nodes)
        ),
        hugepages_gib=declared.hugepages_gib,
        network_mbps=declared.network_mbps,
        observed=False,
    )


def _declared_gpus(kinds: Sequence[DeclaredGpus], numa_nodes: int) -> tuple[GpuCapacity, ...]:
    gpus: list[GpuCapacity] = []
    for kind in kinds:
        known = by_name(kind.model)
        for number in range(kind.count):
            gpus.append(
                GpuCapacity(
                    name=known.name if known else kind.model,
                    # the loader has refused cards without either
                    memory_gib=kind.memory_gib or (known.memory_gib if known else 0),
                    compute_capability=known.compute_capability if known else None,
                    power_limit_w=kind.power_limit_w or (known.power_limit_w if known else None),
                    pci_address=kind.addresses[number] if kind.addresses else "",
                    numa_node=len(gpus) % numa_nodes if kind.numa_node is None else kind.numa_node,
                )
            )
    return tuple(gpus)
