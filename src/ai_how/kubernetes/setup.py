"""A cluster's Kubernetes as one thing that is planned and made: what is wanted, what was set up, and the way there.

Knows nobody who makes machines: it gets nodes, and a function that keeps what was done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ai_how.errors import NotFoundError
from ai_how.kubernetes.checkout import Checkout, find_checkout
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.group_vars import all_vars, cluster_vars, group_vars_text, names_in
from ai_how.kubernetes.inventory import host_vars, inventory, inventory_text
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.playbooks import RESET, ClusterState, Step, network_first, steps, wanted_state
from ai_how.kubernetes.progress import Progress
from ai_how.kubernetes.run import Job, PlaybookError, run_playbook
from ai_how.kubernetes.variables import check_names
from ai_how.kubernetes.workspace import Workspace
from ai_how.plan.model import Condition, Observed, Resource, settings_digest
from ai_how.site.kubernetes import Kubernetes

PREFIX = "kubernetes/"
PACKAGES_TAG = "system-packages"
"""What Kubespray does under it needs a package mirror, also where every package is there already."""
Record = Callable[[str, Mapping[str, Any]], None]
Report = Callable[[Step, Job, Progress], None]
_VERSIONS = ("kube_version", "containerd_version", "calico_version")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is wanted of a cluster's Kubernetes. ``state`` is what will be recorded once it is so."""

    cluster: str
    nodes: tuple[ClusterNode, ...]
    variables: Mapping[str, Any]
    state: ClusterState
    recorded: ClusterState | None
    own_checkout: Path | None = None
    skip_tags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.cluster}"

    @property
    def first_control_plane(self) -> ClusterNode:
        """The node that is asked for the cluster: the one that has been in it longest."""
        return next(node for node in self.nodes if node.name == self.state.control_planes[0])

    @property
    def domain(self) -> str:
        """The domain of the cluster's own names, by Kubespray's rule."""
        return str(self.variables.get("dns_domain") or self.variables.get("cluster_name") or "cluster.local")

    def resource(self, needs: Sequence[str] = ()) -> Resource:
        """As a resource of a plan; ``needs`` are the nodes' own."""
        return Resource(name=self.name, settings=self.state.to_settings(), needs=tuple(needs))

    def observed(self, lost: Sequence[str] = ()) -> Observed:
        """As it was recorded; failing where nodes are lost. Whether the cluster answers is not asked here."""
        if self.recorded is None:
            return Observed(name=self.name, condition=Condition.ABSENT)
        missed = [name for name in self.recorded.nodes if name in lost or name in self.recorded.lost]
        return Observed(
            name=self.name,
            condition=Condition.FAILING if missed else Condition.HEALTHY,
            settings=self.recorded.to_settings(),
            detail=f"lost: {', '.join(missed)}" if missed else "",
        )


def setup_of(
    cluster: str,
    wanted: Kubernetes,
    nodes: Sequence[ClusterNode],
    *,
    versions: Mapping[str, str],
    recorded: Mapping[str, Any] | None,
    credentials_dir: Path,
    site_folder: Path,
    offline: Mapping[str, Any] | None = None,
) -> Setup:
    """What is wanted of a cluster. Pure.

    Args:
        versions: By component: those of the site's release set, with its pins taken in.
        recorded: The settings that were recorded for it; None: none were.
        credentials_dir: A private folder for the key that encrypts secrets.
        site_folder: Where a relative ``kubespray_path`` starts.
        offline: Variables that lead nodes to a bundle's server, as ``offline.offline_vars``.

    Raises:
        SpecError: ``extra_vars`` holds what it may not.
    """
    was = ClusterState.from_settings(recorded) if recorded else None
    decided = cluster_vars(wanted, versions, credentials_dir=credentials_dir)
    variables = all_vars(decided, wanted.extra_vars, offline=offline)
    settings = {name: value for name, value in variables.items() if name not in _VERSIONS}
    engine = {name: variables[name] for name in _VERSIONS if name != "kube_version"}
    state = wanted_state(
        was,
        kubespray=versions["kubespray"],
        kubernetes=versions["kubernetes"],
        nodes={node.name: str(node.role) for node in nodes},
        digest=settings_digest({**settings, **engine}),
        node_digests={node.name: _node_digest(node, nodes) for node in nodes},
        ranges={"pod_cidr": wanted.pod_cidr, "service_cidr": wanted.service_cidr},
    )
    own = site_folder / Path(wanted.kubespray_path).expanduser() if wanted.kubespray_path else None
    return Setup(
        cluster=cluster,
        nodes=tuple(nodes),
        variables=variables,
        state=state,
        recorded=was,
        own_checkout=own,
        skip_tags=() if wanted.install_packages else (PACKAGES_TAG,),
    )


def _node_digest(node: ClusterNode, nodes: Sequence[ClusterNode]) -> str:
    told = host_vars(node, nodes)
    # how a node is reached may change without a word to Kubernetes
    return settings_digest({name: value for name, value in told.items() if not name.startswith("ansible_")})


def prepare(setup: Setup) -> Checkout:
    """Kubespray and its environment, ready to run; every variable checked against its names.

    Raises:
        SpecError, ConflictError, ProviderError, MissingToolError: as ``find_checkout``, ``check_names``, ``install``.
    """
    checkout = find_checkout(setup.state.kubespray, own=setup.own_checkout)
    check_names(names_in(inventory(setup.nodes), setup.variables), checkout.path, version=checkout.version)
    environment_of(checkout.path, checkout.version).install()
    return checkout


def apply_setup(
    setup: Setup,
    *,
    folder: Path,
    logs: Path,
    record: Record,
    report: Report,
    lost: Sequence[str] = (),
    leaving: Sequence[ClusterNode] = (),
    cancelled: Callable[[], bool] = lambda: False,
) -> str:
    """Run the playbooks that are needed, each recorded when it has ended well; says in a few words what was done.

    Args:
        folder: Of the cluster, in the site's own.
        record: Keeps settings under a resource's name.
        lost: Nodes whose machine is gone or was made again: they are not drained.
        leaving: Every recorded node that is no longer wanted, with how it is or was reached.

    Raises:
        As ``steps``, ``prepare`` and ``run_playbook``.
    """
    todo = steps(setup.recorded, setup.state, lost=lost)
    if not todo:
        return "is as wanted"
    checkout = prepare(setup)
    known = {node.name: node for node in (*leaving, *setup.nodes)}
    run = partial(
        _run, setup, checkout=checkout, known=known, folder=folder, logs=logs, report=report, cancelled=cancelled
    )
    for step in todo:
        try:
            run(step)
        except PlaybookError as error:
            first = network_first(step, setup.recorded, error.task)
            if first is None:
                raise
            run(first)
            run(step)
        record(setup.name, step.after.to_settings())
    return ", ".join(Path(step.playbook).name for step in todo)


def reset_setup(
    setup: Setup,
    *,
    folder: Path,
    logs: Path,
    report: Report,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Take Kubernetes off its nodes, with all that runs on it; arguments as of ``apply_setup``.

    Raises:
        As ``prepare`` and ``run_playbook``.
    """
    names = tuple(node.name for node in setup.nodes)
    extra = {"reset_confirmation": True}
    step = Step(playbook=RESET, reason="Kubernetes is taken off", nodes=names, after=setup.state, extra_vars=extra)
    known = {node.name: node for node in setup.nodes}
    checkout = prepare(setup)
    _run(setup, step, checkout=checkout, known=known, folder=folder, logs=logs, report=report, cancelled=cancelled)


def _run(
    setup: Setup,
    step: Step,
    *,
    checkout: Checkout,
    known: Mapping[str, ClusterNode],
    folder: Path,
    logs: Path,
    report: Report,
    cancelled: Callable[[], bool],
) -> None:
    job = Job(
        playbook=step.playbook,
        checkout=checkout.path,
        environment=environment_of(checkout.path, checkout.version),
        workspace=Workspace(root=folder),
        hosts=_hosts(step, known),
        variables=group_vars_text({**setup.variables, "kube_version": step.after.kubernetes}),
        nodes=step.nodes,
        limit=step.limit,
        extra_vars=step.extra_vars,
        tags=step.tags,
        skip_tags=setup.skip_tags,
        log=logs / f"kubespray-{setup.cluster}-{time.strftime('%Y%m%dT%H%M%S')}.log",
    )
    run_playbook(job, report=lambda progress: report(step, job, progress), cancelled=cancelled)


def newest_log(logs: Path, cluster: str, *, known: Sequence[str]) -> Path:
    """The log of the last playbook that ran for a cluster; ``known`` are the clusters that may have one.

    Raises:
        NotFoundError: none has run.
    """
    found = sorted(logs.glob(f"kubespray-{cluster}-????????T??????.log"))
    if not found:
        names = ", ".join(f"{PREFIX}{name}" for name in known)
        raise NotFoundError(
            f"no playbook has run for {PREFIX}{cluster}",
            evidence=f"there may be: {names}" if names else "the site has no Kubernetes",
            next_step="ai-how up",
        )
    return found[-1]


def _hosts(step: Step, known: Mapping[str, ClusterNode]) -> str:
    missing = [name for name in step.nodes if name not in known]
    if missing:
        raise ValueError(f"{', '.join(missing)} must be among the nodes that leave")
    return inventory_text([known[name] for name in step.nodes], first=step.after.control_planes)
