"""Puts a backup into a cluster whose stack runs: Secrets first, then the store's objects, then the registry's database.

In that order what runs has the keys that everything afterwards is done with, and a version that the registry shows has
its files. Every step may be done again: what was sent stays, and the database is replaced all at once or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ai_how.apply.provider import Say
from ai_how.backups.cluster import MLFLOW, ClusterSource, external_database
from ai_how.backups.cluster_restarts import plan_restarts, renew_certificate, stale_certificate
from ai_how.backups.cluster_secrets import SecretBack, Way, plan_secrets, write_secrets
from ai_how.backups.databases import load_postgresql
from ai_how.backups.manifest import Manifest, database_of, version_numbers
from ai_how.backups.on_nodes import database_pod
from ai_how.backups.put_back import ObjectsBack
from ai_how.backups.store import BackupStore
from ai_how.backups.verify import Scope
from ai_how.errors import AiHowError, ConflictError, ProviderError
from ai_how.models.meter import Progress
from ai_how.stack.components import mlflow, object_store
from ai_how.stack.manifests import NAME_LABEL
from ai_how.stack.setting import MLOPS
from ai_how.stack_access.restarts import TICK_S, Restart, carry_out, restart_of
from ai_how.stack_access.running import RunningStack

OBJECTS, DATABASE, SECRETS = "objects", "database", "secrets"
PARTS = (SECRETS, OBJECTS, DATABASE)
"""What can be put back, in the order in which it is."""
_CLUSTERS = ("libvirt", "inventory")
_KEPT_FREE = 0.12
"""Share of its volume that a store on a node's own disk keeps free (``stack.components.seaweedfs``)."""
OpenSource = Callable[[], AbstractContextManager[ClusterSource]]


@dataclass(frozen=True, kw_only=True)
class ExistingOnCluster:
    """What of a cluster a restore replaces; ``unknown`` says why its stores could not be asked."""

    models: int = 0
    objects: int = 0
    size_bytes: int = 0
    unknown: str = ""

    @property
    def empty(self) -> bool:
        return not (self.models or self.objects or self.unknown)


@dataclass(frozen=True, kw_only=True)
class SecretsPlan:
    """What happens to the Secrets, and what has to be restarted for them. Without values."""

    secrets: tuple[SecretBack, ...] = ()
    restarts: tuple[Restart, ...] = ()
    renews_certificate: bool = False

    @property
    def changes(self) -> bool:
        ways = {one.way for one in self.secrets}
        return bool(ways & {Way.MAKE, Way.REPLACE} or self.restarts or self.renews_certificate)

    @property
    def lines(self) -> tuple[str, ...]:
        """One for each Secret and each restart."""
        signed = ("the gateway's certificate is signed again",) if self.renews_certificate else ()
        return (*map(str, self.secrets), *signed, *(f"{one.owner} is restarted" for one in self.restarts))


def scope_of(parts: Sequence[str]) -> Scope:
    """What must be sound for these parts to be put back. Pure."""
    return Scope(database=DATABASE in parts, objects=OBJECTS in parts, files=("secrets/",) if SECRETS in parts else ())


def existing(open_source: OpenSource) -> ExistingOnCluster:
    """What is there. Changes nothing."""
    try:
        with open_source() as source:
            listed = [found for bucket in source.buckets for found in bucket.listing()]
            size = sum(found.size_bytes for found in listed)
            return ExistingOnCluster(models=len(source.models()), objects=len(listed), size_bytes=size)
    except AiHowError as error:
        # its stores are broken, or half restored: that is when a restore is wanted
        return ExistingOnCluster(unknown=error.brief)


def check_has_stack(manifest: Manifest, *, ours: str, otherwise: str = "") -> None:
    """Make sure that the backup is of a cluster's stack. Pure.

    Args:
        ours: The provider of the site that would take it.
        otherwise: The command that puts etcd back, for the error.

    Raises:
        ConflictError: it is of no cluster.
        SpecError: that cluster had no stack; the next step names ``--only etcd``.
    """
    if manifest.provider not in _CLUSTERS:
        raise _other("provider", manifest.provider, ours, next_step="name a backup of a cluster")
    database_of(manifest, otherwise=otherwise)


def check_fits(stack: RunningStack, manifest: Manifest, *, parts: Sequence[str] = PARTS) -> None:
    """Make sure that the cluster can take these parts of the backup.

    Raises:
        ConflictError: it cannot; the next step says what to write in the site file.
        SpecError: as ``check_has_stack``.
        ProviderError: its store's volume is too small.
    """
    setting = stack.setting
    check_has_stack(manifest, ours=stack.site.provider)
    stored = {OBJECTS, DATABASE} & set(parts)
    if stored and manifest.buckets != object_store.buckets(setting):
        # the registry names the files by their bucket
        ours = setting.stack.object_store.bucket
        name = f"clusters.{stack.cluster}.stack.object_store.bucket"
        raise _other(name, manifest.buckets[0], ours, next_step=f"write {name}: {manifest.buckets[0]}; then: ai-how up")
    kept, ours = manifest.versions.get(MLFLOW, ""), setting.version(MLFLOW)
    if DATABASE in parts and version_numbers(kept) > version_numbers(ours):
        # an older one's tables are changed when the server starts; no server reads a newer one's
        raise _other("MLflow", kept, ours, next_step=f"write pins: {{mlflow: '{kept}'}}; then: ai-how up")
    if OBJECTS in parts:
        _check_room(stack, manifest)


def _check_room(stack: RunningStack, manifest: Manifest) -> None:
    wanted = stack.setting.stack.object_store
    needed = sum(one.size_bytes for one in manifest.objects)
    room = int(wanted.size_gib * 2**30 * (1 - _KEPT_FREE))
    if wanted.type != "external" and needed > room:
        raise ProviderError(
            f"the object store of cluster {stack.cluster} is too small for backup {manifest.id}",
            evidence=f"its objects are {needed / 2**30:.1f} GiB; {room / 2**30:.1f} of {wanted.size_gib} can be used",
            next_step="restore into a cluster with a larger stack.object_store.size_gib",
        )


def secrets_plan(stack: RunningStack, manifest: Manifest, store: BackupStore) -> SecretsPlan:
    """What putting the Secrets back would do. Changes nothing.

    Raises:
        NotFoundError: a pod would have to be restarted that nothing makes again.
    """
    secrets = plan_secrets(stack, manifest, store)
    restarts = plan_restarts(stack, secrets)
    return SecretsPlan(secrets=secrets, restarts=restarts, renews_certificate=stale_certificate(stack.api, secrets))


def restore(
    stack: RunningStack,
    manifest: Manifest,
    store: BackupStore,
    *,
    open_source: OpenSource,
    parts: Sequence[str] = PARTS,
    say: Say,
    progress: Progress | None = None,
) -> None:
    """Make the cluster what the backup says; it has been verified, and the caller holds the site's lock.

    Args:
        open_source: Opens the cluster's stores: with the keys that are there when it is called.

    Raises:
        InterruptionError: Ctrl-C; what was sent stays.
        ProviderError: what is there afterwards is not what the backup says.
    """
    if SECRETS in parts:
        _put_secrets(stack, manifest, store, say)
    if OBJECTS in parts or DATABASE in parts:
        with open_source() as source:
            _put_data(source, manifest, store, parts=parts, say=say, progress=progress)
    if DATABASE in parts:
        if manifest.versions.get(MLFLOW) != stack.setting.version(MLFLOW):
            say("MLflow changes the tables of its older version")
            carry_out(stack, restart_of(stack, MLOPS, f"{NAME_LABEL}={mlflow.APP}"), say=say)
        with open_source() as source:
            _check_registry(source, manifest)


def _put_secrets(stack: RunningStack, manifest: Manifest, store: BackupStore, say: Say) -> None:
    planned = secrets_plan(stack, manifest, store)
    if not planned.changes:
        say("the Secrets are as in the backup")
        return
    write_secrets(stack.api, planned.secrets, say=say)
    time.sleep(TICK_S)
    if planned.renews_certificate:
        renew_certificate(stack.api, say=say)
    # by the ages that there are now: also of what a broken-off restore has left
    carry_out(stack, secrets_plan(stack, manifest, store).restarts, say=say)


def _put_data(
    source: ClusterSource,
    manifest: Manifest,
    store: BackupStore,
    *,
    parts: Sequence[str],
    say: Say,
    progress: Progress | None,
) -> None:
    back = ObjectsBack(store, source.buckets, manifest.objects, progress) if OBJECTS in parts else None
    if back is not None:
        say("putting back the objects")
        back.run()
    if DATABASE in parts:
        say("putting back the database")
        dump, server = store.path(database_of(manifest).sha256), external_database(source.stack)
        if server is None:
            database_pod(source.stack).load(dump)
        else:
            load_postgresql(server, dump)
    if back is not None and source.stack.setting.stack.object_store.type != "external":
        # what else lies in a store of the user's may be somebody else's
        for bucket, key in back.extra():
            bucket.delete([key])


def _check_registry(source: ClusterSource, manifest: Manifest) -> None:
    shown = source.models()
    if shown != manifest.models:
        raise ProviderError(
            "the registry does not show what the backup lists",
            evidence=f"{len(shown)} versions, {len(manifest.models)} in backup {manifest.id}",
            next_step=f"ai-how logs stack/{source.stack.cluster}/mlflow, then run the same command again",
        )


def _other(what: str, kept: str, ours: str, *, next_step: str) -> ConflictError:
    return ConflictError(
        f"the backup does not fit this site: {what}", evidence=f"backup: {kept}; here: {ours}", next_step=next_step
    )
