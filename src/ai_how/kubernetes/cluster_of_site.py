"""Kubernetes on the clusters of a site, for whatever provides the machines: what is wanted, what is there, doing it.

A provider says which machines each cluster has and how they are reached (``ClusterMachines``), and which of its own
resources makes a node ready. All else is here. Nothing is asked of the machines while planning.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

from ai_how.apply.provider import ComponentStatus, Say, Tell
from ai_how.apply.site_folder import SiteFolder
from ai_how.apply.state import State
from ai_how.errors import AiHowError, NotFoundError, SpecError, WorldChangedError
from ai_how.kubernetes.downloads import NoneOffered, Offering, SiteDownloads
from ai_how.kubernetes.finish import finish, kubeconfig_of
from ai_how.kubernetes.kubeconfig import Kubeconfig
from ai_how.kubernetes.merging import Merge
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.orphans import end_orphans
from ai_how.kubernetes.playbooks import RESET, ClusterState, Step, steps
from ai_how.kubernetes.progress import Progress
from ai_how.kubernetes.progress_text import progress_lines
from ai_how.kubernetes.remembered import check_known, recall, remember
from ai_how.kubernetes.run import Job
from ai_how.kubernetes.setup import PREFIX, Setup, apply_setup, newest_log, reset_setup, setup_of
from ai_how.kubernetes.status import at_rest, cluster_status
from ai_how.kubernetes.workspace import Workspace
from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, Verb, settings_digest
from ai_how.releases.conflict import Conflict
from ai_how.releases.site_pins import clash, solve_site
from ai_how.site.clusters import Cluster
from ai_how.site.spec import Site

READY = "kubernetes-ready/"
"""Under this name and a cluster's is kept what was seen ready."""
READY_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class ClusterMachines:
    """A cluster as its provider sees it.

    ``nodes`` are those that the site file asks for, ``there`` the names of all whose machine exists now, also of those
    that are no longer asked for, ``off`` those of them that do not run. ``runs``: whether the machines shall be on;
    nothing is set up on one that is not. ``host_address`` is this machine's address in the nodes' network, empty where
    the way to them tells it.
    """

    cluster: str
    nodes: tuple[ClusterNode, ...]
    there: frozenset[str]
    off: frozenset[str] = frozenset()
    runs: bool = True
    host_address: str = ""


class SiteKubernetes:
    """The Kubernetes of every cluster of one site."""

    def __init__(
        self,
        site: Site,
        site_file: Path,
        *,
        folder: SiteFolder,
        state: State,
        machine_of: Callable[[str], str],
        offering: Offering | None = None,
    ) -> None:
        """
        Args:
            machine_of: From a node's name to the resource that makes its machine ready.
            offering: Where nodes get what they download.
        """
        self.site = site
        self.site_file = site_file
        self.folder = folder
        self.state = state
        self.machine_of = machine_of
        self.downloads = SiteDownloads(
            offering or NoneOffered(), site=site, site_folder=site_file.resolve().parent, kept=folder.kubernetes
        )
        self._tell: Tell = lambda _resource, _lines: None
        self._interrupted = Event()

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """By component: those of the site's release set, with its pins taken in.

        Raises:
            SpecError: the pins do not go together.
        """
        answer = solve_site(self.site)
        if isinstance(answer, Conflict):
            raise SpecError(clash(answer), next_step="ai-how validate")
        return answer.versions

    @property
    def names(self) -> list[str]:
        """The clusters that have Kubernetes by the site file."""
        return [name for name in self.site.planned_clusters if self._wanted(name)]

    def recorded(self) -> dict[str, dict[str, Any]]:
        """What was set up, as it was recorded, by cluster."""
        kept = self.state.resources()
        return {name.removeprefix(PREFIX): made for name, made in kept.items() if name.startswith(PREFIX)}

    def cluster_folder(self, cluster: str) -> Path:
        """Where a cluster's playbooks run from."""
        return self.folder.kubernetes / cluster

    def setups(self, clusters: Sequence[ClusterMachines]) -> dict[str, Setup]:
        """What is wanted, by cluster: where Kubernetes is wanted, on machines that shall be on."""
        recorded = self.recorded()
        return {
            each.cluster: self._setup(
                each.cluster,
                each.nodes,
                versions=self.versions,
                recorded=recorded.get(each.cluster),
                offline=self.downloads.variables(
                    each.cluster, self.versions, each.nodes, host_address=each.host_address
                ),
            )
            for each in clusters
            if each.runs and self._wanted(each.cluster)
        }

    def _setup(
        self,
        cluster: str,
        nodes: Sequence[ClusterNode],
        *,
        versions: Mapping[str, str],
        recorded: Mapping[str, Any] | None,
        offline: Mapping[str, Any] | None = None,
    ) -> Setup:
        return setup_of(
            cluster,
            # of a cluster that the site file no longer has, only that it was set up counts
            self.site.planned_clusters.get(cluster, Cluster()).kubernetes,
            nodes,
            versions=versions,
            recorded=recorded,
            credentials_dir=self.folder.secrets / "kubernetes" / cluster,
            site_folder=self.site_file.resolve().parent,
            offline=offline,
        )

    def _wanted(self, cluster: str) -> bool:
        planned = self.site.planned_clusters.get(cluster)
        return planned is not None and planned.has_kubernetes

    def resources(self, clusters: Sequence[ClusterMachines]) -> list[Resource]:
        """As resources of a plan; a cluster that does not run keeps what it has."""
        wanted = self.setups(clusters)
        found = [setup.resource([self.machine_of(node.name) for node in setup.nodes]) for setup in wanted.values()]
        recorded = self.recorded()
        asleep = [each.cluster for each in clusters if not each.runs and self._wanted(each.cluster)]
        found += [Resource(name=f"{PREFIX}{name}", settings=recorded[name]) for name in asleep if name in recorded]
        return found

    def observed(self, clusters: Sequence[ClusterMachines]) -> dict[str, Observed]:
        """What was set up of all clusters, also of those that the site file no longer has."""
        wanted, by_name = self.setups(clusters), {each.cluster: each for each in clusters}
        found: dict[str, Observed] = {}
        for cluster, made in self.recorded().items():
            name = f"{PREFIX}{cluster}"
            state = ClusterState.from_settings(made)
            if cluster in wanted:
                machines = by_name[cluster]
                seen = self._with_trouble(wanted[cluster].observed(lost_nodes(state, machines)), machines)
            else:
                seen = Observed(name=name, condition=Condition.HEALTHY, settings=made)
            found[name] = replace(seen, needs=tuple(self.machine_of(node) for node in state.nodes))
        return found

    def _with_trouble(self, seen: Observed, machines: ClusterMachines) -> Observed:
        if seen.condition is not Condition.HEALTHY:
            return seen
        ready = self.state.resources().get(f"{READY}{machines.cluster}", {})
        made = seen.settings or {}
        stopped = [node for node in made["nodes"] if node in machines.off]
        if ready.get("settings") != settings_digest(made):
            trouble = "has not been seen ready since it was set up"
        elif stopped:
            trouble = f"has to be ready again: {', '.join(stopped)} {'was' if len(stopped) == 1 else 'were'} off"
        else:
            cluster = machines.cluster
            trouble = self.kubeconfig(cluster).trouble() or self.downloads.trouble(cluster)
        return replace(seen, condition=Condition.FAILING, detail=trouble) if trouble else seen

    def explained(self, plan: Plan, clusters: Sequence[ClusterMachines]) -> Plan:
        """A plan that says which playbooks would run, and why.

        Raises:
            SpecError: Kubespray or Kubernetes cannot go there.
        """
        wanted = self.setups(clusters)
        by_name = {each.cluster: each for each in clusters}
        actions = tuple(self._explained(action, wanted, by_name) for action in plan.actions)
        return replace(plan, actions=actions)

    def _explained(
        self, action: Action, wanted: Mapping[str, Setup], clusters: Mapping[str, ClusterMachines]
    ) -> Action:
        prefix, _, cluster = action.resource.rpartition("/")
        if f"{prefix}/" != PREFIX:
            return action
        if action.verb is Verb.DELETE:
            runs = f"{RESET}: all that runs on it is lost; " if self._staying(cluster, clusters.get(cluster)) else ""
            return replace(action, reason=runs + action.reason)
        setup = wanted[cluster]
        todo = _steps(setup, clusters[cluster])
        said = "; ".join(f"{Path(step.playbook).name}: {step.reason}" for step in todo)
        return replace(action, reason=said or action.reason)

    def made_again(self, cluster: str, node: str) -> None:
        """Called before a node's machine is made: a node of that name that the cluster knows is lost from then on."""
        made = self.recorded().get(cluster)
        if made is None or node not in made["nodes"] or node in made.get("lost", []):
            return
        self.state.record(f"{PREFIX}{cluster}", {**made, "lost": [*made.get("lost", []), node]})

    def watch(self, tell: Tell) -> None:
        """Have the progress of playbooks told."""
        self._tell = tell

    def interrupt(self) -> None:
        """Break off what is under way: the next ``up`` goes on from there."""
        self._interrupted.set()

    def perform(self, action: Action, resource: Resource | None, clusters: Sequence[ClusterMachines]) -> str:
        """Do one action of a plan, whose resource is a cluster's Kubernetes; says in a few words how it ended.

        Raises:
            WorldChangedError: the site file is not that of the plan.
            As ``apply_setup``.
        """
        cluster = action.resource.removeprefix(PREFIX)
        machines = next((each for each in clusters if each.cluster == cluster), None)
        if resource is None or machines is None:
            return self._take_off(cluster, machines)
        setup = self.setups(clusters)[cluster]
        if resource.settings != setup.state.to_settings():
            raise WorldChangedError(
                f"{action.resource}: the site file has changed since the plan was made", next_step="ai-how plan"
            )
        return self._set_up(setup, machines)

    def _set_up(self, setup: Setup, machines: ClusterMachines) -> str:
        kept = self.cluster_folder(setup.cluster) / "nodes.json"
        remember(kept, setup.nodes)
        check_known(kept, setup.recorded.nodes if setup.recorded else ())
        self.downloads.prepare(setup.cluster, say=lambda line: self._tell(setup.name, [line]))
        done = apply_setup(
            setup,
            folder=self.cluster_folder(setup.cluster),
            logs=self.folder.logs,
            record=self.state.record,
            report=self._report,
            lost=lost_nodes(setup.recorded, machines),
            leaving=recall(kept),
            cancelled=self._interrupted.is_set,
        )
        self._tell(setup.name, ["asking whether it is ready: nodes, a pod, DNS"])
        seen = finish(
            setup, self.kubeconfig(setup.cluster), timeout_s=READY_TIMEOUT_S, cancelled=self._interrupted.is_set
        )
        self.state.record(f"{READY}{setup.cluster}", {"settings": settings_digest(setup.state.to_settings())})
        return f"{done}; {seen}"

    def _report(self, step: Step, job: Job, progress: Progress) -> None:
        head = f"{Path(step.playbook).name}, log {job.log}"
        lines = progress_lines(progress, elapsed_s=job.elapsed_s, expected_s=job.expected_s)
        self._tell(f"{PREFIX}{job.workspace.root.name}", [head, *lines])

    def _take_off(self, cluster: str, machines: ClusterMachines | None) -> str:
        """Remove Kubernetes from machines that stay; where they go, there is nothing to do on them."""
        nodes = self._staying(cluster, machines)
        if nodes:
            made = self.recorded()[cluster]
            as_made = {**self.versions, "kubespray": made["kubespray"], "kubernetes": made["kubernetes"]}
            reset_setup(
                self._setup(cluster, nodes, versions=as_made, recorded=made),
                folder=self.cluster_folder(cluster),
                logs=self.folder.logs,
                report=self._report,
                cancelled=self._interrupted.is_set,
            )
        for kept in (PREFIX, READY):
            self.state.record(f"{kept}{cluster}", None)
        Merge(self.kubeconfig(cluster)).undo()
        self.downloads.stop(cluster)
        shutil.rmtree(self.cluster_folder(cluster), ignore_errors=True)
        return f"taken off {len(nodes)} machines" if nodes else "gone with its machines"

    def _staying(self, cluster: str, machines: ClusterMachines | None) -> tuple[ClusterNode, ...]:
        made = self.recorded().get(cluster)
        if machines is None or made is None:
            return ()
        return tuple(node for node in machines.nodes if node.name in machines.there and node.name in made["nodes"])

    def kubeconfig(self, cluster: str) -> Kubeconfig:
        """A cluster's kubeconfig, fetched or not."""
        return kubeconfig_of(self.cluster_folder(cluster), site=self.site.name, cluster=cluster)

    def renew_kubeconfig(self, cluster: str, clusters: Sequence[ClusterMachines]) -> Kubeconfig:
        """Fetch a cluster's kubeconfig again, into the user's too where it was merged.

        Raises:
            NotFoundError: Kubernetes is not set up there, or its machines are off.
            As ``Kubeconfig.fetch``.
        """
        setup = self.setups(clusters).get(cluster)
        if setup is None or setup.recorded is None:
            raise NotFoundError(
                f"Kubernetes is not set up on cluster {cluster}" if setup else f"cluster {cluster} does not run",
                next_step=f"ai-how up{'' if setup else f' --cluster {cluster}'}",
            )
        kubeconfig = self.kubeconfig(cluster)
        kubeconfig.fetch(setup.first_control_plane)
        Merge(kubeconfig).renew()
        return kubeconfig

    def components(self, clusters: Sequence[ClusterMachines]) -> list[ComponentStatus]:
        """Every cluster's Kubernetes and its nodes, as the API servers say it now."""
        wanted, observed, recorded = self.setups(clusters), self.observed(clusters), self.recorded()
        found: list[ComponentStatus] = []
        for each in clusters:
            name = f"{PREFIX}{each.cluster}"
            if each.cluster in wanted:
                found += cluster_status(wanted[each.cluster], observed.get(name), self.kubeconfig(each.cluster))
            elif each.cluster in recorded and not each.runs:
                found.append(at_rest(name, str(recorded[each.cluster]["kubernetes"])))
        return found

    def log_of(self, component: str) -> Path | None:
        """The newest log of a cluster's playbooks; None where the component is no cluster's Kubernetes.

        Raises:
            NotFoundError: no playbook has run for it.
        """
        if not component.startswith(PREFIX):
            return None
        cluster = component.removeprefix(PREFIX).partition("/")[0]
        return newest_log(self.folder.logs, cluster, known=self.names)

    def rest(self) -> None:
        """End the servers of downloads; the next ``up`` starts them again."""
        for folder in self.folder.kubernetes.glob("*/"):
            self.downloads.stop(folder.name)

    def remove(self, say: Say) -> list[str]:
        """End what runs, and take our contexts out of the user's kubeconfig; what of them was left, and why.

        The folder itself goes with the site's.
        """
        left = []
        for folder in sorted(self.folder.kubernetes.glob("*/")):
            if end_orphans(Workspace(root=folder).running):
                say(f"ended the playbook that ran for {folder.name}")
            self.downloads.stop(folder.name)
            try:
                kept = Merge(self.kubeconfig(folder.name)).undo()
            except AiHowError as error:
                kept = f"context {self.site.name}-{folder.name}: {error.brief}"
            left += [kept] if kept else []
        return left


def lost_nodes(recorded: ClusterState | None, machines: ClusterMachines) -> tuple[str, ...]:
    """The nodes that a cluster knows and whose machine is gone. Pure."""
    return tuple(name for name in (recorded.nodes if recorded else ()) if name not in machines.there)


def _steps(setup: Setup, machines: ClusterMachines) -> tuple[Step, ...]:
    return steps(setup.recorded, setup.state, lost=lost_nodes(setup.recorded, machines))
