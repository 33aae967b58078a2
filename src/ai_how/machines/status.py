"""What ``status`` shows of a site on libvirt hosts, also where no plan can be made: machines, networks, pools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ai_how.apply.provider import ComponentStatus
from ai_how.capacity.demand import all_needs
from ai_how.errors import AiHowError
from ai_how.kubernetes.setup import PREFIX as KUBERNETES
from ai_how.machines.card_trouble import Trouble, card_troubles
from ai_how.machines.components import component_of, components_of, machine_remedy
from ai_how.machines.connection import in_a_line
from ai_how.machines.desired import address_of, subnet_of
from ai_how.machines.turns import clusters_to_run
from ai_how.machines.world import HostWorld, observe_all, state_of
from ai_how.plan.model import Condition, Observed

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider

_POOL_CONDITIONS = {True: Condition.HEALTHY, False: Condition.STOPPED}


def components(provider: LibvirtProvider) -> list[ComponentStatus]:
    """Every machine, network and pool, and how it is doing; of a machine also what is wrong with its cards.

    Then the clusters' Kubernetes, where a plan can be made.
    """
    site = provider.site
    troubles = card_troubles(provider.card_hosts, provider.standing, site=site.name, owner=provider.owner)
    try:
        found = list(components_of(provider.look.wanted, provider.look.observed))
        troubles = {node: _with_way_out(provider, node, trouble) for node, trouble in troubles.items()}
    except AiHowError as error:
        # what stands is shown all the same; what hinders the rest is said of the rest
        found = list(_without_plan(provider, error))
        return [_with(component, troubles.get(component.name)) for component in found]
    machines = [_with(component, troubles.get(component.name)) for component in found]
    clusters = provider.look.clusters
    return [*machines, *provider.kubernetes.components(clusters), *provider.stacks.components(clusters)]


def unasked_components(provider: LibvirtProvider) -> list[ComponentStatus]:
    """Every node and every Kubernetes that is planned, where a host does not answer: how they are is not known."""
    site, troubles = provider.site, provider.opened.troubles
    said = "; ".join(f"host {name}: {in_a_line(error)}" for name, error in troubles.items())
    remedy = next((error.next_step for error in troubles.values()), "")
    names = {need.name: address_of(site, need) for need in all_needs(site)}
    names |= {f"{KUBERNETES}{name}": "" for name, cluster in site.planned_clusters.items() if cluster.has_kubernetes}
    return [
        ComponentStatus(name=name, condition=Condition.UNKNOWN, address=address, detail=said, remedy=remedy)
        for name, address in names.items()
    ]


def _with_way_out(provider: LibvirtProvider, node: str, trouble: Trouble) -> Trouble:
    """A plan may give the machine other cards: then that is the way out."""
    wish = provider.look.wanted.machines.get(node)
    other = [str(card.functions[0]) for card in wish.machine.cards] if wish else []
    if not other or any(address in trouble.what for address in other):
        return trouble
    return Trouble(what=f"{trouble.what}; up gives it {', '.join(other)}", remedy="ai-how up")


def _with(component: ComponentStatus, trouble: Trouble | None) -> ComponentStatus:
    if trouble is None:
        return component
    detail = "; ".join(filter(None, (component.detail, trouble.what)))
    return replace(component, detail=detail, remedy=trouble.remedy)


def _without_plan(provider: LibvirtProvider, error: AiHowError) -> Iterator[ComponentStatus]:
    """What stands by its marks alone, and each node that is not made with the reason why none can be made."""
    site = provider.site
    worlds = observe_all(provider.connections, site=site.name, owner=provider.owner)
    needs = {need.name: need for need in all_needs(site)}
    for node in sorted(needs.keys() | provider.standing.keys()):
        if node in provider.standing:
            yield _standing(provider, node, worlds, error, wanted=node in needs)
        else:
            yield ComponentStatus(
                name=node,
                condition=Condition.ABSENT,
                address=address_of(site, needs[node]),
                detail=f"is not made yet, and cannot be: {in_a_line(error)}",
                remedy=error.next_step or "ai-how plan",
            )
    yield from _networks_and_pools(provider, worlds)


def _standing(
    provider: LibvirtProvider, node: str, worlds: Mapping[str, HostWorld], error: AiHowError, *, wanted: bool
) -> ComponentStatus:
    machine = provider.standing[node]
    running = clusters_to_run(provider.site, running=provider.running_clusters, asked=provider.cluster)
    start = wanted and machine.cluster in running
    ready = provider.state.resources().get(f"machine/{node}", {})
    condition, detail = state_of(worlds[machine.host], machine.found, start=start, ready=ready)
    if not wanted:
        detail = "the site file no longer asks for it"
    elif detail:
        detail = f"{detail}; up is refused: {in_a_line(error)}"
    seen = Observed(name=node, condition=condition, detail=detail, settings={})
    shown = component_of(
        node,
        seen,
        address=machine.address,
        version=str(machine.made_with.get("image", "")),
        remedy=machine_remedy(node, start=start),
    )
    return replace(shown, remedy=error.next_step or "ai-how plan") if detail else shown


def _networks_and_pools(provider: LibvirtProvider, worlds: Mapping[str, HostWorld]) -> Iterator[ComponentStatus]:
    several = len(provider.hosts) > 1
    for host, world in worlds.items():
        at = f"@{host}" if several else ""
        for cluster, (_, active) in world.networks.items():
            condition = Condition.HEALTHY if active else Condition.STOPPED
            made = provider.site.planned_clusters.get(cluster)
            seen = Observed(name=cluster, condition=condition, detail="" if active else "is not active", settings={})
            yield component_of(f"network/{cluster}{at}", seen, address=subnet_of(made) if made else "")
        if world.pool is not None:
            detail = "" if world.pool else "is not active"
            seen = Observed(name="pool", condition=_POOL_CONDITIONS[world.pool], detail=detail, settings={})
            path = f"{provider.hosts[host].storage_path}/{provider.site.name}"
            yield component_of(f"pool{at}", seen, address=path)
