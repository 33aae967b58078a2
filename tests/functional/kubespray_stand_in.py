"""A checkout with Kubespray's playbooks by name, that only note on which node they ran; and nodes on loopback.

Everything in between is real: ai-how's plan, inventory and records, ansible-runner, Ansible, OpenSSH and its server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ai_how.apply.provider import ComponentStatus, Say, Tell
from ai_how.apply.site_folder import SiteFolder, remove_folder, site_root
from ai_how.apply.state import State
from ai_how.capacity.demand import all_needs
from ai_how.errors import NotFoundError
from ai_how.kubernetes.cluster_of_site import READY, ClusterMachines, SiteKubernetes
from ai_how.kubernetes.downloads import Offering
from ai_how.kubernetes.group_vars import all_vars, cluster_vars, names_in
from ai_how.kubernetes.inventory import inventory
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.plan.compute import changes_since, compute_plan
from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, settings_digest
from ai_how.rollout.stacks_of_site import SiteStacks, SupplyOf
from ai_how.run.ssh import SshTarget
from ai_how.site.kubernetes import Kubernetes
from ai_how.site.spec import Site
from tests.fake_cluster import admin_conf
from tests.kubernetes_nodes import VERSIONS, nodes_of

KUBESPRAY = "2.31.0"
PLAYBOOKS = ("cluster.yml", "scale.yml", "remove-node.yml", "reset.yml", "upgrade-cluster.yml", "playbooks/facts.yml")
_PLAYBOOK = """
- name: NAME
  hosts: HOSTS
  gather_facts: false
  tasks:
    - name: Note it
      raw: echo NAME {{ ip }} {{ node_labels['ai-how/role'] }} {{ kube_version }} >> FOLDER/{{ inventory_hostname }}
"""
_SLOW = """
    - name: Wait for a word
      raw: while test -e FOLDER/wait; do sleep 0.1; done
"""
_WAIT_READY = """
    - name: Wait for new control plane nodes to be Ready
      run_once: true
      raw: test ! -e FOLDER/../not-ready
    - name: Bring the network
      run_once: true
      tags: network
      raw: |
        cd FOLDER/..
        if test -e not-ready; then echo network >> networks; mv not-ready ready; fi
"""
"""As Kubespray's: what is waited for comes later in the same playbook, and by its tag alone."""
_KEEP_FACTS = """
    - name: Keep a fact
      set_fact: {seen: true, cacheable: true}
"""
_ASK_FACTS = """
    - name: Stop if any host not in '--limit' does not have a fact cache
      assert: {that: "groups['k8s_cluster'] | map('extract', hostvars) | rejectattr('seen', 'defined') | list == []"}
"""
"""Kubespray asserts the same, as its templates need the addresses of all nodes."""
_MORE = {"cluster.yml": _SLOW + _WAIT_READY, "playbooks/facts.yml": _KEEP_FACTS, "scale.yml": _ASK_FACTS}
_FACTS = """
- name: Facts
  hosts: k8s_cluster
  gather_facts: true
  tasks:
    - name: Be root
      command: id -u
      register: who
    - name: Keep what was learnt
      delegate_to: localhost
      become: false
      copy:
        dest: "FOLDER/{{ inventory_hostname }}.json"
        content: "{{ {'host': ansible_hostname, 'uid': who.stdout, 'addresses': ansible_all_ipv4_addresses,
          'memory_mb': ansible_memtotal_mb, 'planned': ip} | to_json }}"
    - name: Leave what kubeadm would
      when: inventory_hostname in groups['kube_control_plane']
      block:
        - file: {path: /etc/kubernetes, state: directory, mode: "0700"}
        - copy: {dest: /etc/kubernetes/admin.conf, content: "{{ lookup('file', 'FOLDER/admin.conf') }}", mode: "0600"}
"""
SUDO = """#!/bin/sh
# Becomes nobody else: runs the command.
while :; do case "$1" in -u) shift 2 ;; -*) shift ;; *) break ;; esac; done
exec "$@"
"""
CAT = """#!/bin/sh
# Shows the test's file in the place of the administrator's.
case "$*" in /etc/kubernetes/admin.conf) exec /bin/cat FOLDER/admin.conf ;; esac
exec /bin/cat "$@"
"""


def write_checkout(folder: Path, notes: Path) -> Path:
    """The checkout; its playbooks write to ``notes``, and ``cluster.yml`` waits while there is ``notes/wait``."""
    (folder / "playbooks").mkdir(parents=True)
    (folder / "galaxy.yml").write_text(f"name: kubespray\nversion: {KUBESPRAY}\n")
    for name in PLAYBOOKS:
        hosts = "\"{{ node | default('all') }}\"" if name == "remove-node.yml" else "k8s_cluster"
        text = _PLAYBOOK + _MORE.get(name, "")
        text = text.replace("NAME", Path(name).name).replace("HOSTS", hosts).replace("FOLDER", str(notes))
        (folder / name).write_text(text)
    nodes = nodes_of("four-machines")
    decided = cluster_vars(Kubernetes(), VERSIONS, credentials_dir=Path("/none"))
    names = names_in(inventory(nodes), all_vars(decided, {}))
    defaults = folder / "roles" / "names" / "defaults" / "main.yml"
    defaults.parent.mkdir(parents=True)
    defaults.write_text("".join(f"{name}:\n" for name in names))
    return folder


def write_facts_checkout(folder: Path) -> Path:
    """The same for machines that boot: ``cluster.yml`` leaves ``folder/NODE.json`` and an administrator's file."""
    checkout = write_checkout(folder / "checkout", folder)
    (checkout / "cluster.yml").write_text(_FACTS.replace("FOLDER", str(folder)))
    (folder / "admin.conf").write_text(admin_conf())
    return checkout


def write_sudo(folder: Path) -> Path:
    """A folder with a ``sudo`` that any user may run, and a ``cat`` that knows ``folder/admin.conf``."""
    programs = folder / "programs"
    programs.mkdir()
    for name, text in (("sudo", SUDO), ("cat", CAT)):
        (programs / name).write_text(text.replace("FOLDER", str(folder)))
        (programs / name).chmod(0o755)
    return programs


@dataclass
class LoopbackProvider:
    """A site whose machines are all this one, by SSH. ``machines`` are those that are there."""

    site: Site
    site_file: Path
    target: SshTarget
    machines: set[str] = field(default_factory=set)
    parallel: int = 2
    offering: Offering | None = None
    supply_of: SupplyOf | None = None

    def __post_init__(self) -> None:
        self.folder = SiteFolder(root=site_root(self.site, self.site_file))
        self.state = State(self.folder, self.site.name)
        self.kubernetes = SiteKubernetes(
            self.site,
            self.site_file,
            folder=self.folder,
            state=self.state,
            machine_of=lambda node: f"machine/{node}",
            offering=self.offering,
        )
        self.stacks = SiteStacks(self.kubernetes, supply_of=self.supply_of)

    def record_kubernetes(self, *, seen_ready: bool = True) -> None:
        """As after the playbooks for what is wanted now, without their time."""
        setup = self.kubernetes.setups(self.clusters())["cloud"]
        settings = setup.state.to_settings()
        self.state.record("kubernetes/cloud", settings)
        if seen_ready:
            self.state.record(f"{READY}cloud", {"settings": settings_digest(settings)})
        self.kubernetes.kubeconfig("cloud").fetch(setup.first_control_plane)

    def clusters(self) -> tuple[ClusterMachines, ...]:
        return (ClusterMachines(cluster="cloud", nodes=tuple(self._nodes()), there=frozenset(self.machines)),)

    def _nodes(self) -> Sequence[ClusterNode]:
        return [
            ClusterNode(name=need.name, role=need.role, address="127.0.0.1", access=self.target, memory_gib=4)
            for need in all_needs(self.site)
        ]

    def observed(self) -> dict[str, Observed]:
        seen = {
            f"machine/{name}": Observed(name=f"machine/{name}", condition=Condition.HEALTHY, settings={})
            for name in self.machines
        }
        clusters = self.clusters()
        return {**seen, **self.kubernetes.observed(clusters), **self.stacks.observed(clusters)}

    def plan(self) -> Plan:
        clusters = self.clusters()
        wanted = [Resource(name=f"machine/{node.name}") for node in self._nodes()]
        on_clusters = [*self.kubernetes.resources(clusters), *self.stacks.resources(clusters)]
        made = compute_plan(self.site.name, [*wanted, *on_clusters], self.observed())
        return self.stacks.explained(self.kubernetes.explained(made, clusters), clusters)

    def check_unchanged(self, plan: Plan) -> list[str]:
        return changes_since(plan, self.observed())

    def perform(self, action: Action, resource: Resource | None) -> str:
        kind, _, name = action.resource.partition("/")
        if kind == "kubernetes":
            return self.kubernetes.perform(action, resource, self.clusters())
        if kind == "stack":
            return self.stacks.perform(action, resource, self.clusters())
        if resource is None:
            self.machines.discard(name)
        else:
            self.kubernetes.made_again("cloud", name)
            self.machines.add(name)
        return "ready"

    def watch(self, tell: Tell) -> None:
        self.kubernetes.watch(tell)
        self.stacks.watch(tell)

    def interrupt(self) -> None:
        self.kubernetes.interrupt()
        self.stacks.interrupt()

    def components(self) -> list[ComponentStatus]:
        clusters = self.clusters()
        return [*self.kubernetes.components(clusters), *self.stacks.components(clusters)]

    def read_log(self, component: str, lines: int) -> tuple[list[str], Path | None]:
        said = self.stacks.log_of(component, lines, self.clusters)
        if said is not None:
            return said, None
        found = self.kubernetes.log_of(component)
        if found is None:
            raise NotFoundError(f"there is no log of {component!r}")
        return found.read_text().splitlines()[-lines:], found

    def exists(self) -> bool:
        return self.folder.root.exists()

    def stop(self, say: Say) -> bool:
        self.kubernetes.rest()
        return False

    def losses(self) -> list[str]:
        return []

    def remove(self, say: Say) -> list[str]:
        self.stacks.remove(say, self.clusters())
        self.machines.clear()
        return [*self.kubernetes.remove(say), *remove_folder(self.folder)]


def command_line_in(folder: Path, monkeypatch: pytest.MonkeyPatch, provider: Callable[..., LoopbackProvider]) -> None:
    """Commands are typed in a site's folder, and find that provider there."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(folder / "config"))
    for module in ("ai_how.cli.open_site", "ai_how.cli.lifecycle"):
        monkeypatch.setattr(f"{module}.provider_of", provider)
    # whether the machines fit is not the point there
    monkeypatch.setattr("ai_how.cli.sizing.plan_sizing", lambda *_words, **_options: {})


def notes_of(folder: Path) -> dict[str, list[str]]:
    """Which playbooks ran on each node, in order."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.name != "wait":
            found[path.name] = [line.split()[0] for line in path.read_text().splitlines()]
    return found
