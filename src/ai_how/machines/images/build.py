"""Builds an image on this machine: mmdebstrap for the tree, file system tools for the disk. No loop devices, no mounts.

Needs no root where user namespaces are allowed. Everything happens in one folder that the caller gives and removes.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import MissingToolError, SpecError
from ai_how.machines.images import layout
from ai_how.machines.images.bootstrap import BootstrapFiles, bootstrap_words, facts_of, installed_packages
from ai_how.machines.images.mirror import archive_lines
from ai_how.machines.images.recipe import Recipe, provisioning_script
from ai_how.machines.images.steps import compress, in_system_path, require_ownership, rooted, step
from ai_how.run.process import which

# program -> Debian's package
_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "sfdisk": "fdisk",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "grub-mkimage": "grub-common",
    "qemu-img": "qemu-utils",
    "tar": "tar",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
_GRUB_FOLDERS = {"/usr/lib/grub/i386-pc": "grub-pc-bin", "/usr/lib/grub/x86_64-efi": "grub-efi-amd64-bin"}
_GRUB_MODULES = (
    "part_gpt", "ext2", "fat", "search_fs_uuid", "configfile", "normal", "linux", "serial", "terminal", "echo", "test",
)  # fmt: skip
_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:ai-how:image:1")

Report = Callable[[str], None]
"""Told what is being done now, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build left in its folder. ``packages`` name -> version; ``facts`` as provisioning noted them."""

    disk: Path
    packages: dict[str, str]
    facts: dict[str, str]
    virtual_size_bytes: int


def build_image(recipe: Recipe, folder: Path, *, packages: Path, mirror: str | None, report: Report) -> Built:
    """Build a qcow2 disk in an empty folder; ``packages`` is a folder of downloaded ones that builds share.

    Raises:
        ProviderError: a step failed; the evidence is the end of what its program said.
    """
    packages.mkdir(parents=True, exist_ok=True)
    report(f"installing {len(recipe.all_packages)} packages and what they need")
    tree, files = _install(recipe, folder, mirror=mirror, packages=packages)
    root_uuid = str(uuid.uuid5(_UUIDS, recipe.digest))
    _write(folder / "grub.cfg", layout.grub_config(root_uuid, options=recipe.kernel_options))
    _write(folder / "fstab", f"UUID={root_uuid} / ext4 defaults,errors=remount-ro 0 1\n")
    for source, target in (("grub.cfg", "boot/grub/grub.cfg"), ("fstab", "etc/fstab")):
        rooted(["install", "-D", "-m", "0644", folder / source, tree / target])
    report("making the disk")
    raw = _disk(recipe, folder, tree=tree, root_uuid=root_uuid)
    _boot_code(folder, raw, root_uuid)
    report("compressing it")
    disk = compress(raw, folder / "disk.qcow2", format_="raw")
    rooted(["rm", "-rf", "--one-file-system", tree])
    return Built(
        disk=disk,
        packages=installed_packages(Path(files.status).read_text(encoding="utf-8")),
        facts=facts_of(Path(files.facts).read_text(encoding="utf-8")),
        virtual_size_bytes=recipe.size_gib * 2**30,
    )


def require_tools() -> None:
    """Raise MissingToolError with one command that installs all that is missing."""
    if platform.machine() != "x86_64":
        raise SpecError("images are built for x86_64, on x86_64", evidence=f"this machine is {platform.machine()}")
    missing = {package for tool, package in _TOOLS.items() if not (which(tool) or in_system_path(tool))}
    missing |= {package for folder, package in _GRUB_FOLDERS.items() if not Path(folder).is_dir()}
    if missing:
        names = " ".join(sorted(missing))
        raise MissingToolError(
            "programs that build images are not installed",
            evidence=f"Debian's packages: {names}",
            next_step=f"apt-get install --no-install-recommends {names}",
        )
    require_ownership()


def _install(recipe: Recipe, folder: Path, *, mirror: str | None, packages: Path) -> tuple[Path, BootstrapFiles]:
    """The installed tree, and the files that say what it holds."""
    files = BootstrapFiles(
        script=folder / "provision.sh",
        archive=folder / "tree.tar",
        status=folder / "status",
        facts=folder / "facts",
        packages=packages,
    )
    _write(folder / "provision.sh", provisioning_script())
    # Debian's hooks of kernels make no initramfs for this word: provisioning makes the one that stays
    env = {"INITRD": "No"}
    # root's tree lies in our folder, and goes away with it; an ordinary user's must lie where the tree's root may go
    if os.geteuid() == 0:
        env["TMPDIR"] = str(folder)
    step(bootstrap_words(recipe, files, sources=archive_lines(recipe, mirror)), timeout_s=7200, env=env)
    tree, archive = folder / "tree", folder / "tree.tar"
    tree.mkdir()
    # without device files, which root of a namespace may not make; the kernel makes them at each boot
    kinds = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*"]
    rooted(["tar", "--extract", *kinds, "-f", archive, "-C", tree])
    archive.unlink()
    return tree, files


def _disk(recipe: Recipe, folder: Path, *, tree: Path, root_uuid: str) -> Path:
    raw, size_mib = folder / "disk.raw", recipe.size_gib * 1024
    with raw.open("wb") as file:
        file.truncate(size_mib * layout.MIB)
    partitions = folder / "partitions"
    _write(partitions, layout.partition_script(size_mib=size_mib))
    step(["sh", "-c", 'sfdisk --quiet "$1" <"$2"', "sfdisk", raw, partitions])
    offset = layout.ROOT_START_MIB * layout.MIB
    rooted(
        [
            # what older GRUBs can read
            *("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum_seed", "-L", "root", "-U", root_uuid),
            *("-E", f"offset={offset},root_owner=0:0", "-d", tree, raw),
            f"{layout.root_size_mib(size_mib=size_mib)}M",
        ],
        timeout_s=900,
    )
    return raw


def _boot_code(folder: Path, raw: Path, root_uuid: str) -> None:
    """Put GRUB on the disk, for UEFI as a file and for BIOS as sectors."""
    start = folder / "start.cfg"
    _write(start, layout.grub_start(root_uuid))
    esp = folder / "EFI" / "BOOT"
    esp.mkdir(parents=True)
    for target, out, extra in (
        ("i386-pc", folder / "core.img", ("biosdisk", "linux16")),
        ("x86_64-efi", esp / "BOOTX64.EFI", ("efi_gop",)),
    ):
        step(["grub-mkimage", "-O", target, "-o", out, "-c", start, "-p", "/boot/grub", *_GRUB_MODULES, *extra])
    offset = layout.EFI_START_MIB * layout.MIB
    sectors = offset // layout.SECTOR_BYTES
    size_kib = layout.EFI_SIZE_MIB * 1024
    step(["mkfs.vfat", "-F", "16", "-n", "EFI", "--offset", str(sectors), raw, str(size_kib)])
    step(["mcopy", "-i", f"{raw}@@{offset}", "-s", folder / "EFI", "::"])
    boot_image = Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()
    with raw.open("r+b") as disk:
        first = disk.read(layout.SECTOR_BYTES)
        disk.seek(layout.BIOS_BOOT_START_MIB * layout.MIB)
        disk.write(layout.core_image((folder / "core.img").read_bytes()))
        disk.seek(0)
        disk.write(layout.boot_sector(boot_image, first))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
