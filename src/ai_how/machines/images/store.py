"""The images that were built or brought in on this machine, by name: a disk and its manifest each.

A name ends in the digest of what the image was made of, so the same inputs are never built twice. An image is whole
when its manifest is there: it is written last.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ai_how.apply.files import read_json, write_json
from ai_how.apply.lock import locked
from ai_how.errors import ConflictError, LockedError, NotFoundError, ProviderError, SpecError
from ai_how.machines.images.build import Built, Report, build_image, require_tools
from ai_how.machines.images.fetch import fetch, sha512_of
from ai_how.machines.images.packer_build import build_with_packer, packer_image_name, require_packer
from ai_how.machines.images.recipe import RECIPES, Recipe
from ai_how.machines.images.steps import step
from ai_how.machines.images.workplace import clear_left, workplace
from ai_how.machines.types import Virtualization
from ai_how.models.meter import Progress
from ai_how.run.process import run

_DISK, _MANIFEST = "disk.qcow2", "manifest.json"
PACKAGES, _DOWNLOADS = ".packages", ".downloads"
LONGEST_NAME = 60
_WANTED = "give a qcow2 or raw disk image"


@dataclass(frozen=True, kw_only=True)
class Image:
    """A disk image. ``packages`` name -> version, and ``facts`` as provisioning noted them; none for images that were
    brought in, which have a ``source`` instead."""

    name: str
    recipe: str
    path: Path
    sha256: str
    size_bytes: int
    virtual_size_bytes: int
    created_at: str
    packages: dict[str, str]
    facts: dict[str, str] = field(default_factory=dict)
    source: str = ""

    @property
    def short_name(self) -> str:
        """Without the digest at its end."""
        return re.sub(r"-[0-9a-f]{12}$", "", self.name)


class ImageStore:
    """Images in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> list[Image]:
        """All whole images, newest first."""
        names = [entry.name for entry in self.folder.iterdir()] if self.folder.is_dir() else []
        found = [image for image in map(self._read, names) if image is not None]
        return sorted(found, key=lambda image: (image.created_at, image.name), reverse=True)

    def get(self, name: str) -> Image | None:
        """The whole image of exactly that name, or None."""
        return self._read(name)

    def find(self, name: str) -> Image:
        """The image of a name, or that a recipe's name stands for, or the only one of that recipe or short name.

        Raises:
            NotFoundError: it is not there; the next step builds it where it can be built.
            ConflictError: there are several.
        """
        recipe = next((recipe for recipe in RECIPES if name in (recipe.name, recipe.image_name)), None)
        image = self._read(recipe.image_name if recipe else name)
        if image is not None:
            return image
        images = self.list()
        called = [image for image in images if name in (image.recipe, image.short_name)]
        if len(called) == 1:
            return called[0]
        if called:
            raise ConflictError(
                f"several images are called {name!r}",
                evidence="\n".join(image.name for image in called),
                next_step="give the whole name of one of them",
            )
        have = "\n".join(image.name for image in images)
        raise NotFoundError(
            f"there is no image {name!r}",
            evidence=f"there are:\n{have}" if have else f"{self.folder} has none yet",
            next_step=f"ai-how image build {recipe.name}" if recipe else "ai-how image list",
        )

    def brought_in(self, name: str) -> Image | None:
        """The only image that was brought in under that name; None where there is none, or several."""
        called = [image for image in self.list() if image.source and image.short_name == name]
        return called[0] if len(called) == 1 else None

    def disk(self, image: Image) -> Path:
        """The image's file.

        Raises:
            ProviderError: it is gone.
        """
        if not image.path.is_file():
            raise ProviderError(
                f"the file of image {image.name} is gone",
                evidence=str(image.path),
                next_step=f"ai-how image delete {image.name}, then build it or bring it in again",
            )
        return image.path

    def build(self, recipe: Recipe, *, mirror: str | None, report: Report) -> tuple[Image, bool]:
        """The image of a recipe, and whether it had to be built.

        Raises:
            LockedError: it is being built by another command.
            MissingToolError: a program that this needs is not installed; all that are missing are named.
        """
        packages = self.folder / PACKAGES / f"{recipe.suite}-amd64"

        def make(work: Path) -> Built:
            return build_image(recipe, work, packages=packages, mirror=mirror, report=report)

        return self._build(recipe, recipe.image_name, make, require=require_tools)

    def build_with_packer(
        self, recipe: Recipe, *, base: Path, virtualization: Virtualization, report: Report
    ) -> tuple[Image, bool]:
        """As ``build``, by Packer from another disk; the name stands for that disk too.

        Raises:
            SpecError: ``base`` is no disk image, or larger than the recipe's disk.
        """
        facts, base_sha256 = disk_facts(base), sha256_of(base)
        if facts.virtual_size_bytes > recipe.size_gib * 2**30:
            raise SpecError(
                f"{base} is larger than the disk of {recipe.name}",
                evidence=f"{facts.virtual_size_bytes / 2**30:.1f} GiB, wanted at most {recipe.size_gib} GiB",
                next_step="start from a smaller disk, such as cloud-minimal",
            )

        def make(work: Path) -> Built:
            return build_with_packer(
                recipe,
                work,
                base=base.absolute(),
                base_sha256=base_sha256,
                virtualization=virtualization,
                report=report,
            )

        name = packer_image_name(recipe, base_sha256=base_sha256)
        return self._build(recipe, name, make, require=require_packer)

    def _build(
        self, recipe: Recipe, name: str, make: Callable[[Path], Built], *, require: Callable[[], None]
    ) -> tuple[Image, bool]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / f"{name}.lock", what=f"another command is building image {name}"):
            there = self._read(name)
            if there is not None:
                return there, False
            require()
            shutil.rmtree(self.folder / name, ignore_errors=True)
            with workplace(self.folder) as work:
                built = make(work)
                made = {"recipe": recipe.name, "packages": built.packages, "facts": built.facts}
                image = self._keep(name, built.disk, virtual_size_bytes=built.virtual_size_bytes, made=made)
            return image, True

    def add(self, source: Path, *, name: str, sha512: str = "", origin: str = "", take: bool = False) -> Image:
        """Bring in a disk of the user's own, under ``name`` and its digest: qcow2 as it is, raw as qcow2.

        Args:
            sha512: What it must have; empty where the user does not know.
            origin: Where it came from, for the manifest; the file's path where nothing is given.
            take: Move the file rather than copy it.

        Raises:
            SpecError: it is no disk image, or it needs another file that it lies over.
            ProviderError: it has another SHA-512.
        """
        facts = disk_facts(source)
        if sha512 and (found := sha512_of(source)) != sha512:
            raise ProviderError(
                f"{source} is not the image that is wanted", evidence=f"SHA-512 {found}\nwanted  {sha512}"
            )
        full_name = f"{name}-{sha256_of(source)[:12]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / f"{full_name}.lock", what=f"another command is bringing in image {full_name}"):
            there = self._read(full_name)
            if there is not None:
                return there
            shutil.rmtree(self.folder / full_name, ignore_errors=True)
            with workplace(self.folder) as work:
                disk = _as_qcow2(source, work / _DISK, format_=facts.format, take=take)
                made = {"source": origin or str(source.absolute())}
                return self._keep(full_name, disk, virtual_size_bytes=facts.virtual_size_bytes, made=made)

    def fetch(self, url: str, *, name: str, sha512: str, progress: Progress) -> Image:
        """Bring in a disk by its address; as ``add`` and ``fetch.fetch``."""
        file = fetch(url, self.folder / _DOWNLOADS, sha512=sha512, progress=progress)
        image = self.add(file, name=name, origin=url, take=True)
        file.unlink(missing_ok=True)
        return image

    def clean(self) -> int:
        """Remove what builds left and what they share: downloaded packages, broken-off downloads; gives freed bytes.

        Raises:
            LockedError: an image is being built.
        """
        if not clear_left(self.folder):
            raise LockedError("an image is being built, from packages that would go", next_step="wait until it is done")
        freed = 0
        for folder in (self.folder / PACKAGES, self.folder / _DOWNLOADS):
            freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder, ignore_errors=True)
        return freed

    @property
    def packages_bytes(self) -> int:
        """Size of the downloaded packages that builds share."""
        return sum(file.stat().st_size for file in (self.folder / PACKAGES).rglob("*.deb"))

    def delete(self, name: str) -> Path:
        """Remove an image; machines keep the copy in their pool.

        Raises:
            NotFoundError: it is not there.
        """
        image = self.find(name)
        folder = image.path.parent
        # the manifest first: what is left of a broken-off removal is no image
        (folder / _MANIFEST).unlink()
        shutil.rmtree(folder)
        (self.folder / f"{image.name}.lock").unlink(missing_ok=True)
        return folder

    def verify(self, image: Image) -> None:
        """Read an image through.

        Raises:
            ProviderError: it is not what its manifest says.
        """
        digest = sha256_of(image.path) if image.path.exists() else "no file"
        if digest != image.sha256:
            raise ProviderError(
                f"image {image.name} is damaged",
                evidence=f"{image.path}\nSHA-256 {digest}\nwanted  {image.sha256}",
                next_step=f"ai-how image delete {image.name}, then build it again",
            )

    def _keep(self, name: str, disk: Path, *, virtual_size_bytes: int, made: Mapping[str, Any]) -> Image:
        folder = self.folder / name
        folder.mkdir()
        kept = disk.replace(folder / _DISK)
        image = Image(
            **{"recipe": "", "packages": {}, **made},
            name=name,
            path=kept,
            sha256=sha256_of(kept),
            size_bytes=kept.stat().st_size,
            virtual_size_bytes=virtual_size_bytes,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        manifest = {key: value for key, value in asdict(image).items() if key != "path"}
        write_json(folder / _MANIFEST, manifest, mode=0o644)
        return image

    def _read(self, name: str) -> Image | None:
        data = read_json(self.folder / name / _MANIFEST)
        try:
            return Image(**data, path=self.folder / name / _DISK) if isinstance(data, dict) else None
        except TypeError as error:
            raise ConflictError(
                f"the manifest of image {name} was written by another version of ai-how",
                evidence=str(self.folder / name / _MANIFEST),
                next_step=f"remove that folder: rm -r {self.folder / name}",
            ) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def valid_image_name(name: str) -> bool:
    """Whether a name can be an image's: it becomes a folder and a volume."""
    return len(name) <= LONGEST_NAME and re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", name) is not None


@dataclass(frozen=True, kw_only=True)
class DiskFacts:
    """What a disk file is: its format, and its size as a machine sees it."""

    format: str
    virtual_size_bytes: int


def disk_facts(source: Path) -> DiskFacts:
    """Look at a disk file.

    Raises:
        SpecError: it is no disk image, or it is not whole by itself.
    """
    if not source.is_file():
        raise SpecError(f"{source} is no file", next_step=_WANTED)
    said = run(["qemu-img", "info", "--output=json", source], check=False)
    facts = json.loads(said.stdout) if said.returncode == 0 else {}
    if not facts.get("virtual-size"):
        raise SpecError(f"{source} is no disk image", evidence=said.stderr.strip(), next_step=_WANTED)
    other = facts.get("backing-filename") or (facts.get("format-specific") or {}).get("data", {}).get("data-file")
    if other:
        raise SpecError(
            f"{source} is not whole: it needs another file",
            evidence=str(other),
            next_step=f"make it whole first: qemu-img convert -O qcow2 {source} whole.qcow2",
        )
    # any file at all counts as a raw disk: a bootable one has a partition table
    if not _has_partitions(source, str(facts["format"])):
        raise SpecError(f"{source} is no disk image", evidence="it has no partition table", next_step=_WANTED)
    return DiskFacts(format=str(facts["format"]), virtual_size_bytes=int(facts["virtual-size"]))


def _as_qcow2(source: Path, disk: Path, *, format_: str, take: bool) -> Path:
    """A disk file as qcow2; one that is qcow2 stays as it is, compressed clusters included."""
    if format_ != "qcow2":
        step(["qemu-img", "convert", "-f", format_, "-O", "qcow2", source, disk], timeout_s=1800)
        return disk
    broken = run(["qemu-img", "check", "--output=json", source], check=False, timeout_s=600)
    if broken.returncode in (1, 2):
        raise SpecError(f"{source} is damaged", evidence=(broken.stderr or broken.stdout).strip()[-300:])
    if take:
        shutil.move(source, disk)
    else:
        step(["cp", "--reflink=auto", "--sparse=auto", source, disk], timeout_s=1800)
    return disk


def _has_partitions(source: Path, format_: str) -> bool:
    """Whether the first sector of the disk inside is a boot sector, which a partition table makes it."""
    with tempfile.TemporaryDirectory(prefix="ai-how-") as folder:
        sector = Path(folder) / "sector"
        words = ["qemu-img", "dd", "-f", format_, "-O", "raw", "bs=512", "count=1", f"if={source}", f"of={sector}"]
        if run(words, check=False).returncode != 0:
            # what is damaged is told of in its own words later
            return True
        return sector.read_bytes()[510:512] == b"\x55\xaa"
