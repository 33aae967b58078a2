"""``ai-how backup`` for sites on clusters: opening one, and putting a backup of its stack back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import click

from ai_how.cli.backup_text import chosen, confirm_restore, data_of, held_text, print_restored
from ai_how.cli.next_step import for_this_site
from ai_how.cli.output import human_bytes, note, print_json, teller
from ai_how.cli.transfer import TransferProgress
from ai_how.errors import ConflictError

if TYPE_CHECKING:
    from ai_how.backups.cluster import ClusterSource
    from ai_how.backups.cluster_restore import ExistingOnCluster, SecretsPlan
    from ai_how.backups.manifest import Manifest
    from ai_how.backups.source import Source
    from ai_how.backups.store import BackupStore
    from ai_how.kubernetes.with_kubernetes import WithKubernetes
    from ai_how.stack_access.running import RunningStack

_WORDS = {"secrets": "Secrets", "objects": "object store", "database": "registry"}


@contextmanager
def open_source(provider: WithKubernetes, cluster: str | None) -> Iterator[Source]:
    """The cluster as what a backup keeps: its stack and etcd, or etcd alone."""
    from ai_how.backups.clusters_of_site import cluster_to_keep

    kubernetes = provider.kubernetes
    name = cluster_to_keep(kubernetes.site, cluster)
    if not kubernetes.site.planned_clusters[name].has_stack:
        from ai_how.backups.bare import open_bare_source

        yield open_bare_source(provider, name)
        return
    from ai_how.backups.cluster import open_cluster_source

    with open_cluster_source(provider, kubernetes.folder, kubernetes.site_file, name) as source:
        yield source


def restore_cluster(
    provider: WithKubernetes,
    store: BackupStore,
    name: str | None,
    *,
    cluster: str | None,
    only: Sequence[str],
    yes: bool,
    dry_run: bool,
    output: str,
) -> None:
    """Put a backup into a cluster, after a question where it has something."""
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked
    from ai_how.backups import cluster_restore as back
    from ai_how.backups.cluster import source_of
    from ai_how.backups.verify import WHOLE, verify

    quiet, folder = output == "json", provider.kubernetes.folder
    parts = [part for part in back.PARTS if part in only] if only else list(back.PARTS)
    with store.held(writing=False), _opened(provider, store, name, cluster=cluster) as (stack, manifest):

        def opened() -> AbstractContextManager[ClusterSource]:
            return source_of(stack, folder, provider.kubernetes.site_file)

        back.check_fits(stack, manifest, parts=parts)
        with TransferProgress(quiet=quiet) as progress:
            scope = back.scope_of(parts) if only else WHOLE
            notes = verify(store, manifest, scope=scope, progress=progress)
        planned = back.secrets_plan(stack, manifest, store) if back.SECRETS in parts else back.SecretsPlan()
        replaces_data = back.OBJECTS in parts or back.DATABASE in parts
        # only who asks or tells needs it: the stores are listed for it
        there = back.existing(opened) if dry_run or (replaces_data and not yes) else back.ExistingOnCluster()
        if dry_run:
            _print_restore(manifest, stack, there, planned, output, parts=parts if only else ())
            return
        if not yes and (not there.empty if replaces_data else planned.changes):
            had = f"Cluster {stack.cluster} {_replaced(there)}." if replaces_data else f"Secrets of {stack.cluster}:"
            note("\n".join([had, *planned.lines]))
            confirm_restore(store, manifest, words=f" --cluster {cluster}" if cluster else "")
        events = EventLog(folder.events)
        with locked(folder.lock), TransferProgress(quiet=quiet) as progress:
            events.append("site", "restore", "started", detail=manifest.id)
            say = teller(quiet=quiet)
            back.restore(stack, manifest, store, open_source=opened, parts=parts, say=say, progress=progress)
            events.append("site", "restore", "done", detail=manifest.id)
    print_restored(
        manifest,
        provider.kubernetes.site.name,
        _done(parts),
        notes,
        output=output,
        then="ai-how model list" if back.DATABASE in parts else "ai-how status",
    )


@contextmanager
def _opened(
    provider: WithKubernetes, store: BackupStore, name: str | None, *, cluster: str | None
) -> Iterator[tuple[RunningStack, Manifest]]:
    """The cluster's stack and the backup that it gets; where either has none, the cluster is not asked."""
    from ai_how.backups.cluster import PATIENCE
    from ai_how.backups.cluster_restore import check_has_stack
    from ai_how.backups.clusters_of_site import cluster_to_keep, name_of_backups
    from ai_how.stack_access.running import open_running_stack

    site = provider.kubernetes.site
    ours = cluster_to_keep(site, cluster)
    manifest = chosen(store, name, site=name_of_backups(site, ours))
    named = f" --cluster {cluster}" if cluster else ""
    otherwise = f"ai-how backup restore {store.root} {manifest.id} --only etcd{named}"
    check_has_stack(manifest, ours=site.provider, otherwise=otherwise)
    if not site.planned_clusters[ours].has_stack:
        raise ConflictError(
            f"cluster {ours} has no stack that backup {manifest.id} could be put into",
            evidence="of a backup a cluster without a stack takes etcd alone, onto the machines that it was taken on",
            next_step=f"{otherwise}, or write clusters.{ours} without stack: {{enabled: false}}; then: ai-how up",
        )
    with open_running_stack(provider, ours, patience=PATIENCE) as stack:
        yield stack, manifest


def _done(parts: Sequence[str]) -> str:
    words = [_WORDS[part] for part in parts]
    text = ", ".join(words[:-1]) + (" and " if words[:-1] else "") + words[-1]
    return f"{text} {'is' if parts in (['objects'], ['database']) else 'are'} restored"


def _replaced(there: ExistingOnCluster) -> str:
    from ai_how.host.checks.compare import plural

    if there.empty:
        return "is empty"
    if there.unknown:
        return f"cannot say what it has ({there.unknown})"
    size = human_bytes(there.size_bytes)
    return f"has {plural(there.models, 'model version')}, {plural(there.objects, 'object')} ({size})"


def _print_restore(
    manifest: Manifest,
    stack: RunningStack,
    there: ExistingOnCluster,
    planned: SecretsPlan,
    output: str,
    *,
    parts: Sequence[str],
) -> None:
    replaced = _replaced(there)
    if output == "json":
        print_json({**data_of(manifest), "site_now": replaced, "secrets": list(planned.lines)})
        return
    sound = f"is sound in what is asked for: {', '.join(parts)}" if parts else f"is sound: {held_text(manifest)}"
    click.echo(f"backup {manifest.id} {sound}")
    for line in planned.lines:
        click.echo(f"  {line}")
    click.echo(for_this_site(f"cluster {stack.cluster} {replaced}; nothing was changed"))
