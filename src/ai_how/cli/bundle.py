"""``ai-how bundle``: everything that a release set downloads, for sites without internet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.options import named_site_option, output_option
from ai_how.cli.output import human_bytes, note, print_json, print_table
from ai_how.cli.transfer import TransferProgress
from ai_how.cli.versions import complete_set

if TYPE_CHECKING:
    from ai_how.bundles.manifest import Manifest

_FOLDER = click.Path(path_type=Path, file_okay=False)
_BUNDLE = click.Path(path_type=Path)


def _complete_loaded(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    from ai_how.bundles.load import loaded_bundles

    return [one.path.name for one in loaded_bundles() if one.path.name.startswith(typed)]


@click.group()
def bundle() -> None:
    """Make, check and load a bundle: all that Kubernetes' set-up downloads.

    For sites without internet, and for installs that repeat.

    \b
    Example:
      ai-how bundle create site.bundle --site ai-how.yaml --tar
      ai-how bundle load site.bundle.tar
    """


@bundle.command()
@click.argument("folder", type=_FOLDER)
@named_site_option("Site file whose release, pins and clusters count. Default: none.")
@click.option(
    "--release", "name", shell_complete=complete_set, help="Release set without a site file. Default: current."
)
@click.option("--platform", default="linux/amd64", show_default=True, help="Platform of the nodes.")
@click.option("--python", "pythons", multiple=True, metavar="3.X", help="Python that loads it. Default: this one.")
@click.option("--tar", "with_tar", is_flag=True, help="Write FOLDER.tar too.")
@click.option("--refresh", is_flag=True, help="Ask again what tags of images stand for.")
@click.option("--jobs", "-j", type=click.IntRange(1, 32), default=6, show_default=True, help="Downloads at once.")
@click.option("--dry-run", is_flag=True, help="Only list what it would hold, and how large.")
@output_option
def create(
    folder: Path,
    site_path: Path | None,
    name: str | None,
    platform: str,
    pythons: tuple[str, ...],
    jobs: int,
    output: str,
    *,
    with_tar: bool,
    refresh: bool,
    dry_run: bool,
) -> None:
    """Fetch everything into FOLDER, verified; run it again to go on or to mend.

    Kubespray's source and wheels, the files and images that Kubespray names
    for the site's clusters. The proxy of the environment is used.

    \b
    Example:
      ai-how bundle create site.bundle --site ai-how.yaml --dry-run
      ai-how bundle create site.bundle --site ai-how.yaml
    """
    from ai_how.apply.files import check_writable
    from ai_how.cli.bundle_create import Asked, dry_run_of, make

    asked = Asked(site_path=site_path, release=name, platform=platform, pythons=pythons, jobs=jobs)
    if dry_run:
        dry_run_of(asked, folder, output)
        return
    if with_tar and folder.absolute().parent.is_dir():
        check_writable(tar_of(folder))
    with TransferProgress(quiet=output == "json") as progress:
        manifest = make(asked, folder, refresh=refresh, progress=progress)
        if with_tar:
            from ai_how.bundles.archive import write_archive

            write_archive(folder, tar_of(folder), progress=progress)
    if output == "json":
        print_json({"folder": str(folder), "tar": str(tar_of(folder)) if with_tar else "", **_data(manifest)})
        return
    _print(manifest)
    note(f"Next: ai-how bundle load {tar_of(folder) if with_tar else folder}    (on the site's host)")


@bundle.command()
@click.argument("path", metavar="FOLDER|TAR", type=_BUNDLE)
@output_option
def verify(path: Path, output: str) -> None:
    """Read a bundle through and compare every digest. Needs no network.

    \b
    Example:
      ai-how bundle verify site.bundle.tar
    """
    from ai_how.bundles.verify import verify as verify_bundle

    with TransferProgress(quiet=output == "json") as progress:
        manifest = verify_bundle(path, progress=progress)
    if output == "json":
        print_json({"verified": True, **_data(manifest)})
    else:
        parts = len(manifest.blobs())
        click.echo(f"{path} is whole: {parts} parts, {human_bytes(manifest.size_bytes)}, bundle {manifest.identity}")


@bundle.command()
@click.argument("path", metavar="FOLDER|TAR", type=_BUNDLE)
@output_option
def load(path: Path, output: str) -> None:
    """Verify a bundle and put it where `ai-how up` takes it.

    Kubespray and its Python environment are ready then without internet; nodes
    get files and images from this host.

    \b
    Example:
      ai-how bundle load site.bundle.tar
    """
    from ai_how.bundles.load import load_bundle

    with TransferProgress(quiet=output == "json") as progress:
        loaded = load_bundle(path, progress=progress)
    if output == "json":
        print_json({"path": str(loaded.path), **_data(loaded.manifest)})
    else:
        click.echo(f"bundle {loaded.manifest.identity} is loaded: {loaded.path}")
        note("`ai-how up` takes it for clusters of the same versions.")


@bundle.command()
@click.argument("path", metavar="[FOLDER|TAR]", type=_BUNDLE, required=False)
@click.option("--all", "everything", is_flag=True, help="With every file and image.")
@output_option
def show(path: Path | None, output: str, *, everything: bool) -> None:
    """Show what a bundle holds; without one, those that are loaded.

    \b
    Example:
      ai-how bundle show site.bundle --all
    """
    from ai_how.bundles.load import loaded_bundles

    if path is None:
        loaded = loaded_bundles()
        if output == "json":
            print_json([{"path": str(one.path), **_data(one.manifest)} for one in loaded])
            return
        rows = [(one.manifest.identity, *_row(one.manifest)) for one in loaded]
        print_table(("BUNDLE", "RELEASE", "KUBERNETES", "SIZE", "MADE (UTC)"), rows, empty="no bundle is loaded")
        return
    manifest = _read(path)
    if output == "json":
        print_json({"path": str(path), **_data(manifest)})
        return
    _print(manifest)
    if everything:
        click.echo()
        listed = [
            (one.kind, human_bytes(one.size_bytes), one.digest[7:19], f"{one.name} {one.version}".strip())
            for one in manifest.entries
        ]
        print_table(("KIND", "SIZE", "SHA-256", "NAME"), listed)


@bundle.command()
@click.argument("identity", metavar="BUNDLE", shell_complete=_complete_loaded)
def unload(identity: str) -> None:
    """Remove a loaded bundle from this host; what was set up from it stays.

    \b
    Example:
      ai-how bundle unload 3f1a5c0d9e77
    """
    from ai_how.bundles.load import unload as remove

    click.echo(f"{remove(identity)} removed")


@bundle.command()
@click.argument("path", metavar="FOLDER", type=_FOLDER)
@click.option("--listen", default="127.0.0.1", show_default=True, help="One address of this host.")
@click.option("--port", type=click.IntRange(1, 65535), default=5080, show_default=True, help="Its port.")
def serve(path: Path, listen: str, port: int) -> None:
    """Serve a bundle in the foreground: files, and images as a registry.

    `ai-how up` serves it by itself where the cluster is on this host. The
    server only gives out what the bundle holds, to whoever reaches the address.

    \b
    Example:
      ai-how bundle serve site.bundle --listen 192.168.200.1
    """
    import asyncio

    from ai_how.bundles.manifest import read_manifest
    from ai_how.bundles.serve_main import serve_forever

    identity = read_manifest(path).identity
    note(f"serving bundle {identity} at http://{listen}:{port}; Ctrl-C ends it")
    asyncio.run(serve_forever(path, listen, port))


def tar_of(folder: Path) -> Path:
    """The tar beside a bundle's folder."""
    return folder.parent / f"{folder.absolute().name}.tar"


def _read(path: Path) -> Manifest:
    from ai_how.bundles.archive import opened
    from ai_how.bundles.manifest import read_manifest

    if not path.is_file():
        return read_manifest(path)
    with opened(path) as (manifest, _):
        return manifest


def _print(manifest: Manifest) -> None:
    from ai_how.bundles.manifest import summary

    versions = ", ".join(f"{name} {manifest.versions[name]}" for name in _TOLD if name in manifest.versions)
    for key, value in (
        ("bundle", manifest.identity),
        ("release", f"{manifest.release} ({versions})"),
        ("platform", manifest.platform + (f", Python {manifest.python}" if manifest.python else "")),
        ("made", f"{manifest.created_at[:16].replace('T', ' ')} UTC by {manifest.made_by}"),
        ("size", human_bytes(manifest.size_bytes)),
    ):
        click.echo(f"{key:<10}{value}")
    click.echo()
    rows = [(kind, count, human_bytes(size)) for kind, count, size in summary(manifest.entries)]
    print_table(("KIND", "COUNT", "SIZE"), rows)


_TOLD = ("kubespray", "kubernetes")


def _row(manifest: Manifest) -> tuple[str, str, str, str]:
    made = manifest.created_at[:16].replace("T", " ")
    return manifest.release, manifest.versions.get("kubernetes", ""), human_bytes(manifest.size_bytes), made


def _data(manifest: Manifest) -> dict[str, object]:
    return {"bundle": manifest.identity, "size_bytes": manifest.size_bytes, **manifest.model_dump(mode="json")}
