"""``ai-how backup restore --only etcd``: the snapshot back onto a cluster's control planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ai_how.cli.backup_text import chosen, data_of, print_restored
from ai_how.cli.confirm import confirm_by_name
from ai_how.cli.next_step import for_this_site
from ai_how.cli.output import note, print_json, teller
from ai_how.cli.transfer import TransferProgress

if TYPE_CHECKING:
    from ai_how.backups.store import BackupStore
    from ai_how.kubernetes.cluster_of_site import ClusterMachines
    from ai_how.kubernetes.with_kubernetes import WithKubernetes


def restore_etcd_of(
    provider: WithKubernetes,
    store: BackupStore,
    name: str | None,
    *,
    cluster: str | None,
    yes: bool,
    dry_run: bool,
    output: str,
) -> None:
    """Put the snapshot back, after the cluster's name was typed. Its API server need not answer."""
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked
    from ai_how.backups.clusters_of_site import cluster_to_keep, name_of_backups
    from ai_how.backups.etcd_restore import ETCD_ALONE, EtcdTimes, plan_etcd, restore_etcd
    from ai_how.backups.verify import verify
    from ai_how.stack_access.running import machines_of

    quiet, kubernetes = output == "json", provider.kubernetes
    chosen_cluster = cluster_to_keep(kubernetes.site, cluster)
    machines = machines_of(provider, chosen_cluster)
    with store.held(writing=False):
        manifest = chosen(store, name, site=name_of_backups(kubernetes.site, chosen_cluster))
        authority = kubernetes.kubeconfig(chosen_cluster).read().authority_pem
        planned = plan_etcd(machines, manifest, store, authority_pem=authority, times=EtcdTimes())
        with TransferProgress(quiet=quiet) as progress:
            notes = (*planned.notes, *verify(store, manifest, scope=ETCD_ALONE, progress=progress))
        if dry_run:
            if quiet:
                print_json({**data_of(manifest), "steps": planned.lines, "notes": notes})
                return
            for line in planned.lines:
                click.echo(line)
            for line in notes:
                note(f"note: {line}")
            click.echo(for_this_site("nothing was changed"))
            return
        if not yes:
            note("\n".join([*planned.lines, *(f"note: {line}" for line in planned.notes)]))
            named = f" --cluster {cluster}" if cluster else ""
            otherwise = f"ai-how backup restore {store.root} {manifest.id} --only etcd{named} --yes"
            confirm_by_name(chosen_cluster, kind="cluster", what="a restore of etcd", otherwise=otherwise)
        events = EventLog(kubernetes.folder.events)
        with locked(kubernetes.folder.lock):
            events.append("site", "restore-etcd", "started", detail=manifest.id)
            say = teller(quiet=quiet)
            kept = restore_etcd(planned, store, api_answers=lambda: _ask_api(provider, machines), say=say)
            events.append("site", "restore-etcd", "done", detail=manifest.id)
    print_restored(
        manifest,
        kubernetes.site.name,
        f"etcd of cluster {chosen_cluster} is restored",
        (*notes, *(f"the old data: {line}" for line in kept)),
        output=output,
        then="ai-how plan",
    )


def _ask_api(provider: WithKubernetes, machines: ClusterMachines) -> None:
    from ai_how.kubernetes.cluster_api import open_cluster_api
    from ai_how.kubernetes_api.connection import Patience

    with open_cluster_api(provider.kubernetes, machines, patience=Patience(total_s=5)) as client:
        client.list_objects("v1", "Namespace")
