"""The provider ``inventory``: looks at a site's servers over SSH, makes them nodes, has Kubernetes set up on them.

Never switches a server off and never takes anything off it but Kubernetes that this site has set up.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ai_how.apply.files import last_lines
from ai_how.apply.provider import ComponentStatus, Say, Tell
from ai_how.apply.site_folder import SiteFolder, is_site_folder, remove_folder, site_root
from ai_how.apply.state import State
from ai_how.bundles.offering import HostOffering
from ai_how.errors import AiHowError, NotFoundError, ProviderError, SpecError
from ai_how.host.checks.node import is_ours
from ai_how.kubernetes.cluster_of_site import ClusterMachines, SiteKubernetes
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.remembered import recall
from ai_how.kubernetes.setup import PREFIX as KUBERNETES
from ai_how.plan.compute import changes_since, compute_plan
from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, Verb
from ai_how.rollout.chart_images import wants_of_site
from ai_how.rollout.stacks_of_site import SiteStacks
from ai_how.rollout.wish import PREFIX as STACK
from ai_how.run.ssh import SSH_FAILED, run_remote
from ai_how.servers import desired
from ai_how.servers.desired import PREFIX, Fleet
from ai_how.servers.known_hosts import KnownHosts
from ai_how.servers.preflight import Examined, examine_servers
from ai_how.servers.record import remove_record, write_record
from ai_how.servers.server import Server, servers_of
from ai_how.servers.survey import explained
from ai_how.site.server_rules import is_to_be_built
from ai_how.site.spec import Site
from ai_how.site.yaml_lines import shown_path

_AT_ONCE = 8
_KEPT_HOSTNAME = {"override_system_hostname": False}
"""A server's host name is its owner's; Kubespray would set it to the node's."""


class InventoryProvider:
    """One site on servers that exist."""

    def __init__(self, site: Site, site_file: Path) -> None:
        """Nothing is asked of the servers yet.

        Raises:
            SpecError: the site file only declares servers and says of none where it is.
        """
        if not is_to_be_built(site):
            raise SpecError(
                f"site {site.name} names no server that could be reached",
                evidence=f"{site_file}: hosts without address",
                next_step="write address: user@host for each; ai-how plan shows whether the clusters fit",
            )
        self.site = site
        self.site_file = site_file
        self.folder = SiteFolder(root=site_root(site, site_file))
        self.state = State(self.folder, site.name)
        self.known = KnownHosts(self.folder.secrets / "ssh" / "known_hosts")
        self.kubernetes = SiteKubernetes(
            _with_own_names(site),
            site_file,
            folder=self.folder,
            state=self.state,
            machine_of=lambda node: f"{PREFIX}{node}",
            offering=HostOffering(lambda: wants_of_site(site, self.kubernetes.versions, site_folder=site_file.parent)),
        )
        self.stacks = SiteStacks(self.kubernetes, clusters=self.clusters)

    @property
    def parallel(self) -> int:
        return _AT_ONCE

    @property
    def _doctor(self) -> str:
        return f"ai-how doctor --site {shlex.quote(shown_path(self.site_file))}"

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers that the site file names as nodes."""
        set_up = {node for made in self.kubernetes.recorded().values() for node in made["nodes"]}
        return servers_of(self.site, self.site_file, set_up=set_up)

    @cached_property
    def fleet(self) -> Fleet:
        """The servers, looked at once: a command acts on one look at the world."""
        wanted = self.servers
        recorded = desired.recorded_servers(self.state.resources())
        leaving = desired.leaving_servers(recorded, wanted, site=self.site.name)
        new = any(server.wish.ranges and not server.wish.set_up for server in wanted)
        return Fleet(
            wanted=examine_servers(wanted, self.known, ways=new),
            leaving=examine_servers(leaving, self.known, ways=False),
            recorded=recorded,
        )

    @cached_property
    def _clusters(self) -> tuple[ClusterMachines, ...]:
        kept = {name: self._kept_nodes(name) for name in self.kubernetes.recorded()}
        return desired.cluster_machines(self.site, self.fleet, known_hosts=self.known.path, recorded_clusters=kept)

    def clusters(self) -> tuple[ClusterMachines, ...]:
        """The clusters that Kubernetes can be set up on."""
        return self._clusters

    def _observed(self) -> dict[str, Observed]:
        clusters = self.clusters()
        return {
            **desired.observed(self.fleet),
            **self.kubernetes.observed(clusters),
            **self.stacks.observed(clusters),
        }

    def plan(self) -> Plan:
        """What ``up`` would do now; all checks have been made on every server. Changes nothing."""
        clusters = self.clusters()
        on_clusters = [*self.kubernetes.resources(clusters), *self.stacks.resources(clusters)]
        made = compute_plan(self.site.name, [*desired.resources(self.fleet), *on_clusters], self._observed())
        explained = self.kubernetes.explained(desired.explained(made, self.fleet), clusters)
        return self.stacks.explained(explained, clusters)

    def check_unchanged(self, plan: Plan) -> list[str]:
        """What is no longer as it was when the plan was made; empty where it can be applied."""
        return changes_since(plan, self._observed())

    def perform(self, action: Action, resource: Resource | None) -> str:
        """Do one action of a plan; says in a few words how it ended."""
        if action.resource.startswith(KUBERNETES):
            return self.kubernetes.perform(action, resource, self.clusters())
        if action.resource.startswith(STACK):
            return self.stacks.perform(action, resource, self.clusters())
        name = action.resource.removeprefix(PREFIX)
        if resource is None:
            return self._let_go(self.fleet.leaving[name])
        return self._take(self.fleet.wanted[name], resource)

    def _take(self, one: Examined, resource: Resource) -> str:
        """Make a server a node of its cluster, as far as that is not Kubernetes' business."""
        server = one.server
        if one.look.trouble:
            raise one.look.trouble
        if one.blocking:
            raise ProviderError(
                f"{server.name} cannot be a {server.wish.role} of cluster {server.wish.cluster} yet",
                evidence="\n".join(f"{check.title}: {check.found}; wanted: {check.wanted}" for check in one.blocking),
                next_step=f"{self._doctor} says what to mend; then: ai-how up",
            )
        if one.look.learnt:
            self.known.keep({server.reached.known_as: one.look.learnt})
        if desired.was_replaced(one, self.fleet.recorded.get(server.name)):
            self.kubernetes.made_again(server.wish.cluster, server.name)
        write_record(server, server.reached.target(self.known.path))
        self.state.record(resource.name, resource.settings)
        warned = sum(check.verdict == "warn" for check in one.checks)
        return f"{one.address}, ready" + (f", {warned} warning{'s' if warned > 1 else ''}" if warned else "")

    def _let_go(self, one: Examined) -> str:
        """Forget a server; it stays on."""
        server = one.server
        said = "left as it is: it does not answer"
        if one.look.facts:
            said = "stays on, is a node no more"
            if is_ours(one.look.facts, server.wish):
                remove_record(server, server.reached.target(self.known.path))
        self.state.record(f"{PREFIX}{server.name}", None)
        return said

    def watch(self, tell: Tell) -> None:
        """Have the playbooks of Kubernetes told of."""
        self.kubernetes.watch(tell)
        self.stacks.watch(tell)

    def interrupt(self) -> None:
        """Break off the playbook that is under way: the next ``up`` goes on from there."""
        self.kubernetes.interrupt()
        self.stacks.interrupt()

    def components(self) -> list[ComponentStatus]:
        """Every server and the clusters' Kubernetes, and how it is doing; nothing where the site was never made."""
        if not self.state.resources():
            return []
        servers = [self._component(name, one) for name, one in self.fleet.wanted.items()]
        clusters = self.clusters()
        return [*servers, *self.kubernetes.components(clusters), *self.stacks.components(clusters)]

    def _component(self, name: str, one: Examined) -> ComponentStatus:
        made = name in self.fleet.recorded
        trouble = desired.trouble_of(one) or ("" if made else "is no node yet")
        condition = Condition.ABSENT if not made else Condition.FAILING if trouble else Condition.HEALTHY
        step = one.look.trouble.next_step if one.look.trouble else ""
        return ComponentStatus(
            name=name,
            condition=condition,
            address=one.server.reached.text,
            version=str(one.server.wish.role),
            detail=trouble,
            remedy=(step if "ai-how" in step else f"{self._doctor}, then: ai-how up") if trouble else "",
        )

    def read_log(self, component: str, lines: int) -> tuple[list[str], Path | None]:
        """The log of the last playbook of a cluster's Kubernetes, of a stack's pods; of a server, kubelet's journal.

        Raises:
            NotFoundError: there is no such server.
            ProviderError: it has no such journal.
        """
        playbooks = self.kubernetes.log_of(component)
        if playbooks is not None:
            return last_lines(playbooks, lines), playbooks
        said = self.stacks.log_of(component, lines, self.clusters)
        if said is not None:
            return said, None
        server = next((one for one in self.servers if one.name == component), None)
        if server is None:
            names = [one.name for one in self.servers]
            names += [f"{KUBERNETES}{name}" for name in self.kubernetes.names]
            known = "there are: " + ", ".join(names)
            raise NotFoundError(f"there is no log of {component!r}", evidence=known, next_step="ai-how status")
        return self._journal(server, lines), None

    def _journal(self, server: Server, lines: int) -> list[str]:
        script = 'if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -n "$@"; fi'
        words = ["sh", "-c", script, "sh", "journalctl", "--no-pager", "-u", "kubelet", "-n", str(lines)]
        done = run_remote(server.reached.target(self.known.path), words, check=False)
        if done.returncode == SSH_FAILED:
            raise explained(server, done.stderr)
        if done.returncode != 0:
            raise ProviderError(f"kubelet's journal on {server.name} cannot be read", evidence=done.stderr[-500:])
        return done.stdout.splitlines()

    def exists(self) -> bool:
        """Whether anything is kept of the site."""
        return is_site_folder(self.folder)

    def stop(self, say: Say) -> bool:  # noqa: ARG002 - as every provider's
        """Servers are not stopped.

        Raises:
            SpecError: always, with what to do instead.
        """
        raise SpecError(
            "servers that existed already are not stopped by ai-how: nothing was done",
            evidence="site provider: inventory",
            next_step="empty one with: kubectl drain NODE --ignore-daemonsets; then switch it off yourself. "
            "To take Kubernetes off all of them: ai-how destroy",
        )

    def losses(self) -> list[str]:
        """What ``destroy`` would take away, for the question that is asked before."""
        made = self.kubernetes.recorded()
        return [
            f"Kubernetes of cluster {name} is taken off {', '.join(each['nodes'])}, with all that runs and is kept "
            "in it. The servers stay on."
            for name, each in made.items()
        ]

    def remove(self, say: Say) -> list[str]:
        """Take Kubernetes off the servers that are ours, then our records and the site's folder."""
        self.stacks.remove(say, self.clusters())
        left = self.kubernetes.remove(say)
        everyone: Mapping[str, Examined] = {**self.fleet.wanted, **self.fleet.leaving}
        mine = {name for name, one in everyone.items() if one.look.facts and is_ours(one.look.facts, one.server.wish)}
        for name in sorted(set(self.fleet.recorded) - mine):
            for line in desired.left_alone(everyone[name]):
                say(line)
        for name in self.kubernetes.recorded():
            say(f"taking Kubernetes of cluster {name} off its servers; log: {self.folder.logs}")
            self.kubernetes.perform(
                Action(resource=f"{KUBERNETES}{name}", verb=Verb.DELETE, reason="destroy"), None, self._ours(mine)
            )
        for name in sorted(mine & set(self.fleet.recorded)):
            server = everyone[name].server
            try:
                remove_record(server, server.reached.target(self.known.path))
            except AiHowError as error:
                say(f"{name}: {error.brief}")
            self.state.record(f"{PREFIX}{name}", None)
        return left + remove_folder(self.folder)

    def _ours(self, mine: set[str]) -> list[ClusterMachines]:
        """The clusters with all that was ever set up in them, as far as it is on servers of ours."""
        return [
            replace(each, nodes=self._kept_nodes(each.cluster), there=each.there & mine) for each in self.clusters()
        ]

    def _kept_nodes(self, cluster: str) -> tuple[ClusterNode, ...]:
        return recall(self.kubernetes.cluster_folder(cluster) / "nodes.json")


def _with_own_names(site: Site) -> Site:
    """The site with Kubespray told to leave the servers' host names alone, unless the site file says otherwise."""
    clusters: dict[str, Any] = {}
    for name, cluster in site.clusters.items():
        told = {**_KEPT_HOSTNAME, **cluster.kubernetes.extra_vars}
        kubernetes = cluster.kubernetes.model_copy(update={"extra_vars": told})
        clusters[name] = cluster.model_copy(update={"kubernetes": kubernetes})
    return site.model_copy(update={"clusters": clusters})
