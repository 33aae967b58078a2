"""What the commands of ``ai-how backup`` share: finding a backup, and saying what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ai_how.cli.confirm import confirm
from ai_how.cli.next_step import say_next
from ai_how.cli.output import human_bytes, note, print_json
from ai_how.errors import NotFoundError, SpecError

if TYPE_CHECKING:
    from ai_how.backups.create import Created, Survey
    from ai_how.backups.manifest import Manifest
    from ai_how.backups.store import BackupStore

FOLDER = click.Path(path_type=Path, file_okay=False)


def complete_id(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    from ai_how.backups.store import BackupStore

    folder = context.params.get("folder")
    return [name for name in BackupStore(Path(folder)).ids() if name.startswith(typed)] if folder else []


def open_store(folder: Path) -> BackupStore:
    from ai_how.backups.store import BackupStore

    store = BackupStore(folder)
    store.check()
    return store


def chosen(store: BackupStore, name: str | None, *, site: str | None = None) -> Manifest:
    """The backup of that name; without one the newest, of a site where one is named."""
    if name:
        return store.manifest(name)
    names = store.ids()
    if not names:
        raise NotFoundError(f"there is no backup in {store.root} yet", next_step=f"ai-how backup create {store.root}")
    if site:
        ours = store.ids(site)
        if not ours:
            raise NotFoundError(
                f"there is no backup of site {site} in {store.root}",
                evidence=f"there are: {', '.join(names[:8])}",
                next_step=f"name one: ai-how backup restore {store.root} {names[0]}",
            )
        names = ours
    return store.manifest(names[0])


def list_or_error(store: BackupStore, name: str) -> Manifest | str:
    try:
        return store.manifest(name)
    except SpecError as error:
        return f"its list is damaged: {error.evidence}"


def held_text(manifest: Manifest) -> str:
    if manifest.database is None:
        return f"etcd alone, {human_bytes(manifest.size_bytes)}"
    from ai_how.host.checks.compare import plural

    counts = f"{plural(len(manifest.models), 'model')}, {plural(len(manifest.objects), 'object')}"
    return f"{counts}, {human_bytes(manifest.size_bytes)}"


def print_survey(found: Survey, folder: Path, output: str) -> None:
    """Say what a backup would copy, and whether there is room."""
    if output == "json":
        print_json({**asdict(found), "fits": found.fits})
        return
    if found.buckets:
        click.echo(
            f"{found.new_objects} of {found.objects} objects would be copied: {human_bytes(found.new_bytes)} of "
            f"{human_bytes(found.size_bytes)}"
        )
    if found.snapshot_bytes:
        alone = "" if found.buckets else "; the cluster has no stack whose data could be kept"
        click.echo(f"a snapshot of etcd would be taken: {human_bytes(found.snapshot_bytes)}{alone}")
    click.echo(f"{human_bytes(found.free_bytes)} are free for {folder}" + ("" if found.fits else ": not enough"))


def made_text(made: Created) -> str:
    """One line about a backup that was made."""
    said = f"backup {made.manifest.id} is made: {held_text(made.manifest)}"
    if made.manifest.database is None:
        return said
    return f"{said}; {made.copied_objects} objects ({human_bytes(made.copied_bytes)}) were copied"


def warn_incomplete(manifest: Manifest) -> None:
    for line in manifest.incomplete:
        note(f"warning: not whole in the site: {line}")


def confirm_restore(store: BackupStore, manifest: Manifest, *, words: str = "") -> None:
    """Ask before what is there is replaced; ``words`` are the command's other options, after a space."""
    otherwise = f"ai-how backup restore {store.root} {manifest.id}{words} --yes"
    confirm(f"Replace that by backup {manifest.id}?", what="a restore", otherwise=otherwise)


def print_restored(manifest: Manifest, site: str, done: str, notes: Sequence[str], *, output: str, then: str) -> None:
    """Say that a backup was put back: what is well now, what to know of it, and what to do next."""
    if output == "json":
        print_json({**data_of(manifest), "restored_to": site, "notes": notes})
        return
    click.echo(f"{done} from backup {manifest.id}: {held_text(manifest)}")
    for line in notes:
        note(f"note: {line}")
    say_next(then)


def data_of(manifest: Manifest) -> dict[str, Any]:
    counts = {
        "size_bytes": manifest.size_bytes,
        "object_count": len(manifest.objects),
        "etcd_bytes": manifest.etcd_bytes,
    }
    return manifest.model_dump(mode="json", exclude={"objects", "files"}) | counts
