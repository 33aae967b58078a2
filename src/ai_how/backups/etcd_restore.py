"""Puts a snapshot of etcd back onto the control planes that it was taken on: all members, or none.

Everything that can fail is asked or made before anything is stopped. The data that was there is put aside on each node;
where the new does not come up it is put back. Done again after it was broken off, it goes on from what it finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ai_how.apply.provider import Say
from ai_how.backups.etcd_node import EtcdMember, ask_member, do_step, members_seen, restart_kubelet, send_snapshot
from ai_how.backups.manifest import AUTHORITY, ETCD, KeptFile, Manifest
from ai_how.backups.store import BackupStore
from ai_how.backups.verify import Scope
from ai_how.errors import AiHowError, ConflictError, NotFoundError, ProviderError, TryAgainError
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes.nodes import CONTROL_PLANE, ClusterNode

_ROOM = 3
"""The snapshot, what is made of it, and the log that etcd begins beside it."""
_PAUSE_S = 1.0
ETCD_ALONE = Scope(database=False, objects=False, files=(ETCD, AUTHORITY))
"""What must be sound for etcd to be put back."""


@dataclass(frozen=True, kw_only=True)
class EtcdTimes:
    """How long is waited, in seconds."""

    etcd_s: float = 180
    api_s: float = 300


@dataclass(frozen=True, kw_only=True)
class EtcdRestore:
    """A restore that fits: its members, the nodes whose kubelets look anew, and the snapshot. ``notes`` say what was
    not known; ``resumed``: one of this backup was broken off.
    """

    cluster: str
    manifest: Manifest
    snapshot: KeptFile
    members: tuple[EtcdMember, ...]
    workers: tuple[ClusterNode, ...] = ()
    notes: tuple[str, ...] = ()
    times: EtcdTimes

    @property
    def resumed(self) -> bool:
        return any(self.manifest.id in one.work for one in self.members)

    @property
    def lines(self) -> tuple[str, ...]:
        """What would be done, step by step."""
        names = ", ".join(one.node.name for one in self.members)
        data, made = self.members[0].data_dir, self.manifest.made_at[:16].replace("T", " ")
        others = f" and {', '.join(one.name for one in self.workers)}" if self.workers else ""
        first = "a restore of this backup was broken off: what is done stays" if self.resumed else ""
        return tuple(
            filter(
                None,
                (
                    first,
                    f"on {names}: the snapshot of {made} UTC becomes a new data directory beside {data}",
                    f"on {names}: kube-apiserver, kube-controller-manager and kube-scheduler stop, then etcd",
                    f"on {names}: {data} is put aside and the new one in its place; etcd starts",
                    f"where it is not well in {self.times.etcd_s:g} s, the old data is put back",
                    f"the control plane starts; the kubelets of {names}{others} restart",
                    f"what was changed on cluster {self.cluster} after {made} UTC is lost",
                ),
            )
        )


def plan_etcd(
    machines: ClusterMachines, manifest: Manifest, store: BackupStore, *, authority_pem: str, times: EtcdTimes
) -> EtcdRestore:
    """Ask the control planes whether the backup's snapshot can go back onto them. Changes nothing.

    Args:
        authority_pem: The certificate of the authority that the cluster has now.

    Raises:
        NotFoundError: the backup has no snapshot.
        ConflictError: it is of another cluster, or the members are not the site's control planes.
        ProviderError, TryAgainError: a node is off, has no etcd as a service, or has too little room.
    """
    files = {file.name: file for file in manifest.files}
    if ETCD not in files:
        raise NotFoundError(
            f"backup {manifest.id} has no snapshot of etcd",
            evidence=f"it is of provider {manifest.provider}",
            next_step=f"ai-how backup list {store.root}",
        )
    notes = []
    if AUTHORITY not in files:
        notes.append("the backup does not say of which cluster it is: one that was made anew cannot read its Secrets")
    elif store.read(files[AUTHORITY]).decode("ascii").strip() != authority_pem.strip():
        others = "into a cluster that was made anew go the other parts: leave --only etcd out"
        raise ConflictError(
            f"the snapshot of backup {manifest.id} is of another cluster",
            evidence="that cluster had another certificate authority, and encrypted its Secrets with another key",
            next_step=others if manifest.database else "name its cluster with --cluster, where the site has several",
        )
    nodes = tuple(node for node in machines.nodes if node.role == CONTROL_PLANE)
    for node in nodes:
        if node.name not in machines.there or node.name in machines.off:
            state = "off" if node.name in machines.there else "gone"
            raise TryAgainError(f"{node.name} is {state}: etcd is restored on all members", next_step="ai-how up")
    members = tuple(map(ask_member, nodes))
    _check(members, manifest, files[ETCD])
    on = machines.there - machines.off
    workers = tuple(node for node in machines.nodes if node.role != CONTROL_PLANE and node.name in on)
    return EtcdRestore(
        cluster=machines.cluster,
        manifest=manifest,
        snapshot=files[ETCD],
        members=members,
        workers=workers,
        notes=tuple(notes),
        times=times,
    )


def _check(members: Sequence[EtcdMember], manifest: Manifest, snapshot: KeptFile) -> None:
    names = {one.name for one in members}
    for one in members:
        where = one.node.name
        others = [each for each in one.work if each != manifest.id]
        if others:
            raise ConflictError(
                f"a restore of backup {others[0]} was broken off on {where}",
                next_step=f"end it first: ai-how backup restore FOLDER {others[0]} --only etcd",
            )
        if set(one.cluster) != names or one.cluster != members[0].cluster:
            raise ConflictError(
                f"etcd's members are not the control planes of the site file: {where}",
                evidence=f"ETCD_INITIAL_CLUSTER there names {', '.join(one.cluster) or 'none'}; "
                f"the control planes are {', '.join(sorted(names))}",
                next_step="ai-how up sets all members up alike",
            )
        if not one.tool:
            raise ProviderError(
                f"{where} has neither etcdutl nor etcdctl", evidence="Kubespray puts them into its bin_dir"
            )
        if one.is_mounted:
            raise ProviderError(
                f"{one.data_dir} on {where} is a mounted disk, which cannot be put aside",
                next_step="restore by hand there: Kubernetes' documentation, Restoring an etcd cluster",
            )
        # where this restore was begun, what needs the room is made already
        if manifest.id not in one.work and one.free_bytes < _ROOM * snapshot.size_bytes:
            raise ProviderError(
                f"there is not enough room beside {one.data_dir} on {where}",
                evidence=f"{_ROOM * snapshot.size_bytes / 2**20:.0f} MiB are needed, "
                f"{one.free_bytes / 2**20:.0f} MiB are free",
                next_step=f"free some space there: ai-how vm ssh {where}",
            )


def restore_etcd(
    plan: EtcdRestore, store: BackupStore, *, api_answers: Callable[[], None], say: Say
) -> tuple[str, ...]:
    """Carry it out; gives where the old data lies now, a line for each node.

    Args:
        api_answers: Asks the API server something that comes from etcd; raises while it does not answer.

    Raises:
        ProviderError: it did not come up; the old data is in place again, or the evidence says where it is not.
        InterruptionError: Ctrl-C, by the caller; the same command goes on.
    """
    backup, nodes = plan.manifest.id, [one.node for one in plan.members]
    for node in nodes:
        say(f"{node.name}: making a data directory of the snapshot")
        send_snapshot(node, backup, store.path(plan.snapshot.sha256), plan.snapshot.sha256)
    with _taken_back(plan, say):
        for step, said in (("halt", "stopping the control plane"), ("swap", "putting the data in place")):
            for node in nodes:
                say(f"{node.name}: {said}")
                do_step(node, step, backup, what=said)
        _start(plan, say)
    _release(plan, say)
    _wait_for_api(plan, api_answers, say)
    return tuple(f"{node.name}: {_finish(node, backup)}" for node in nodes)


def _start(plan: EtcdRestore, say: Say) -> None:
    """Start all members, and wait until each one knows all of them."""
    backup, names = plan.manifest.id, {one.name for one in plan.members}
    for one in plan.members:
        do_step(one.node, "start", backup, what="start etcd")
    until = time.monotonic() + plan.times.etcd_s
    for one in plan.members:
        say(f"{one.node.name}: waiting for etcd")
        while True:
            try:
                seen = members_seen(one.node, backup)
                if seen == names:
                    break
                trouble = f"it knows the members {', '.join(sorted(seen)) or 'none'}"
            except AiHowError as error:
                trouble = error.evidence
            if time.monotonic() + _PAUSE_S > until:
                raise ProviderError(
                    f"etcd on {one.node.name} is not well after {plan.times.etcd_s:g} s",
                    evidence="\n".join(filter(None, (trouble, _said(one.node, backup)))),
                )
            time.sleep(_PAUSE_S)


@contextmanager
def _taken_back(plan: EtcdRestore, say: Say) -> Iterator[None]:
    """Where the block fails, every member gets its old data again, and the control plane starts."""
    try:
        yield
    except AiHowError as error:
        say(f"{error.brief}: the old data is put back")
        left = _undo(plan, say)
        raise ProviderError(
            "the snapshot of etcd was not restored"
            + ("; a part of the cluster has to be mended by hand" if left else "; the cluster has its old data again"),
            evidence="\n".join(filter(None, (error.brief, error.evidence, *left))),
            next_step="mend what is said, then run the same command again",
        ) from error


def _undo(plan: EtcdRestore, say: Say) -> list[str]:
    """What could not be undone, a line each."""
    backup, left = plan.manifest.id, []
    for one in plan.members:
        try:
            do_step(one.node, "undo", backup, what="put the old data back")
        except AiHowError as error:
            left.append(f"{error.brief}: {error.evidence}; it is in {one.data_dir}.ai-how-{backup}/old")
    if not left:
        try:
            _start(plan, say)
        except AiHowError as error:
            left.append(f"with the old data too: {error.brief}: {error.evidence}")
    try:
        _release(plan, say)
    except AiHowError as error:
        left.append(f"{error.brief}: {error.evidence}")
    if not left:
        for one in plan.members:
            _finish(one.node, backup)
    return left


def _release(plan: EtcdRestore, say: Say) -> None:
    for one in plan.members:
        say(f"{one.node.name}: starting the control plane")
        do_step(one.node, "release", plan.manifest.id, what="start the control plane")
    for node in plan.workers:
        try:
            restart_kubelet(node)
        except AiHowError as error:
            # it looks anew by itself once it is back
            say(f"note: {error.brief}: {error.evidence}")


def _wait_for_api(plan: EtcdRestore, api_answers: Callable[[], None], say: Say) -> None:
    say("waiting for the API server")
    until = time.monotonic() + plan.times.api_s
    while True:
        try:
            api_answers()
        except AiHowError as error:
            if time.monotonic() + _PAUSE_S > until:
                data = f"{plan.members[0].data_dir}.ai-how-{plan.manifest.id}/old"
                raise ProviderError(
                    f"etcd has the snapshot's data and is well, but the API server does not answer: {error.brief}",
                    evidence="\n".join(filter(None, (error.evidence, f"the old data is in {data} on each node"))),
                    next_step="ai-how status; once it answers, run the same command again",
                ) from error
            time.sleep(_PAUSE_S)
        else:
            return


def _finish(node: ClusterNode, backup: str) -> str:
    return do_step(node, "finish", backup, what="end the restore").strip()


def _said(node: ClusterNode, backup: str) -> str:
    try:
        return do_step(node, "said", backup, what="read etcd's log").strip()
    except AiHowError:
        return ""
