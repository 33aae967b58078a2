"""``ai-how backup``: keep everything of a site that cannot be made again, and put it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.backup_look import list_backups, show, verify
from ai_how.cli.backup_text import (
    FOLDER,
    chosen,
    complete_id,
    confirm_restore,
    data_of,
    held_text,
    made_text,
    open_store,
    print_restored,
    print_survey,
    warn_incomplete,
)
from ai_how.cli.confirm import confirm
from ai_how.cli.next_step import for_this_site, say_next
from ai_how.cli.nodes import cluster_option
from ai_how.cli.options import output_option, site_option, yes_option
from ai_how.cli.output import human_bytes, note, print_json, teller
from ai_how.cli.transfer import TransferProgress
from ai_how.errors import InterruptionError, SpecError

if TYPE_CHECKING:
    from ai_how.apply.site_folder import SiteFolder
    from ai_how.backups.manifest import Manifest
    from ai_how.backups.source import Source
    from ai_how.backups.store import BackupStore
    from ai_how.kubernetes.with_kubernetes import WithKubernetes
    from ai_how.local.provider import LocalProvider
    from ai_how.local.restore import Existing

_which_cluster = cluster_option("Which one; default: the only one with a stack, else the only one.")
# spelled out here so that `--help` and completion import no reader; a test holds them to the library's
_PARTS = ("secrets", "objects", "database")
_ETCD = "etcd"


@click.group()
def backup() -> None:
    """Keep what cannot be made again, and put it back.

    The registry's database, every model and artifact, endpoints, reports, keys
    and the site file go into a folder; what is there already is not copied
    again. Of a cluster: database, models, artifacts, the stack's Secrets and a
    snapshot of etcd; without a stack the snapshot alone. A backup holds
    secrets: keep the folder to yourself.

    \b
    Example:
      ai-how backup create /mnt/backups --keep 7
      ai-how backup restore /mnt/backups
    """


backup.add_command(list_backups)
backup.add_command(show)
backup.add_command(verify)


@backup.command()
@click.argument("folder", type=FOLDER)
@site_option
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Then keep only this site's N newest backups.")
@click.option("--full", is_flag=True, help="Copy all objects again: mends what is damaged in FOLDER.")
@click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
@_which_cluster
@output_option
def create(
    folder: Path,
    site_path: Path | None,
    keep: int | None,
    cluster: str | None,
    output: str,
    *,
    full: bool,
    dry_run: bool,
) -> None:
    """Make a backup of the running site in FOLDER.

    Endpoints go on serving. Of a cluster without a stack a snapshot of etcd is
    kept, which goes back by restore --only etcd. After Ctrl-C or a failure the same command goes on
    where it was; only a whole backup is ever listed.

    \b
    Example:
      ai-how backup create /mnt/backups --dry-run
      ai-how backup create /mnt/backups --keep 7
    """
    from ai_how.apply.events import EventLog
    from ai_how.apply.lock import locked
    from ai_how.backups import create as making
    from ai_how.backups.store import BackupStore

    store = BackupStore(folder)
    with _ctrl_c(), _opened(site_path, cluster) as (source, site_folder):
        if dry_run:
            print_survey(making.survey(source, store, full=full), folder, output)
            return
        source.models()  # before a folder is made: a site that is down has nothing to keep
        store.begin()
        with locked(site_folder.lock), store.held(writing=True):
            with TransferProgress(quiet=output == "json") as progress:
                made = making.create(source, store, full=full, progress=progress)
            EventLog(site_folder.events).append("site", "backup", "done", detail=made.manifest.id)
            removed = _prune(store, source.site, keep) if keep else []
    if output == "json":
        counts = {"copied_objects": made.copied_objects, "copied_bytes": made.copied_bytes, "removed": removed}
        print_json({**data_of(made.manifest), **counts})
        return
    click.echo(made_text(made))
    for name in removed:
        click.echo(f"{name} is removed")
    warn_incomplete(made.manifest)
    say_next(f"ai-how backup verify {folder}")


@backup.command()
@click.argument("folder", type=FOLDER)
@click.argument("name", metavar="[BACKUP]", required=False, shell_complete=complete_id)
@site_option
@yes_option
@click.option("--dry-run", is_flag=True, help="Verify, and only say what would be replaced.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice((*_PARTS, _ETCD)),
    metavar="PART",
    help=f"Of a cluster only this, may be repeated: {', '.join(_PARTS)}; or alone: {_ETCD}.",
)
@_which_cluster
@output_option
def restore(
    folder: Path,
    name: str | None,
    site_path: Path | None,
    yes: bool,
    only: tuple[str, ...],
    cluster: str | None,
    output: str,
    *,
    dry_run: bool,
) -> None:
    """Put a backup into the site; this site's newest one without a name.

    What is put back is verified first. The site may be another one, on another
    machine, empty or never made: it is brought up. What it has of models,
    artifacts, endpoints, reports and keys is replaced, after a question. A
    cluster must be up; it gets the stack's Secrets, models and artifacts, and
    what has read a Secret is restarted. The snapshot of etcd goes back only
    with --only etcd, onto the cluster that it was taken on; of a cluster
    without a stack there is nothing else.

    \b
    Example:
      ai-how backup restore /mnt/backups
      ai-how backup restore /mnt/backups --only secrets --dry-run
      ai-how backup show /mnt/backups --site-file > ai-how.yaml
    """
    from ai_how.local.provider import LocalProvider

    provider, store = _open(site_path), open_store(folder)
    if isinstance(provider, LocalProvider):
        _refuse_cluster(provider, cluster)
        _refuse_parts(provider, only)
        _restore_here(provider, store, name, yes=yes, dry_run=dry_run, output=output)
    else:
        _restore_cluster(provider, store, name, cluster=cluster, only=only, yes=yes, dry_run=dry_run, output=output)


def _refuse_parts(provider: LocalProvider, only: tuple[str, ...]) -> None:
    if only:
        raise SpecError(
            f"site {provider.site.name} is put back as a whole",
            evidence="its database and its store know the keys that were kept with them; --only is for clusters",
            next_step="leave --only out",
        )


def _restore_cluster(
    provider: WithKubernetes,
    store: BackupStore,
    name: str | None,
    *,
    cluster: str | None,
    only: tuple[str, ...],
    yes: bool,
    dry_run: bool,
    output: str,
) -> None:
    from ai_how.cli.backup_cluster import restore_cluster
    from ai_how.cli.backup_etcd import restore_etcd_of

    if _ETCD in only and len(only) > 1:
        raise SpecError(
            "etcd is put back alone",
            evidence="it holds every object of the cluster, its Secrets too",
            next_step="ai-how backup restore --help",
        )
    with _ctrl_c():
        if _ETCD in only:
            restore_etcd_of(provider, store, name, cluster=cluster, yes=yes, dry_run=dry_run, output=output)
        else:
            restore_cluster(provider, store, name, cluster=cluster, only=only, yes=yes, dry_run=dry_run, output=output)


def _restore_here(
    provider: LocalProvider, store: BackupStore, name: str | None, *, yes: bool, dry_run: bool, output: str
) -> None:
    """Put a backup into a site of this machine."""
    from ai_how.apply.lock import locked
    from ai_how.apply.site_folder import make_site_folder
    from ai_how.backups.verify import verify as verify_backup
    from ai_how.local import restore as back

    manifest = chosen(store, name, site=provider.site.name)
    back.check_fits(provider, manifest)
    back.check_room(provider, manifest)
    quiet = output == "json"
    with _ctrl_c(), store.held(writing=False):
        with TransferProgress(quiet=quiet) as progress:
            notes = verify_backup(store, manifest, progress=progress)
        there = back.existing(provider)
        replaced = _replaced(there)
        if dry_run:
            _print_restore(manifest, provider, replaced, output)
            return
        if not there.empty and not yes:
            note(f"Site {provider.site.name} {replaced}. Its keys change too.")
            confirm_restore(store, manifest)
        make_site_folder(provider.folder, provider.site.name)
        with locked(provider.folder.lock), TransferProgress(quiet=quiet) as progress:
            back.restore(
                provider,
                manifest,
                store,
                bring_up=lambda: _bring_up(provider, quiet=quiet),
                say=teller(quiet=quiet),
                progress=progress,
            )
    site = provider.site.name
    print_restored(manifest, site, f"site {site} is restored", notes, output=output, then="ai-how status")


@backup.command()
@click.argument("folder", type=FOLDER)
@click.argument("names", metavar="[BACKUP]...", nargs=-1, shell_complete=complete_id)
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Of each site remove all but the N newest.")
@yes_option
@output_option
def delete(folder: Path, names: tuple[str, ...], keep: int | None, yes: bool, output: str) -> None:
    """Remove backups, and the content that no other backup has.

    \b
    Example:
      ai-how backup delete /mnt/backups --keep 3
    """
    store = open_store(folder)
    if bool(names) == bool(keep):
        raise SpecError("name backups, or --keep N", next_step=f"ai-how backup list {folder}")
    with store.held(writing=True):
        there = store.ids()
        for name in names:
            if name not in there:
                store.manifest(name)  # says what there is
        doomed = list(dict.fromkeys(names)) if names else _older(store, there, keep or 1)
        if doomed and not yes:
            note("\n".join(doomed))
            words = " ".join(names) if names else f"--keep {keep}"
            otherwise = f"ai-how backup delete {folder} {words} --yes"
            confirm(f"Remove {len(doomed)} of {len(there)} backups?", what="a removal", otherwise=otherwise)
        freed = store.forget(doomed) if doomed else 0
    if output == "json":
        print_json({"removed": doomed, "freed_bytes": freed})
    else:
        click.echo(f"{len(doomed)} removed, {human_bytes(freed)} got free" if doomed else "nothing to remove")


def _open(site_path: Path | None) -> LocalProvider | WithKubernetes:
    """The site: on this machine, or on clusters.

    Raises:
        SpecError: it can only be planned.
    """
    from ai_how.cli.open_site import open_site
    from ai_how.kubernetes.with_kubernetes import WithKubernetes
    from ai_how.local.provider import LocalProvider

    provider = open_site(site_path)
    if isinstance(provider, LocalProvider | WithKubernetes):
        return provider
    raise SpecError(f"a site of provider {provider.site.provider} cannot be backed up", next_step="ai-how plan")


@contextmanager
def _opened(site_path: Path | None, cluster: str | None) -> Iterator[tuple[Source, SiteFolder]]:
    """What is kept of the site, and the site's folder."""
    from ai_how.cli.backup_cluster import open_source
    from ai_how.local.kept import LocalSource
    from ai_how.local.provider import LocalProvider

    provider = _open(site_path)
    if isinstance(provider, LocalProvider):
        _refuse_cluster(provider, cluster)
        yield LocalSource(provider), provider.folder
        return
    with open_source(provider, cluster) as source:
        yield source, provider.kubernetes.folder


def _refuse_cluster(provider: LocalProvider, cluster: str | None) -> None:
    if cluster is not None:
        raise SpecError(f"site {provider.site.name} has no clusters", next_step="leave --cluster out")


def _older(store: BackupStore, names: list[str], keep: int) -> list[str]:
    by_site: dict[str, list[str]] = {}
    for name in names:
        by_site.setdefault(store.manifest(name).site, []).append(name)
    return [name for ours in by_site.values() for name in ours[keep:]]


def _prune(store: BackupStore, site: str, keep: int) -> list[str]:
    """Remove all but a site's newest backups; the names of those. What hinders that is told: the new one is made."""
    doomed = store.ids(site)[keep:]
    try:
        if doomed:
            store.forget(doomed)
    except SpecError as error:
        note(f"warning: older backups stay: {error.brief}\nNext: ai-how backup verify {store.root} --all")
        return []
    return doomed


def _bring_up(provider: LocalProvider, *, quiet: bool) -> None:
    from ai_how.cli.apply import carry_out

    outcomes = carry_out(provider, provider.plan(), quiet=quiet)
    error = next((one.error for one in outcomes if one.error), None)
    if error:
        raise error


@contextmanager
def _ctrl_c() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptionError("interrupted", next_step="run the same command again to go on") from None


def _replaced(there: Existing) -> str:
    from ai_how.host.checks.compare import plural

    if there.empty:
        return "is empty"
    if not there.counted:
        return "has data and does not run: all of it would be replaced"
    size = human_bytes(there.size_bytes)
    what = f"{plural(there.models, 'model version')}, {plural(there.objects, 'object')} ({size})"
    return f"has {what}, {plural(there.endpoints, 'endpoint')}"


def _print_restore(manifest: Manifest, provider: LocalProvider, replaced: str, output: str) -> None:
    if output == "json":
        print_json({**data_of(manifest), "site_now": replaced})
        return
    click.echo(f"backup {manifest.id} is sound: {held_text(manifest)}")
    click.echo(for_this_site(f"site {provider.site.name} {replaced}; nothing was changed"))
