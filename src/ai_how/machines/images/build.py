"""Builds an image on this machine: mmdebstrap for the tree, file system tools for the disk. No loop devices, no mounts.

Needs no root where user namespaces are allowed. Everything happens in one folder that the caller gives and removes.
"""

from __future__ import annotations

import os
import platform
import shlex
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import AiHowError, MissingToolError, ProviderError, SpecError
from ai_how.machines.images import layout
from ai_how.machines.images.mirror import archive_lines
from ai_how.machines.images.recipe import Recipe, provisioning_script
from ai_how.run.process import run, which

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
    """What a build left in its folder. ``packages`` are (name, version), ordered."""

    disk: Path
    packages: tuple[tuple[str, str], ...]
    virtual_size_bytes: int


def build_image(recipe: Recipe, folder: Path, *, mirror: str | None, report: Report) -> Built:
    """Build a qcow2 disk in an empty folder.

    Raises:
        MissingToolError: a program that this needs is not installed; all that are missing are named.
        ProviderError: a step failed; the evidence is the end of what its program said.
    """
    require_tools()
    report(f"installing {len(recipe.all_packages)} packages and what they need")
    tree, packages = _install(recipe, folder, mirror=mirror)
    root_uuid = str(uuid.uuid5(_UUIDS, recipe.digest))
    _write(folder / "grub.cfg", layout.grub_config(root_uuid))
    _write(folder / "fstab", f"UUID={root_uuid} / ext4 defaults,errors=remount-ro 0 1\n")
    for source, target in (("grub.cfg", "boot/grub/grub.cfg"), ("fstab", "etc/fstab")):
        _rooted(["install", "-D", "-m", "0644", folder / source, tree / target])
    report("making the disk")
    raw = _disk(recipe, folder, tree=tree, root_uuid=root_uuid)
    _boot_code(folder, raw, root_uuid)
    report("compressing it")
    disk = folder / "disk.qcow2"
    # compression by zstd reads several times faster than zlib, and every machine reads through to this file
    options = "compression_type=zstd"
    _step(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", options, raw, disk], timeout_s=1800)
    raw.unlink()
    _rooted(["rm", "-rf", "--one-file-system", tree])
    return Built(disk=disk, packages=packages, virtual_size_bytes=recipe.size_gib * 2**30)


def require_tools() -> None:
    """Raise MissingToolError with one command that installs all that is missing."""
    if platform.machine() != "x86_64":
        raise SpecError("images are built for x86_64, on x86_64", evidence=f"this machine is {platform.machine()}")
    missing = {package for tool, package in _TOOLS.items() if which(tool) is None}
    missing |= {package for folder, package in _GRUB_FOLDERS.items() if not Path(folder).is_dir()}
    if missing:
        names = " ".join(sorted(missing))
        raise MissingToolError(
            "programs that build images are not installed",
            evidence=f"Debian's packages: {names}",
            next_step=f"apt-get install --no-install-recommends {names}",
        )


def _install(recipe: Recipe, folder: Path, *, mirror: str | None) -> tuple[Path, tuple[tuple[str, str], ...]]:
    """The installed tree, and its packages."""
    script, archive, listed = folder / "provision.sh", folder / "tree.tar", folder / "packages.tsv"
    _write(script, provisioning_script())
    settings = " ".join(f"{key}={shlex.quote(value)}" for key, value in recipe.environment)
    query = "dpkg-query --showformat='${Package}\\t${Version}\\n' --show"
    _step(
        [
            *("mmdebstrap", "--quiet", "--variant=apt", f"--components={','.join(recipe.components)}"),
            f"--include={','.join(recipe.all_packages)}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            f"--customize-hook=upload {shlex.quote(str(script))} /provision.sh",
            f'--customize-hook=chroot "$1" env {settings} sh /provision.sh',
            '--customize-hook=rm "$1/provision.sh"',
            f'--customize-hook=chroot "$1" {query} > {shlex.quote(str(listed))}',
            *(recipe.suite, str(archive), *archive_lines(recipe, mirror)),
        ],
        timeout_s=3600,
    )
    tree = folder / "tree"
    tree.mkdir()
    _rooted(["tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-f", archive, "-C", tree])
    archive.unlink()
    rows = (line.split("\t") for line in listed.read_text(encoding="utf-8").splitlines())
    return tree, tuple(sorted((row[0], row[1]) for row in rows if len(row) == 2))


def _disk(recipe: Recipe, folder: Path, *, tree: Path, root_uuid: str) -> Path:
    raw, size_mib = folder / "disk.raw", recipe.size_gib * 1024
    with raw.open("wb") as file:
        file.truncate(size_mib * layout.MIB)
    partitions = folder / "partitions"
    _write(partitions, layout.partition_script(size_mib=size_mib))
    _step(["sh", "-c", 'sfdisk --quiet "$1" <"$2"', "sfdisk", raw, partitions])
    offset = layout.ROOT_START_MIB * layout.MIB
    _rooted(
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
        ("i386-pc", folder / "core.img", ("biosdisk",)),
        ("x86_64-efi", esp / "BOOTX64.EFI", ("efi_gop",)),
    ):
        _step(["grub-mkimage", "-O", target, "-o", out, "-c", start, "-p", "/boot/grub", *_GRUB_MODULES, *extra])
    offset = layout.EFI_START_MIB * layout.MIB
    sectors = offset // layout.SECTOR_BYTES
    size_kib = layout.EFI_SIZE_MIB * 1024
    _step(["mkfs.vfat", "-F", "16", "-n", "EFI", "--offset", str(sectors), raw, str(size_kib)])
    _step(["mcopy", "-i", f"{raw}@@{offset}", "-s", folder / "EFI", "::"])
    boot_image = Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()
    with raw.open("r+b") as disk:
        first = disk.read(layout.SECTOR_BYTES)
        disk.seek(layout.BIOS_BOOT_START_MIB * layout.MIB)
        disk.write(layout.core_image((folder / "core.img").read_bytes()))
        disk.seek(0)
        disk.write(layout.boot_sector(boot_image, first))


def _rooted(words: Sequence[str | Path], *, timeout_s: float = 600) -> None:
    """Run a step that keeps files' owners: as root, or as root of a user namespace."""
    prefix = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto", "--"]
    _step([*prefix, *words], timeout_s=timeout_s)


def _step(words: Sequence[str | Path], *, timeout_s: float = 300) -> None:
    path = os.environ.get("PATH", "")
    # the disk tools lie in sbin, which an ordinary user's PATH does not have
    environment = {"PATH": f"{path}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    try:
        run(words, timeout_s=timeout_s, env=environment)
    except AiHowError as error:
        raise ProviderError(
            f"the image could not be built: {error.brief}",
            evidence=error.evidence,
            next_step="mend what it says, then run the same command again",
        ) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
