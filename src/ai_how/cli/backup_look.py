"""``ai-how backup list|show|verify``: what only reads backups."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.backup_text import (
    FOLDER,
    chosen,
    complete_id,
    data_of,
    held_text,
    list_or_error,
    open_store,
    warn_incomplete,
)
from ai_how.cli.options import output_option
from ai_how.cli.output import human_bytes, note, print_json, print_table
from ai_how.cli.transfer import TransferProgress
from ai_how.errors import NotFoundError, ProviderError, SpecError

if TYPE_CHECKING:
    from ai_how.backups.manifest import Manifest
    from ai_how.backups.store import BackupStore
    from ai_how.backups.verify import Findings

_SHOWN = 12


@click.command("list")
@click.argument("folder", type=FOLDER)
@output_option
def list_backups(folder: Path, output: str) -> None:
    """List the backups in FOLDER, the newest first. Nothing is read through.

    \b
    Example:
      ai-how backup list /mnt/backups
    """
    found = [(name, list_or_error(store, name)) for store in [open_store(folder)] for name in store.ids()]
    if output == "json":
        print_json([data_of(one) if not isinstance(one, str) else {"id": name, "error": one} for name, one in found])
        return
    rows = [_row(name, one) for name, one in found]
    print_table(("BACKUP", "MODELS", "OBJECTS", "SIZE", ""), rows, empty=f"no backup in {folder}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("name", metavar="[BACKUP]", required=False, shell_complete=complete_id)
@click.option("--site-file", is_flag=True, help="Print only the site file that was kept.")
@click.option("--file", "file_name", metavar="NAME", help="Print only that file; it may be a secret.")
@output_option
def show(folder: Path, name: str | None, file_name: str | None, output: str, *, site_file: bool) -> None:
    """Show what a backup holds; the newest one without a name.

    \b
    Example:
      ai-how backup show /mnt/backups --site-file > ai-how.yaml
      ai-how backup show /mnt/backups --file etcd/snapshot.db > snapshot.db
    """
    from ai_how.backups.manifest import SITE_FILE

    store = open_store(folder)
    manifest = chosen(store, name)
    if site_file and file_name:
        raise SpecError("--site-file and --file go one at a time", next_step="ai-how backup show --help")
    wanted = SITE_FILE if site_file else file_name
    if wanted:
        kept = next((file for file in manifest.files if file.name == wanted), None)
        if kept is None:
            raise NotFoundError(
                f"backup {manifest.id} has no {'site file' if site_file else wanted}",
                evidence="it has: " + ", ".join([file.name for file in manifest.files][:_SHOWN]),
            )
        click.echo(store.read(kept), nl=False)
        return
    if output == "json":
        print_json(data_of(manifest))
        return
    for key, value in _facts(manifest):
        click.echo(f"{key:<10}{value}")
    if manifest.database is None:
        return
    click.echo()
    rows = [(str(one), ", ".join(one.aliases), human_bytes(one.size_bytes), one.digest[:12]) for one in manifest.models]
    print_table(("MODEL", "ALIASES", "SIZE", "DIGEST"), rows, empty="no model was registered")
    warn_incomplete(manifest)


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("name", metavar="[BACKUP]", required=False, shell_complete=complete_id)
@click.option("--all", "everything", is_flag=True, help="Every backup in FOLDER.")
@output_option
def verify(folder: Path, name: str | None, output: str, *, everything: bool) -> None:
    """Read a backup through; the newest one without a name. Changes nothing.

    Every digest, the database by its own check, and that each registered
    version has all its files. Exit code 1 when something is damaged.

    \b
    Example:
      ai-how backup verify /mnt/backups --all
    """
    store = open_store(folder)
    if everything and name:
        raise SpecError("either a backup or --all", next_step=f"ai-how backup verify {folder} --all")
    names = store.ids() if everything else [chosen(store, name).id]
    findings: dict[str, Findings] = {}
    with store.held(writing=False):
        for one in names:
            manifest = list_or_error(store, one)
            with TransferProgress(quiet=output == "json") as progress:
                findings[one] = _inspect(store, manifest, progress)
            if output == "text":
                _say(manifest, findings[one])
    if output == "json":
        print_json([{"id": one, "sound": not found.damages, **asdict(found)} for one, found in findings.items()])
    damaged = [one for one, found in findings.items() if found.damages]
    if damaged:
        lines = [f"{one}: {line}" for one in damaged for line in findings[one].damages]
        more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise ProviderError(
            f"{len(damaged)} of {len(names)} backups cannot be put back as made",
            evidence="\n".join([*lines[:_SHOWN], *more]),
            next_step=f"while the site still has everything: ai-how backup create {folder} --full",
        )


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    versions = ", ".join(f"{program} {version}" for program, version in manifest.versions.items() if version)
    facts = [
        ("backup", manifest.id),
        ("site", f"{manifest.site} (provider {manifest.provider})"),
        ("made", f"{manifest.made_at[:16].replace('T', ' ')} UTC by {manifest.made_by}"),
        ("versions", versions),
    ]
    if manifest.database:
        facts.append(("database", f"{manifest.database.kind}, {human_bytes(manifest.database.size_bytes)}"))
        facts.append(("objects", f"{len(manifest.objects)} in {', '.join(manifest.buckets)}"))
    if manifest.etcd_bytes:
        alone = "" if manifest.database else "; the cluster had no stack"
        facts.append(("etcd", f"a snapshot, {human_bytes(manifest.etcd_bytes)}{alone}"))
    return [*facts, ("size", human_bytes(manifest.size_bytes))]


def _inspect(store: BackupStore, manifest: Manifest | str, progress: TransferProgress) -> Findings:
    from ai_how.backups.verify import Findings, inspect

    if isinstance(manifest, str):
        return Findings(damages=(manifest,), notes=())
    return inspect(store, manifest, progress=progress)


def _say(manifest: Manifest | str, found: Findings) -> None:
    if not (found.damages or isinstance(manifest, str)):
        click.echo(f"backup {manifest.id} is sound: {held_text(manifest)}")
    for line in found.notes:
        note(f"note: {line}")


def _row(name: str, found: Manifest | str) -> tuple[object, ...]:
    if isinstance(found, str):
        return name, "-", "-", "-", found
    size = human_bytes(found.size_bytes)
    if found.database is None:
        return name, "-", "-", size, "etcd alone"
    return name, len(found.models), len(found.objects), size, _remark(found)


def _remark(manifest: Manifest) -> str:
    return f"{len(manifest.incomplete)} models not whole" if manifest.incomplete else ""
