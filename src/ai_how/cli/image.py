"""``ai-how image``: the disk images that machines are made from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.options import output_option
from ai_how.cli.output import human_bytes, note, print_json, print_table, wrap
from ai_how.cli.transfer import TransferProgress
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.machines.images.store import Image, ImageStore


@click.group()
def image() -> None:
    """Build, list, show and delete the disk images of virtual machines.

    \b
    Example:
      ai-how image build cloud-base
      ai-how image list
    """


@image.command()
@click.argument("recipe", default="cloud-base")
@click.option("--mirror", metavar="URL", help="Debian mirror. Default: the one this host uses, else Debian's own.")
@click.option("--containerd", is_flag=True, help="With Debian's containerd; Kubespray brings its own otherwise.")
@click.option(
    "--with",
    "builder",
    type=click.Choice(["mmdebstrap", "packer"]),
    default="mmdebstrap",
    help="mmdebstrap: from packages alone (default); packer: in a machine started from another disk.",
)
@click.option("--base", metavar="IMAGE|FILE", help="With packer: the disk to start from. Default: cloud-minimal.")
@click.option("--dry-run", is_flag=True, help="Only show what would be built.")
@output_option
def build(
    recipe: str,
    mirror: str | None,
    builder: str,
    base: str | None,
    output: str,
    *,
    containerd: bool,
    dry_run: bool,
) -> None:
    """Build the image of a RECIPE: cloud-base, cloud-gpu-worker or cloud-minimal.

    Takes minutes and about three times the image's size of disk. Needs no root
    where user namespaces are allowed. The same inputs give the same name: what
    is there already is not built again.

    With Packer the same packages and the same script go into a machine that is
    started from another Debian disk with cloud-init; packages that the disk
    does not have are fetched by that machine.

    \b
    Example:
      ai-how image build cloud-gpu-worker
      ai-how image build cloud-base --with packer --base cloud-minimal
    """
    from ai_how.machines.images.recipe import find_recipe

    wanted = find_recipe(recipe, containerd=containerd)
    _check_build_options(builder, mirror=mirror, base=base)
    if dry_run and output == "json":
        row = {"name": wanted.name, "image": wanted.image_name, "summary": wanted.summary, "suite": wanted.suite}
        print_json({**row, "packages": wanted.all_packages, "there": _store().get(wanted.image_name) is not None})
        return
    if dry_run:
        click.echo(f"{wanted.image_name}: {wanted.summary}")
        click.echo(f"{len(wanted.all_packages)} packages of Debian {wanted.suite}, and what they need:")
        click.echo("  " + " ".join(wanted.all_packages))
        return
    began = time.monotonic()

    def report(doing: str) -> None:
        note(f"  {time.monotonic() - began:5.0f} s  {doing}")

    if builder == "packer":
        from ai_how.machines.types import Virtualization
        from ai_how.machines.virtualization import guests_run

        kind = Virtualization.KVM if guests_run("qemu:///system") else Virtualization.EMULATED
        disk = _disk_of(base or "cloud-minimal")
        made, built = _store().build_with_packer(wanted, base=disk, virtualization=kind, report=report)
    else:
        made, built = _store().build(wanted, mirror=mirror, report=report)
    if output == "json":
        print_json({**_row(made), "built": built})
        return
    said = f"built in {time.monotonic() - began:.0f} s" if built else "is there already"
    click.echo(f"{made.name} {said}: {human_bytes(made.size_bytes)}, {len(made.packages)} packages")


def _check_build_options(builder: str, *, mirror: str | None, base: str | None) -> None:
    if builder == "packer" and mirror:
        raise SpecError("--mirror is not for Packer: its machine uses what the disk's own apt settings name")
    if builder != "packer" and base:
        raise SpecError("--base is for Packer alone", next_step="add --with packer, or leave out --base")


@image.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--name", required=True, help="Name for it; its digest is added.")
@click.option("--sha512", metavar="HEX", help="What the file must have; required for a URL.")
@output_option
def add(source: str, name: str, sha512: str | None, output: str) -> None:
    """Bring in a disk image of your own: qcow2 or raw, with cloud-init.

    A qcow2 file is kept as it is, a raw one is converted. A download that
    breaks off goes on from there when the command is run again.

    \b
    Example:
      ai-how image add debian-13-genericcloud-amd64.qcow2 --name debian
      ai-how image add --name debian --sha512 3f1a... https://HOST/PATH.qcow2
    """
    from ai_how.machines.images.fetch import checked_sha512, is_address
    from ai_how.machines.images.store import LONGEST_NAME, valid_image_name

    if not valid_image_name(name):
        raise SpecError(
            "that cannot be an image's name" if len(name) > LONGEST_NAME else f"{name!r} cannot be an image's name",
            evidence=f"it has {len(name)} letters" if len(name) > LONGEST_NAME else "",
            next_step=f"use lower-case letters, digits and dashes, {LONGEST_NAME} at most",
        )
    digest = checked_sha512(sha512) if sha512 else ""
    if not is_address(source):
        made = _store().add(Path(source), name=name, sha512=digest)
    elif digest:
        with TransferProgress(quiet=output == "json") as progress:
            made = _store().fetch(source, name=name, sha512=digest, progress=progress)
    else:
        raise SpecError(
            "an image from the network needs its SHA-512",
            evidence=source,
            next_step="take it from the SHA512SUMS file beside the image, then add: --sha512 HEX",
        )
    if output == "json":
        print_json(_row(made))
    else:
        click.echo(f"{made.name}: {human_bytes(made.size_bytes)}")


@image.command(name="list")
@output_option
def list_(output: str) -> None:
    """List the images of this machine, and the recipes that can be built.

    \b
    Example:
      ai-how image list -o json
    """
    from ai_how.machines.images.recipe import RECIPES

    images = _store().list()
    if output == "json":
        recipes = [{"name": recipe.name, "image": recipe.image_name, "summary": recipe.summary} for recipe in RECIPES]
        print_json({"images": [_row(one) for one in images], "recipes": recipes})
        return
    rows = [(one.name, human_bytes(one.size_bytes), one.created_at[:16].replace("T", " ")) for one in images]
    print_table(("IMAGE", "SIZE", "MADE (UTC)"), rows, empty="no images yet")
    if shared := _store().packages_bytes:
        click.echo(f"{human_bytes(shared)} of downloaded packages are kept for the next build")
        click.echo("  ai-how image clean frees them")
    built = {one.name for one in images}
    click.echo("\nRecipes:")
    for recipe in RECIPES:
        state = "built" if recipe.image_name in built else "not built"
        click.echo(f"  {recipe.name} ({state})")
        for line in wrap(recipe.summary, first="    ", hanging="    "):
            click.echo(line)


@image.command()
@click.argument("name")
@click.option("--packages", is_flag=True, help="With every package and its version.")
@click.option("--verify", is_flag=True, help="Read it through and compare its SHA-256.")
@output_option
def show(name: str, output: str, *, packages: bool, verify: bool) -> None:
    """Show an image: what it is made of, and where it lies.

    \b
    Example:
      ai-how image show cloud-base --packages
    """
    store = _store()
    found = store.find(name)
    if verify:
        store.verify(found)
    if output == "json":
        document = {**_row(found), "packages": found.packages, "facts": found.facts}
        print_json({**document, **({"verified": True} if verify else {})})
        return
    rows = [
        ("name", found.name),
        ("recipe", found.recipe or "brought in"),
        ("file", found.path),
        ("size", f"{human_bytes(found.size_bytes)}, as a disk {human_bytes(found.virtual_size_bytes)}"),
        ("sha256", found.sha256 + (" (verified)" if verify else "")),
        ("made", found.created_at),
        ("packages", len(found.packages) or "not known"),
        *((key.replace("_", " "), value) for key, value in sorted(found.facts.items())),
    ]
    if found.source:
        rows.insert(2, ("source", found.source))
    for key, value in rows:
        click.echo(f"{key:<15}{value}")
    if packages:
        click.echo()
        print_table(("PACKAGE", "VERSION"), sorted(found.packages.items()))


@image.command()
@click.argument("name")
def delete(name: str) -> None:
    """Delete an image from this machine. Virtual machines keep their copy.

    \b
    Example:
      ai-how image delete cloud-minimal
    """
    click.echo(f"{_store().delete(name)} removed")


@image.command()
@click.argument("recipe", default="cloud-base")
@click.option("--base", required=True, metavar="IMAGE|FILE", help="Disk to start from: Debian with cloud-init.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write; must not exist.")
@click.option("--containerd", is_flag=True, help="With Debian's containerd; Kubespray brings its own otherwise.")
def packer(recipe: str, base: str, out: Path, *, containerd: bool) -> None:
    """Write a Packer template that makes a RECIPE's image from another disk.

    Packages and provisioning are the recipe's own. The folder holds a login
    key for the time of the build; remove it afterwards.

    \b
    Example:
      ai-how image packer cloud-base --base cloud-minimal --out packer
      cd packer && packer init . && packer build .
    """
    from ai_how.machines.images.packer_folder import write_packer_folder
    from ai_how.machines.images.recipe import find_recipe
    from ai_how.machines.images.store import disk_facts, sha256_of

    wanted = find_recipe(recipe, containerd=containerd)
    disk = _disk_of(base)
    disk_facts(disk)
    write_packer_folder(out, wanted, base=disk.absolute(), base_sha256=sha256_of(disk))
    click.echo(f"{out} written")
    note(f"Next: cd {out} && packer init . && packer build .    (before Packer 1.7: packer build image.pkr.hcl)")
    note(f"then: ai-how image add {out}/output/{wanted.image_name}.qcow2 --name {wanted.name}-packer")


@image.command()
def clean() -> None:
    """Remove downloaded packages and what broken-off commands left. Images stay.

    \b
    Example:
      ai-how image clean
    """
    click.echo(f"{human_bytes(_store().clean())} freed")


def _disk_of(base: str) -> Path:
    """A disk file, or that of an image or recipe by its name."""
    return Path(base) if Path(base).is_file() else _store().find(base).path


def _store() -> ImageStore:
    from ai_how.apply.files import shared_cache
    from ai_how.machines.images.store import ImageStore

    return ImageStore(shared_cache() / "images")


def _row(found: Image) -> dict[str, object]:
    return {
        "name": found.name,
        "recipe": found.recipe,
        "source": found.source,
        "path": str(found.path),
        "sha256": found.sha256,
        "size_bytes": found.size_bytes,
        "virtual_size_bytes": found.virtual_size_bytes,
        "created_at": found.created_at,
    }
