"""The stacks on the clusters of a site, for whatever provides the machines: what is wanted, what is there, doing it.

As ``kubernetes.cluster_of_site``, which it stands on: a provider hands over its clusters and its state. Each cluster is
looked at once a command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from threading import Event, Lock
from typing import Any

from ai_how.apply.provider import ComponentStatus, Say, Tell
from ai_how.capacity.demand import needs_of
from ai_how.errors import AiHowError, NotFoundError, SpecError, WorldChangedError
from ai_how.kubernetes.cluster_api import open_cluster_api
from ai_how.kubernetes.cluster_of_site import ClusterMachines, SiteKubernetes
from ai_how.kubernetes.nodes import CONTROL_PLANE
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import Patience
from ai_how.kubernetes_api.removal import Marked
from ai_how.plan.compute import describe_changes
from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, Verb
from ai_how.rollout.apply import Tools, apply_part, remove_part
from ai_how.rollout.health import part_statuses, silent_status
from ai_how.rollout.helm import Helm
from ai_how.rollout.logs import part_log
from ai_how.rollout.look import StackLook, look_at_stack, marked_by
from ai_how.rollout.supply import HostSupply, Supply
from ai_how.rollout.wish import PREFIX, Wish, digests, split_name
from ai_how.site.server_rules import is_ipv4
from ai_how.stack.chart_values import check_known_values
from ai_how.stack.fit import fit_stack
from ai_how.stack.setting import NodeAddresses
from ai_how.stack.stack import render_stack

WELL = "stack-well/"
"""Under this name, a cluster's and a part's is kept what was seen well, and the revisions of its releases then."""
WELL_TIMEOUT_S = 900.0
_LOOK = Patience(total_s=4, answer_s=20)
_WORK = Patience(total_s=60, answer_s=30)
SupplyOf = Callable[[str], Supply]
Clusters = Callable[[], Sequence[ClusterMachines]]


class SiteStacks:
    """The stack of every cluster of one site."""

    def __init__(
        self, kubernetes: SiteKubernetes, *, clusters: Clusters | None = None, supply_of: SupplyOf | None = None
    ) -> None:
        """
        Args:
            clusters: The clusters as they are, where only their machines know the nodes' addresses.
            supply_of: From a cluster's name to where its stack's parts come from; default: through this host.
        """
        self.kubernetes = kubernetes
        self.site = kubernetes.site
        self.state = kubernetes.state
        self._clusters = clusters
        self._supply_of = supply_of or self._host_supply
        self._supplies: dict[str, Supply] = {}
        self._looks: dict[str, StackLook] = {}
        self._tell: Tell = lambda _resource, _lines: None
        self._interrupted = Event()
        self._guard = Lock()

    @property
    def names(self) -> list[str]:
        """The clusters that have a stack by the site file."""
        return [name for name, cluster in self.site.planned_clusters.items() if cluster.has_stack]

    @cached_property
    def wishes(self) -> dict[str, tuple[Wish, ...]]:
        """The parts that are wanted, by cluster.

        Raises:
            SpecError, NotFoundError: a part cannot be rendered, a chart does not know a value, or pods find no place.
        """
        return {name: self._wishes(name) for name in self.names}

    def _wishes(self, cluster: str) -> tuple[Wish, ...]:
        parts = render_stack(self.site, cluster, self.kubernetes.versions, addresses=self._addresses(cluster))
        check_known_values(chart for part in parts for chart in part.component.charts)
        fit = fit_stack(parts, needs_of(cluster, self.site.planned_clusters[cluster]))
        if not fit.fits:
            asked = [f"{pod.name}: {pod.request.cpu_m}m, {pod.request.memory_mib} MiB" for pod in fit.unplaced]
            raise SpecError(
                f"the stack does not fit cluster {cluster}: {len(asked)} pods find no place on its workers",
                evidence="\n".join(asked[:5]),
                next_step=f"give its workers more vcpus or memory_gib, add one, or write "
                f"clusters.{cluster}.stack: {{enabled: false}}",
            )
        return tuple(Wish(site=self.site.name, cluster=cluster, part=part) for part in parts)

    def _addresses(self, cluster: str) -> NodeAddresses | None:
        if self._clusters is None:
            return None
        # one that was never seen has no more than its name
        seen = [
            one for each in self._clusters() if each.cluster == cluster for one in each.nodes if is_ipv4(one.address)
        ]
        control_plane = tuple(one.address for one in seen if one.role == CONTROL_PLANE)
        return NodeAddresses(control_plane=control_plane, nodes=tuple(one.address for one in seen))

    def recorded(self, prefix: str = PREFIX) -> dict[str, dict[str, Any]]:
        """What was applied, by resource."""
        return {name: made for name, made in self.state.resources().items() if name.startswith(prefix)}

    def resources(self, clusters: Sequence[ClusterMachines]) -> list[Resource]:
        """As resources of a plan; on a cluster that does not run, what it has stays."""
        runs = {each.cluster for each in clusters if each.runs}
        asleep = {each.cluster for each in clusters if not each.runs}
        found = [wish.resource() for cluster in self.names if cluster in runs for wish in self.wishes[cluster]]
        for name, made in self.recorded().items():
            if split_name(name)[0] in asleep and split_name(name)[0] in self.names:
                found.append(Resource(name=name, settings=made, needs=tuple(made["needs"])))
        return found

    def observed(self, clusters: Sequence[ClusterMachines]) -> dict[str, Observed]:
        """What was applied and how it is, also what is no longer asked for."""
        by_cluster = {each.cluster: each for each in clusters}
        found = {}
        for name, made in self.recorded().items():
            cluster, part = split_name(name)
            machines, detail = by_cluster.get(cluster), ""
            if machines is not None and machines.runs and cluster in self.names:
                look = self._look(machines)
                detail = look.why_not or self._trouble(name, made, look, part)
            found[name] = Observed(
                name=name,
                condition=Condition.FAILING if detail else Condition.HEALTHY,
                settings=made,
                detail=detail,
                needs=tuple(made["needs"]),
            )
        return found

    def _trouble(self, name: str, made: Mapping[str, Any], look: StackLook, part: str) -> str:
        seen = look.parts.get(part)
        if seen is not None and seen.changes:
            return seen.summary
        well = self.recorded(WELL).get(_well(name), {})
        return "" if well.get("settings") == digests(made) else "has not been seen well since it was applied"

    def _look(self, machines: ClusterMachines) -> StackLook:
        """A cluster as it is, looked at once."""
        cluster = machines.cluster
        with self._guard:
            if cluster not in self._looks:
                self._looks[cluster] = self._looked(machines)
            return self._looks[cluster]

    def _looked(self, machines: ClusterMachines) -> StackLook:
        if cluster_is_new(self.kubernetes, machines):
            return StackLook(why_not="once its cluster is there")
        wishes = self.wishes[machines.cluster]
        revisions = {
            split_name(name.replace(WELL, PREFIX))[1]: dict(kept.get("revisions", {}))
            for name, kept in self.recorded(f"{WELL}{machines.cluster}/").items()
        }
        try:
            with open_cluster_api(self.kubernetes, machines, patience=_LOOK) as client:
                supply = self._supply(machines.cluster)
                return look_at_stack(client, wishes, supply, site=self.site.name, revisions=revisions)
        except AiHowError as error:
            return StackLook(why_not=error.brief)

    def explained(self, plan: Plan, clusters: Sequence[ClusterMachines]) -> Plan:
        """A plan that says what would change on the clusters, as far as they can be asked."""
        by_cluster = {each.cluster: each for each in clusters}
        actions = tuple(self._explained(action, plan, by_cluster) for action in plan.actions)
        return replace(plan, actions=actions, notes=(*plan.notes, *self._notes(actions)))

    def _explained(self, action: Action, plan: Plan, clusters: Mapping[str, ClusterMachines]) -> Action:
        if not action.resource.startswith(PREFIX):
            return action
        cluster, part = split_name(action.resource)
        if action.verb is Verb.DELETE:
            goes = cluster not in self.kubernetes.names or cluster not in clusters
            return replace(action, reason="goes with its cluster" if goes else action.reason)
        look = self._look(clusters[cluster])
        if look.why_not:
            return replace(action, reason=f"{action.reason}, {look.why_not}" if _is_new(action) else action.reason)
        seen = look.parts[part].summary
        if action.verb is Verb.UPDATE:
            made, wanted = self.recorded()[action.resource], plan.resource(action.resource)
            seen = seen or "; ".join(describe_changes(made, wanted.settings if wanted else {}))
        return replace(action, reason=seen or action.reason)

    def _notes(self, actions: Sequence[Action]) -> Iterator[str]:
        """What the user has to do or know before parts are made for the first time, and what others keep."""
        new = {action.resource for action in actions if action.verb is Verb.CREATE}
        for cluster in {split_name(name)[0] for name in new if name.startswith(PREFIX)}:
            for wish in self.wishes[cluster]:
                if wish.name in new:
                    yield from (f"{wish.part.title}: {note}" for note in wish.part.notes)
        yield from self._version_notes(actions)
        for look in self._looks.values():
            for seen in look.parts.values():
                yield from seen.left

    def _version_notes(self, actions: Sequence[Action]) -> Iterator[str]:
        recorded = self.recorded()
        changed = {action.resource for action in actions if action.verb is Verb.UPDATE and action.resource in recorded}
        for wish in (wish for wishes in self.wishes.values() for wish in wishes if wish.name in changed):
            before = recorded[wish.name].get("version")
            if wish.part.version_note and before != wish.part.version:
                yield f"{wish.part.title} {before} -> {wish.part.version}: {wish.part.version_note}"

    def watch(self, tell: Tell) -> None:
        """Have progress told."""
        self._tell = tell

    def interrupt(self) -> None:
        """Break off what is under way: the next ``up`` goes on from there."""
        self._interrupted.set()

    def perform(self, action: Action, resource: Resource | None, clusters: Sequence[ClusterMachines]) -> str:
        """Do one action of a plan whose resource is a part; says in a few words how it ended.

        Raises:
            WorldChangedError: the site file is not that of the plan.
            As ``apply_part`` and ``remove_part``.
        """
        cluster, part = split_name(action.resource)
        machines = next((each for each in clusters if each.cluster == cluster), None)
        if resource is None:
            return self._remove(action.resource, machines)
        wish = next((each for each in self.wishes.get(cluster, ()) if each.part.name == part), None)
        if wish is None or machines is None or resource.settings != wish.settings:
            raise WorldChangedError(
                f"{action.resource}: the site file has changed since the plan was made", next_step="ai-how plan"
            )
        kept = self.recorded(WELL).get(_well(wish.name), {})
        with open_cluster_api(self.kubernetes, machines, patience=_WORK) as client:
            tools = self._tools(client, cluster, wish.name)
            applied = apply_part(tools, wish, revisions=kept.get("revisions", {}))
        self.state.record(wish.name, wish.settings)
        self.state.record(_well(wish.name), {"settings": digests(wish.settings), "revisions": dict(applied.revisions)})
        return applied.summary

    def _remove(self, name: str, machines: ClusterMachines | None) -> str:
        cluster, part = split_name(name)
        said = "goes with its cluster"
        if machines is not None and cluster in self.kubernetes.names:
            with open_cluster_api(self.kubernetes, machines, patience=_WORK) as client:
                said = remove_part(self._tools(client, cluster, name), self.site.name, part)
        for kept in (name, _well(name)):
            self.state.record(kept, None)
        return said

    def _tools(self, client: Client, cluster: str, name: str) -> Tools:
        began = time.monotonic()
        supply = self._supply(cluster)

        def say(line: str) -> None:
            self._tell(name, [f"{time.monotonic() - began:.0f} s: {line}"])

        def helm() -> Helm:
            return Helm(
                program=supply.helm(),
                access=client.connection.access,
                folder=self.kubernetes.cluster_folder(cluster) / "stack",
                cancelled=self._interrupted.is_set,
            )

        return Tools(
            client=client,
            supply=supply,
            helm=helm,
            there=lambda: self._there(cluster, client),
            say=say,
            cancelled=self._interrupted.is_set,
            timeout_s=WELL_TIMEOUT_S,
        )

    def _there(self, cluster: str, client: Client) -> Marked:
        """What bears the site's mark, looked for once a command: it takes a request for each kind."""
        with self._guard:
            look = self._looks.get(cluster, StackLook())
            if look.there is None:
                there = marked_by(client, self.site.name, self.wishes[cluster])
                self._looks[cluster] = replace(look, there=there)
                return there
            return look.there

    def _supply(self, cluster: str) -> Supply:
        if cluster not in self._supplies:
            self._supplies[cluster] = self._supply_of(cluster)
        return self._supplies[cluster]

    def _host_supply(self, cluster: str) -> Supply:
        planned = self.site.planned_clusters[cluster]
        return HostSupply(
            planned.kubernetes,
            self.kubernetes.versions,
            helm_path=planned.stack.helm_path,
            site_folder=self.kubernetes.site_file.resolve().parent,
        )

    def components(self, clusters: Sequence[ClusterMachines]) -> list[ComponentStatus]:
        """Every part of every cluster that runs, as its API server says it now."""
        found: list[ComponentStatus] = []
        recorded = self.recorded()
        for machines in clusters:
            if machines.cluster not in self.names or not machines.runs:
                continue
            wishes = self.wishes[machines.cluster]
            if cluster_is_new(self.kubernetes, machines):
                found += [silent_status(wish, made=False) for wish in wishes]
                continue
            made = frozenset(wish.name for wish in wishes if wish.name in recorded)
            try:
                with open_cluster_api(self.kubernetes, machines, patience=_LOOK) as client:
                    found += part_statuses(client, wishes, made)
            except AiHowError as error:
                found += [silent_status(wish, made=wish.name in made, error=error) for wish in wishes]
        return found

    def log_of(self, component: str, lines: int, clusters: Callable[[], Sequence[ClusterMachines]]) -> list[str] | None:
        """The end of the logs of a part's pods; None where the component is no part of a stack.

        Raises:
            NotFoundError: there is no such part.
        """
        if not component.startswith(PREFIX):
            return None
        wish = self.find(component)
        with self.opened(wish.cluster, clusters()) as client:
            return part_log(client, wish, lines)

    def find(self, component: str) -> Wish:
        """A part by its resource's name; the cluster's may be left out.

        Raises:
            NotFoundError: there is no such part.
        """
        everything = [wish for wishes in self.wishes.values() for wish in wishes]
        short = component.removeprefix(PREFIX)
        for wish in everything:
            if short in (wish.part.name, f"{wish.cluster}/{wish.part.name}"):
                return wish
        known = ", ".join(wish.name for wish in everything)
        raise NotFoundError(
            f"there is no part {component!r} of a stack",
            evidence=f"there are: {known}" if known else "the site has no stack",
            next_step="ai-how status",
        )

    @contextmanager
    def opened(self, cluster: str, clusters: Sequence[ClusterMachines]) -> Iterator[Client]:
        """A client of a cluster, for a short question."""
        machines = next((each for each in clusters if each.cluster == cluster), None)
        if machines is None:
            raise NotFoundError(f"there is no cluster {cluster!r}")
        with open_cluster_api(self.kubernetes, machines, patience=_LOOK) as client:
            yield client

    def remove(self, say: Say, clusters: Sequence[ClusterMachines]) -> None:
        """Remove what bears our mark from clusters whose machines stay, the last parts first; volumes and secrets stay.

        What cannot be removed is told: it goes with Kubernetes all the same.
        """
        by_cluster = {each.cluster: each for each in clusters}
        names = list(self.recorded())
        order = {wish.name: at for wishes in self._wishes_or_none().values() for at, wish in enumerate(wishes)}
        for name in sorted(names, key=lambda name: -order.get(name, len(order))):
            cluster, part = split_name(name)
            if cluster not in by_cluster:
                continue
            try:
                with open_cluster_api(self.kubernetes, by_cluster[cluster], patience=_LOOK) as client:
                    said = remove_part(self._tools(client, cluster, name), self.site.name, part)
                say(f"{name}: {said}")
            except AiHowError as error:
                say(f"{name} is not removed by itself: {error.brief}")

    def _wishes_or_none(self) -> Mapping[str, tuple[Wish, ...]]:
        try:
            return self.wishes
        except AiHowError:
            return {}


def cluster_is_new(kubernetes: SiteKubernetes, machines: ClusterMachines) -> bool:
    """Whether there is no Kubernetes yet that could be asked."""
    return machines.cluster not in kubernetes.recorded()


def _is_new(action: Action) -> bool:
    return action.verb is Verb.CREATE


def _well(name: str) -> str:
    return name.replace(PREFIX, WELL, 1)
