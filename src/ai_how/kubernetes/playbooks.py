"""Which of Kubespray's playbooks take a cluster from what was set up to what is wanted, and in which order. Pure.

Nothing runs where nothing changed. Rules of Kubespray and Kubernetes that would break a cluster are errors here: the
first control plane stays, Kubespray goes one release and Kubernetes one minor version at a time, and never back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ai_how.errors import SpecError
from ai_how.kubernetes.nodes import CONTROL_PLANE, natural
from ai_how.releases.pins import parse_version

CLUSTER, SCALE, REMOVE, RESET, UPGRADE, FACTS = (
    "cluster.yml",
    "scale.yml",
    "remove-node.yml",
    "reset.yml",
    "upgrade-cluster.yml",
    "playbooks/facts.yml",
)
_WAIT_READY, _NETWORK = "Wait for new control plane nodes to be Ready", "network"
"""A task and a tag of Kubespray's."""


@dataclass(frozen=True, kw_only=True)
class ClusterState:
    """A cluster as it was set up, or as it is wanted.

    ``nodes`` is role by name, ``control_planes`` in the order in which the cluster got them. ``digest`` is of all
    variables but versions and nodes' own; ``node_digests`` are of these, by name. ``ranges`` hold for a cluster's life.
    ``complete`` is False where a control plane was removed and the others have not been told yet. ``lost`` are nodes
    whose machine was made again since: the cluster knows a node of that name that is no more. A state is recorded
    after each playbook that ended well: a broken-off one is simply planned again.
    """

    kubespray: str
    kubernetes: str
    nodes: Mapping[str, str]
    digest: str
    control_planes: tuple[str, ...] = ()
    node_digests: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    lost: tuple[str, ...] = ()

    @property
    def workers(self) -> set[str]:
        return set(self.nodes) - set(self.control_planes)

    def to_settings(self) -> dict[str, Any]:
        """As plain JSON, for the state file and the plan."""
        return {
            "kubespray": self.kubespray,
            "kubernetes": self.kubernetes,
            "nodes": dict(self.nodes),
            "digest": self.digest,
            "control_planes": list(self.control_planes),
            "node_digests": dict(self.node_digests),
            "ranges": dict(self.ranges),
            "complete": self.complete,
            "lost": list(self.lost),
        }

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """The reverse of ``to_settings``."""
        ordered = {name: tuple(settings[name]) for name in ("control_planes", "lost") if name in settings}
        return cls(**{**settings, **ordered})


def wanted_state(
    recorded: ClusterState | None,
    *,
    kubespray: str,
    kubernetes: str,
    nodes: Mapping[str, str],
    digest: str,
    node_digests: Mapping[str, str] | None = None,
    ranges: Mapping[str, str] | None = None,
) -> ClusterState:
    """What is wanted, its control planes in the order that the cluster knows: new ones come last."""
    known = recorded.control_planes if recorded else ()
    wanted = [name for name, role in nodes.items() if role == CONTROL_PLANE]
    kept = [name for name in known if name in wanted]
    new = sorted((name for name in wanted if name not in kept), key=natural)
    return ClusterState(
        kubespray=kubespray,
        kubernetes=kubernetes,
        nodes=nodes,
        digest=digest,
        control_planes=(*kept, *new),
        node_digests=node_digests or {},
        ranges=ranges or {},
    )


@dataclass(frozen=True, kw_only=True)
class Step:
    """One playbook. ``nodes`` is the inventory that it runs with, ``limit`` whom it is limited to (empty: no limit),
    ``tags`` which of its tasks run (empty: all).

    ``after`` is what is true once it has ended well: it is recorded then, so that a failure later loses nothing.
    """

    playbook: str
    reason: str
    nodes: tuple[str, ...]
    after: ClusterState
    limit: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    extra_vars: Mapping[str, Any] = field(default_factory=dict)


def network_first(step: Step, recorded: ClusterState | None, task: str) -> Step | None:
    """What to run before a playbook that failed can run again; None where that would not help.

    A set-up that was broken off after kubeadm and before the network cannot be taken further by ``cluster.yml`` alone:
    where kubeadm has run before, it waits for control planes to be Ready, which they become by the network that it
    would bring later. Source: Kubespray's roles/kubernetes/control-plane/tasks/kubeadm-secondary.yml, 2.30 on.
    """
    if recorded is not None or step.playbook != CLUSTER or task != _WAIT_READY:
        return None
    return replace(step, reason="the network first: an earlier run broke off before it", tags=(_NETWORK,))


def steps(recorded: ClusterState | None, wanted: ClusterState, *, lost: Collection[str] = ()) -> tuple[Step, ...]:
    """The playbooks to run, in order; none where nothing changed.

    Args:
        recorded: As it was set up; None: it never was.
        lost: Nodes that are recorded but whose machine is gone or was made again: they cannot be drained. Those that
            are recorded as lost come on top.

    Raises:
        SpecError: Kubespray or Kubernetes cannot go there.
    """
    lost = {*lost, *(recorded.lost if recorded else ())}
    if recorded is None or lost.issuperset(recorded.nodes):
        # with every machine the cluster is gone too
        return (_cluster("does not exist yet", wanted),)
    _refuse(recorded, wanted, lost)
    found = list(_removals(recorded, wanted, lost))
    now = found[-1].after if found else recorded
    if (now.kubernetes, now.kubespray) != (wanted.kubernetes, wanted.kubespray):
        told = {name: wanted.node_digests[name] for name in now.nodes if name in wanted.node_digests}
        now = replace(
            now, kubernetes=wanted.kubernetes, kubespray=wanted.kubespray, digest=wanted.digest, node_digests=told
        )
        reason = f"Kubernetes {recorded.kubernetes} -> {wanted.kubernetes}, by Kubespray {wanted.kubespray}"
        found.append(Step(playbook=UPGRADE, reason=reason, nodes=tuple(now.nodes), after=now))
    reasons = {
        "control planes were removed": not now.complete,
        "control planes are added": bool(set(wanted.control_planes) - set(now.control_planes)),
        "settings changed": now.digest != wanted.digest,
        "nodes' settings changed": any(
            now.node_digests.get(name) != wanted.node_digests.get(name) for name in now.nodes if name in wanted.nodes
        ),
    }
    if any(reasons.values()):
        found.append(_cluster("; ".join(reason for reason, holds in reasons.items() if holds), wanted))
        return tuple(found)
    return (*found, *_additions(now, wanted))


def _cluster(reason: str, wanted: ClusterState) -> Step:
    return Step(playbook=CLUSTER, reason=reason, nodes=tuple(wanted.nodes), after=wanted)


def _removals(recorded: ClusterState, wanted: ClusterState, lost: Collection[str]) -> Iterator[Step]:
    """One node at a time, workers first, each with itself still in the inventory."""
    gone = {name for name in recorded.nodes if wanted.nodes.get(name) != recorded.nodes[name] or name in lost}
    left = recorded
    for name in sorted(gone, key=lambda name: (name in recorded.control_planes, natural(name))):
        before = left
        left = replace(
            left,
            nodes={other: role for other, role in left.nodes.items() if other != name},
            node_digests={other: digest for other, digest in left.node_digests.items() if other != name},
            control_planes=tuple(other for other in left.control_planes if other != name),
            complete=left.complete and name not in left.control_planes,
            lost=tuple(other for other in left.lost if other != name),
        )
        dead = {"reset_nodes": False, "allow_ungraceful_removal": True} if name in lost else {}
        yield Step(
            playbook=REMOVE,
            reason=f"{name} is lost" if name in lost else f"{name} is drained and removed",
            nodes=tuple(before.nodes),
            after=left,
            extra_vars={"node": name, "skip_confirmation": True, **dead},
        )


def _additions(now: ClusterState, wanted: ClusterState) -> Iterator[Step]:
    new = sorted(wanted.workers - now.workers, key=natural)
    if new:
        everyone = tuple(wanted.nodes)
        # a playbook that is limited takes what it must know of the others from the facts that were kept
        yield Step(playbook=FACTS, reason="facts of all nodes", nodes=everyone, after=now)
        reason = f"{', '.join(new)} {'is' if len(new) == 1 else 'are'} added"
        yield Step(playbook=SCALE, reason=reason, nodes=everyone, after=wanted, limit=tuple(new))


def _refuse(recorded: ClusterState, wanted: ClusterState, lost: Collection[str]) -> None:
    first = recorded.control_planes[0]
    if first not in wanted.control_planes or first in lost:
        raise SpecError(
            f"{first} is the cluster's first control plane: Kubespray cannot remove or replace it",
            evidence=f"control planes in the cluster's order: {', '.join(recorded.control_planes)}",
            next_step=f"keep {first}; where its machine is lost: restore it, or make all machines of the cluster anew "
            "(ai-how vm delete NODE, for each)",
        )
    survivors = set(recorded.control_planes) - set(lost)
    if len(survivors) * 2 <= len(recorded.control_planes):
        raise SpecError(
            "etcd has lost its majority: no node can be removed or added",
            evidence=f"of {', '.join(recorded.control_planes)} there are left: {', '.join(sorted(survivors))}",
            next_step="start the machines again, or restore etcd from a backup",
        )
    moved = [
        f"{key}: {have} -> {wanted.ranges.get(key)}"
        for key, have in recorded.ranges.items()
        if wanted.ranges.get(key) != have
    ]
    if moved:
        raise SpecError(
            "the address ranges of a cluster cannot be changed once it is there",
            evidence="\n".join(moved),
            next_step="write the old ones, or make another cluster",
        )
    _refuse_jump("Kubernetes", recorded.kubernetes, wanted.kubernetes)
    _refuse_jump("Kubespray", recorded.kubespray, wanted.kubespray)


def _refuse_jump(what: str, have: str, want: str) -> None:
    old, new = parse_version(have), parse_version(want)
    (_, (major, minor)), (_, (new_major, new_minor)) = old.series, new.series
    if new < old:
        problem, remedy = f"{what} cannot go back from {have} to {want}", f"pin {have} or a newer version"
    elif new_major != major or new_minor > minor + 1:
        between = f"{major}.{minor + 1}"
        problem = f"{what} goes one minor version at a time, not from {have} to {want}"
        remedy = f"go to a version {between} first, then to {want}"
    else:
        return
    raise SpecError(problem, next_step=remedy)
