"""From servers as they were seen and recorded to resources of a plan and nodes of clusters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ai_how.host.checks.node import NodeWish, is_ours
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, Verb
from ai_how.servers.preflight import Examined
from ai_how.servers.record import FOLDER
from ai_how.servers.server import Reached, Server
from ai_how.site.spec import Site

PREFIX = "server/"
_MEMORY_SLACK_GIB = 1
"""A newer kernel keeps a little more or less for itself: no reason to set reservations anew."""
Recorded = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The servers of a site: those that are wanted, and those that were nodes and are not asked for any more."""

    wanted: Mapping[str, Examined]
    leaving: Mapping[str, Examined]
    recorded: Recorded


def recorded_servers(resources: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What was recorded of servers, by name."""
    return {name.removeprefix(PREFIX): made for name, made in resources.items() if name.startswith(PREFIX)}


def leaving_servers(recorded: Recorded, wanted: Sequence[Server], *, site: str) -> tuple[Server, ...]:
    """Those that are recorded and not wanted, as they were reached."""
    names = {server.name for server in wanted}
    return tuple(
        Server(
            name=name,
            reached=Reached.from_settings(made["reached"]),
            wish=NodeWish(name=name, site=site, cluster=made["cluster"], role=made["role"], set_up=True),
        )
        for name, made in recorded.items()
        if name not in names
    )


def settings_of(one: Examined, made: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a server is as a node. Of one that cannot be seen, what it was stays."""
    known = made or {}
    settings = {
        "cluster": one.server.wish.cluster,
        "role": str(one.server.wish.role),
        "reached": asdict(one.server.reached),
    }
    facts = one.look.facts
    if facts is None:
        return {**{key: known.get(key) for key in ("address", "machine_id", "memory_gib", "gpu_model")}, **settings}
    memory_gib = int(facts.memory.total_gib or 0)
    before = known.get("memory_gib")
    same = before is not None and abs(before - memory_gib) <= _MEMORY_SLACK_GIB
    return {
        **settings,
        "address": one.address,
        "machine_id": facts.machine_id,
        "memory_gib": before if same else memory_gib,
        "gpu_model": facts.gpus[0].name if facts.gpus else "",
    }


def resources(fleet: Fleet) -> list[Resource]:
    """The wanted servers."""
    return [
        Resource(name=f"{PREFIX}{name}", settings=settings_of(one, fleet.recorded.get(name)))
        for name, one in fleet.wanted.items()
    ]


def observed(fleet: Fleet) -> dict[str, Observed]:
    """What is recorded of servers, and what stands against them."""
    found = {}
    for name, made in fleet.recorded.items():
        one = fleet.wanted.get(name)
        trouble = trouble_of(one) if one else ""
        found[f"{PREFIX}{name}"] = Observed(
            name=f"{PREFIX}{name}",
            condition=Condition.FAILING if trouble else Condition.HEALTHY,
            settings=made,
            detail=trouble,
        )
    return found


def trouble_of(one: Examined) -> str:
    """Why a server cannot be worked on, or be a node; empty where nothing stands against it."""
    if one.look.trouble:
        return one.look.trouble.brief
    if one.blocking:
        titles = ", ".join(check.title for check in one.blocking)
        return f"{len(one.blocking)} check{'s fail' if len(one.blocking) > 1 else ' fails'}: {titles}"
    if one.server.wish.set_up and one.look.facts and not is_ours(one.look.facts, one.server.wish):
        return "its record that it is this node is gone"
    return ""


def explained(plan: Plan, fleet: Fleet) -> Plan:
    """A plan that says what becomes of each server."""
    return replace(plan, actions=tuple(_explained(action, fleet) for action in plan.actions))


def _explained(action: Action, fleet: Fleet) -> Action:
    if not action.resource.startswith(PREFIX):
        return action
    name = action.resource.removeprefix(PREFIX)
    if action.verb is Verb.DELETE:
        return replace(action, reason="the site file no longer names it; the server itself stays on")
    one = fleet.wanted[name]
    trouble = trouble_of(one)
    if action.verb is Verb.CREATE:
        node = f"a {one.server.wish.role} of cluster {one.server.wish.cluster}"
        if _refuses(one):
            return replace(action, reason=f"blocked: {trouble}; without that it becomes {node}")
        return replace(action, reason=f"becomes {node}; {trouble}" if trouble else f"becomes {node}")
    if was_replaced(one, fleet.recorded.get(name)):
        return replace(action, reason="another machine, or the same one installed anew, has its address")
    return replace(action, reason=f"{action.reason}; {trouble}" if trouble not in action.reason else action.reason)


def _refuses(one: Examined) -> bool:
    """Whether `up` would try this server and stop there."""
    return bool(one.look.trouble or one.blocking)


def left_alone(one: Examined) -> Iterator[str]:
    """What to say of a server that was set up and that ``destroy`` does not touch: why, and what to do later."""
    name, trouble, facts = one.server.name, one.look.trouble, one.look.facts
    if facts is not None and facts.record:
        yield f"{name} is left as it is: another site has it"
        return
    record = "is gone" if facts is None or facts.record is None else "cannot be read"
    yield f"{name} is left as it is: {trouble.brief if trouble else f'its record that it is our node {record}'}"
    yield "  Kubernetes may still be on it. To take it off later, on that server, as root:"
    yield f"  kubeadm reset --force; rm -rf /etc/kubernetes {FOLDER}"


def was_replaced(one: Examined, made: Mapping[str, Any] | None) -> bool:
    """Whether another installation than the recorded one answers in a server's place."""
    facts = one.look.facts
    before = (made or {}).get("machine_id")
    return bool(facts and before and facts.machine_id and facts.machine_id != before)


def cluster_machines(
    site: Site, fleet: Fleet, *, known_hosts: Path, recorded_clusters: Mapping[str, Sequence[ClusterNode]]
) -> tuple[ClusterMachines, ...]:
    """The clusters of Kubernetes, also those that the site file no longer has.

    Args:
        recorded_clusters: Of each that was set up, its nodes as they were reached.
    """
    there = frozenset(_there(fleet))
    planned = [name for name, cluster in site.planned_clusters.items() if cluster.kind == "cloud"]
    found = [
        ClusterMachines(
            cluster=name,
            nodes=tuple(
                _node(one, fleet.recorded.get(one.server.name), known_hosts)
                for one in fleet.wanted.values()
                if one.server.wish.cluster == name
            ),
            there=there,
        )
        for name in planned
    ]
    found += [
        ClusterMachines(cluster=name, nodes=tuple(nodes), there=there)
        for name, nodes in recorded_clusters.items()
        if name not in planned
    ]
    return tuple(found)


def _there(fleet: Fleet) -> Iterator[str]:
    """A wanted server that does not answer may only be off; one that leaves and does not answer is lost."""
    for name, one in fleet.wanted.items():
        if not was_replaced(one, fleet.recorded.get(name)):
            yield name
    for name, one in fleet.leaving.items():
        if one.look.facts and not was_replaced(one, fleet.recorded.get(name)):
            yield name


def _node(one: Examined, made: Mapping[str, Any] | None, known_hosts: Path) -> ClusterNode:
    settings = settings_of(one, made)
    return ClusterNode(
        name=one.server.name,
        role=one.server.wish.role,
        # of one that was never seen, what the site file says
        address=settings["address"] or one.server.wish.cluster_address or one.server.reached.host,
        access=one.server.reached.target(known_hosts),
        memory_gib=float(settings["memory_gib"] or 0),
        gpu_model=settings["gpu_model"] or "",
    )
