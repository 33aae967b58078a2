"""``ai-how backup`` for sites whose stack is on a cluster: opening them, and putting a backup back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ai_how.cli.backup_text import chosen, confirm_restore, data_of, held_text, print_restored
from ai_how.cli.next_step import for_this_site
from ai_how.cli.output import human_bytes, note, print_json
from ai_how.cli.transfer import TransferProgress

if TYPE_CHECKING:
    from ai_how.backups.cluster import ClusterSource
    from ai_how.backups.cluster_restore import ExistingOnCluster
    from ai_how.backups.manifest import Manifest
    from ai_how.backups.store import BackupStore
    from ai_how.kubernetes.with_kubernetes import WithKubernetes


@contextmanager
def open_source(provider: WithKubernetes, cluster: str | None) -> Iterator[ClusterSource]:
    """The cluster as what a backup keeps."""
    from ai_how.backups.cluster import open_cluster_source

    kubernetes = provider.kubernetes
    with open_cluster_source(provider, kubernetes.folder, kubernetes.site_file, cluster) as source:
        yield source


def restore_cluster(
    provider: WithKubernetes,
    store: BackupStore,
    name: str | None,
    *,
    cluster: str | None,
    yes: bool,
    dry_run: bool,
    output: str,
) -> None:
    """Put a backup into a cluster, after a question where it has something."""
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked
    from ai_how.backups import cluster_restore as back
    from ai_how.backups.verify import verify

    quiet, folder = output == "json", provider.kubernetes.folder
    with open_source(provider, cluster) as source, store.held(writing=False):
        manifest = chosen(store, name, site=source.site)
        back.check_fits(source, manifest)
        with TransferProgress(quiet=quiet) as progress:
            notes = verify(store, manifest, progress=progress)
        there = back.existing(source)
        if dry_run:
            _print_restore(manifest, source, there, output)
            return
        if not there.empty and not yes:
            note(f"Cluster {source.stack.cluster} {_replaced(there)}.")
            confirm_restore(store, manifest)
        events = EventLog(folder.events)
        with locked(folder.lock), TransferProgress(quiet=quiet) as progress:
            events.append("site", "restore", "started", detail=manifest.id)
            say = (lambda _: None) if quiet else (lambda text: note(f"  {text}"))
            back.restore(source, manifest, store, say=say, progress=progress)
            events.append("site", "restore", "done", detail=manifest.id)
    print_restored(
        manifest,
        provider.kubernetes.site.name,
        "registry and object store are restored",
        notes,
        output=output,
        then="ai-how model list",
        remark="the cluster keeps its own keys; those of the backup: docs/how-to/back-up.md",
    )


def _replaced(there: ExistingOnCluster) -> str:
    if there.empty:
        return "is empty"
    return f"has {there.models} model versions, {there.objects} objects ({human_bytes(there.size_bytes)})"


def _print_restore(manifest: Manifest, source: ClusterSource, there: ExistingOnCluster, output: str) -> None:
    replaced = _replaced(there)
    if output == "json":
        print_json({**data_of(manifest), "site_now": replaced})
        return
    click.echo(f"backup {manifest.id} is sound: {held_text(manifest)}")
    click.echo(for_this_site(f"cluster {source.stack.cluster} {replaced}; nothing was changed"))
