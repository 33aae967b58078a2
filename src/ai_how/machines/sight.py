"""One look at a site's hosts: what is wanted there, and what is there. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_how.capacity.demand import all_needs
from ai_how.capacity.types import NodeNeed, PlacedNode
from ai_how.errors import AiHowError, ConflictError
from ai_how.host.site_hosts import observe_site_hosts
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.machines.card_trouble import held_cards
from ai_how.machines.chosen_images import choose_images
from ai_how.machines.desired import KEYS, Desired, HostSetting, ImageFile, MachineWish, desired_of
from ai_how.machines.far_hosts import far_capacity
from ai_how.machines.kubernetes import cluster_machines
from ai_how.machines.numa import numa_cpus
from ai_how.machines.placing import Held, passed_over, place_nodes
from ai_how.machines.standing import Standing
from ai_how.machines.turns import clusters_to_run
from ai_how.machines.types import Card
from ai_how.machines.virtualization import choose_virtualization
from ai_how.machines.world import HostWorld, observe_all, observed_resources
from ai_how.plan.model import Condition, Observed

if TYPE_CHECKING:
    from ai_how.machines.provider import LibvirtProvider


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What one look at the hosts gave. ``held`` are cards that others' machines run with, ``notes`` what was passed
    over because of them."""

    wanted: Desired
    worlds: Mapping[str, HostWorld]
    observed: dict[str, Observed]
    clusters: tuple[ClusterMachines, ...]
    held: Held
    notes: tuple[str, ...]

    def check_cards_free(self) -> None:
        """See that no machine that shall be on was left with a card that somebody else runs with.

        Raises:
            ConflictError: one was, because there is no other for it; the evidence names who has it.
        """
        for node, wish in self.wanted.machines.items():
            for card in wish.machine.cards if wish.start else ():
                address = str(card.functions[0])
                who = self.held.get(wish.host, {}).get(address)
                if who:
                    raise ConflictError(
                        f"{node} cannot start: the {card.name} at {address} of {wish.host} is in use",
                        evidence=f"{who} has it",
                        next_step="shut that down; or write start: manual for this cluster. ai-how gpu list",
                    )


def look_at(provider: LibvirtProvider) -> Sight:
    """Look at the site's hosts.

    Raises:
        SpecError: the nodes do not fit the hosts.
        ConflictError: a card that a node gets cannot be had.
        NotFoundError: a card or an image is not there.
    """
    site, owner, standing = provider.site, provider.owner, provider.standing
    made = {node: machine.made_with for node, machine in standing.items()}
    capacities = observe_site_hosts(site, ask_far=lambda host: far_capacity(host, provider.connections[host.name]))
    with_cards = any(need.gpus for need in all_needs(site))
    held = held_cards(provider.card_hosts, site=site.name, owner=owner) if with_cards else {}
    placed = place_nodes(
        site,
        capacities,
        kept={node: machine.host for node, machine in standing.items()},
        cards={node: [f[0] for f in settings.get("cards", []) if f] for node, settings in made.items()},
        held=held,
    )
    bound = {node.host for node in placed if node.numa_node is not None}
    images, to_build = choose_images(site, provider.store, placed, made)
    wanted = desired_of(
        site,
        placed,
        owner=owner,
        hosts={
            name: _host_setting(
                provider,
                name,
                made,
                cards=host.given(placed, capacities, held=held.get(name, {})),
                numa_cpus=numa_cpus(host.connect) if name in bound else {},
            )
            for name, host in provider.card_hosts.items()
        },
        images=images,
        to_build=to_build,
        running=clusters_to_run(site, running=provider.running_clusters, asked=provider.cluster),
    )
    worlds = observe_all(provider.connections, site=site.name, owner=owner)
    observed = observed_resources(worlds, wanted, ready=provider.state.resources())
    observed[KEYS] = _keys(provider, wanted)
    notes = tuple(passed_over(site, capacities, placed, held=held))
    reached = {node: provider.target(wish) for node, wish in wanted.machines.items()}
    clusters = cluster_machines(site, wanted.machines, reached=reached, standing=standing)
    observed |= provider.kubernetes.observed(clusters)
    return Sight(wanted=wanted, worlds=worlds, observed=observed, clusters=clusters, held=held, notes=notes)


def wish_for(provider: LibvirtProvider, machine: Standing) -> MachineWish | None:
    """What is wanted of a machine that is there; None where the site file no longer asks for it.

    One without cards is not hindered by what keeps the site from being planned: it is wanted as it was made.

    Raises:
        As ``look_at``, for a machine with cards.
    """
    try:
        return provider.look.wanted.machines.get(machine.node)
    except AiHowError:
        if machine.made_with.get("cards"):
            raise
    need = next((need for need in all_needs(provider.site) if need.name == machine.node), None)
    return _as_made(provider, machine, need) if need else None


def _as_made(provider: LibvirtProvider, machine: Standing, need: NodeNeed) -> MachineWish:
    made = {need.name: machine.made_with}
    wanted = desired_of(
        provider.site,
        [PlacedNode(need=need, host=machine.host, numa_node=machine.made_with.get("numa_node"))],
        owner=provider.owner,
        hosts={name: _host_setting(provider, name, made, cards=(), numa_cpus={}) for name in provider.hosts},
        images={need.name: ImageFile(name=str(machine.made_with.get("image", "")), virtual_size_bytes=0)},
        running={need.cluster},
    )
    return wanted.machines[need.name]


def _keys(provider: LibvirtProvider, wanted: Desired) -> Observed:
    trouble = provider.keys.problem(list(wanted.machines))
    condition = Condition.FAILING if trouble else Condition.HEALTHY
    made: dict[str, Any] | None = {} if provider.keys.login.whole else None
    return Observed(name=KEYS, condition=condition, settings=made, detail=trouble or "")


def _host_setting(
    provider: LibvirtProvider,
    name: str,
    made: Mapping[str, Mapping[str, Any]],
    *,
    cards: tuple[Card, ...],
    numa_cpus: Mapping[int, str],
) -> HostSetting:
    host = provider.hosts[name]
    here = (made[node] for node, machine in provider.standing.items() if machine.host == name and made.get(node))
    kept = next((settings["virtualization"] for settings in here), None)
    return HostSetting(
        name=name,
        uri=host.uri,
        storage_path=host.storage_path,
        virtualization=choose_virtualization(provider.site.virtualization, host.uri, kept=kept),
        cards=cards,
        numa_cpus=numa_cpus,
    )
