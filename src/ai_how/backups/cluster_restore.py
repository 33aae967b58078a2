"""Puts a backup into a cluster whose stack runs: the store's objects first, then the registry's database.

In that order a version that the registry shows has its files. Every step may be done again: what was sent stays, and
the database is replaced all at once or not at all. Keys of the cluster are not touched: what runs there has read them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.apply.provider import Say
from ai_how.backups.cluster import MLFLOW, ClusterSource, external_database
from ai_how.backups.databases import load_postgresql
from ai_how.backups.manifest import Manifest
from ai_how.backups.on_nodes import database_pod
from ai_how.backups.put_back import ObjectsBack
from ai_how.backups.store import BackupStore
from ai_how.errors import ConflictError, ProviderError
from ai_how.models.meter import Progress
from ai_how.stack.components import object_store

_CLUSTERS = ("libvirt", "inventory")
_KEPT_FREE = 0.12
"""Share of its volume that a store on a node's own disk keeps free (``stack.components.seaweedfs``)."""


@dataclass(frozen=True, kw_only=True)
class ExistingOnCluster:
    """What of a cluster a restore replaces."""

    models: int
    objects: int
    size_bytes: int

    @property
    def empty(self) -> bool:
        return not (self.models or self.objects)


def existing(source: ClusterSource) -> ExistingOnCluster:
    """What is there. Changes nothing."""
    listed = [found for bucket in source.buckets for found in bucket.listing()]
    size = sum(found.size_bytes for found in listed)
    return ExistingOnCluster(models=len(source.models()), objects=len(listed), size_bytes=size)


def check_fits(source: ClusterSource, manifest: Manifest) -> None:
    """Make sure that the cluster can take the backup.

    Raises:
        ConflictError: it cannot; the next step says what to write in the site file.
        ProviderError: its store's volume is too small.
    """
    setting = source.stack.setting
    if manifest.provider not in _CLUSTERS:
        raise _other("provider", manifest.provider, source.provider, next_step="name a backup of a cluster")
    if manifest.buckets != object_store.buckets(setting):
        # the registry names the files by their bucket
        ours = setting.stack.object_store.bucket
        name = f"clusters.{source.stack.cluster}.stack.object_store.bucket"
        raise _other(name, manifest.buckets[0], ours, next_step=f"write {name}: {manifest.buckets[0]}; then: ai-how up")
    kept, ours = manifest.versions.get(MLFLOW, ""), setting.version(MLFLOW)
    if kept != ours:
        # tables belong to one version, and only MLflow's own command changes them
        raise _other("MLflow", kept, ours, next_step=f"write pins: {{mlflow: '{kept}'}}; then: ai-how up")
    _check_room(source, manifest)


def _check_room(source: ClusterSource, manifest: Manifest) -> None:
    wanted = source.stack.setting.stack.object_store
    needed = sum(one.size_bytes for one in manifest.objects)
    room = int(wanted.size_gib * 2**30 * (1 - _KEPT_FREE))
    if wanted.type != "external" and needed > room:
        raise ProviderError(
            f"the object store of cluster {source.stack.cluster} is too small for backup {manifest.id}",
            evidence=f"its objects are {needed / 2**30:.1f} GiB; {room / 2**30:.1f} of {wanted.size_gib} can be used",
            next_step="restore into a cluster with a larger stack.object_store.size_gib",
        )


def restore(
    source: ClusterSource, manifest: Manifest, store: BackupStore, *, say: Say, progress: Progress | None = None
) -> None:
    """Make registry and store what the backup says; it has been verified, and the caller holds the site's lock.

    Raises:
        InterruptionError: Ctrl-C; what was sent stays.
        ProviderError: what is there afterwards is not what the backup says.
    """
    say("putting back the objects")
    back = ObjectsBack(store, source.buckets, manifest.objects, progress)
    back.run()
    say("putting back the database")
    dump, server = store.path(manifest.database.sha256), external_database(source.stack)
    if server is None:
        database_pod(source.stack).load(dump)
    else:
        load_postgresql(server, dump)
    if source.stack.setting.stack.object_store.type != "external":
        # what else lies in a store of the user's may be somebody else's
        for bucket, key in back.extra():
            bucket.delete([key])
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
