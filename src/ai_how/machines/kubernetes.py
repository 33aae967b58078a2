"""A site's virtual machines as the nodes that Kubernetes is set up on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ai_how.capacity.demand import all_needs, hosts_of
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.machines.desired import MachineWish
from ai_how.machines.standing import Standing
from ai_how.run.ssh import SshTarget
from ai_how.site.roles import Role
from ai_how.site.spec import Site

_MIB_IN_GIB = 1024


def cluster_machines(
    site: Site,
    wishes: Mapping[str, MachineWish],
    *,
    reached: Mapping[str, SshTarget],
    standing: Mapping[str, Standing],
) -> tuple[ClusterMachines, ...]:
    """The cloud clusters of a site. Pure.

    Args:
        wishes: The machines that the site file asks for, by node.
        reached: How each of them is reached.
        standing: The machines that are defined now.
    """
    running = {wish.machine.cluster for wish in wishes.values() if wish.start}
    roles = {need.name: need.role for need in all_needs(site)}
    near = {host.name for host in hosts_of(site) if ":///" in host.uri}
    return tuple(
        ClusterMachines(
            cluster=name,
            nodes=tuple(_nodes(name, wishes, roles, reached)),
            there=frozenset(standing),
            off=frozenset(node for node, machine in standing.items() if not machine.found.running),
            runs=name in running,
            host_address=_host_address(name, wishes, near),
        )
        for name, cluster in site.planned_clusters.items()
        if cluster.kind == "cloud"
    )


def _host_address(cluster: str, wishes: Mapping[str, MachineWish], near: Collection[str]) -> str:
    """This machine's address in a cluster's own network, where that network is on this machine."""
    found = (wish.resolver for wish in wishes.values() if wish.machine.cluster == cluster and wish.host in near)
    return next(found, "")


def _nodes(
    cluster: str, wishes: Mapping[str, MachineWish], roles: Mapping[str, Role], reached: Mapping[str, SshTarget]
) -> Iterator[ClusterNode]:
    for node, wish in wishes.items():
        if wish.machine.cluster == cluster:
            yield ClusterNode(
                name=node,
                role=roles[node],
                address=wish.address,
                access=reached[node],
                memory_gib=wish.machine.memory.size_mib / _MIB_IN_GIB,
                gpu_model=wish.machine.cards[0].name if wish.machine.cards else "",
            )
