"""Builds a recipe's image with Packer: a machine started from another disk, provisioned over SSH by the same script.

Owns running Packer in a folder that the caller gives and removes. What it runs is the template of ``packer``.
"""

from __future__ import annotations

import hashlib
import platform
import re
from pathlib import Path

from ai_how.errors import MissingToolError, ProviderError, SpecError
from ai_how.machines.images.bootstrap import facts_of, installed_packages
from ai_how.machines.images.build import Built, Report
from ai_how.machines.images.packer import FACTS, PLUGINS, STATUS, TEMPLATE
from ai_how.machines.images.packer_folder import write_packer_folder
from ai_how.machines.images.recipe import Recipe
from ai_how.machines.images.steps import compress
from ai_how.machines.types import Virtualization
from ai_how.run.process import Completed, run, which

_TIMEOUT_S = 3 * 3600
_ACCELERATORS = {Virtualization.KVM: "kvm", Virtualization.EMULATED: "tcg"}
_PLUGINS_SINCE = (1, 7)
"""Packer versions from here on take their builders as plugins, and ``packer init`` installs them."""
_SAID_LINES = 15


def packer_image_name(recipe: Recipe, *, base_sha256: str) -> str:
    """The name of what Packer makes of a disk by a recipe: the same inputs give the same name."""
    digest = hashlib.sha256(f"packer {recipe.digest} {base_sha256}".encode()).hexdigest()[:12]
    return f"{recipe.name}-packer-{digest}"


def require_packer() -> None:
    """Raise MissingToolError where a program that this needs is not installed."""
    if platform.machine() != "x86_64":
        raise SpecError("images are built for x86_64, on x86_64", evidence=f"this machine is {platform.machine()}")
    if which("packer") is None:
        raise MissingToolError(
            "packer is not installed",
            evidence="HashiCorp offers it for all systems; of Debian's releases 12 packages it, 13 does not",
            next_step="install it (see developer.hashicorp.com/packer/install); or build without it: leave out --with",
        )
    missing = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils"}
    packages = " ".join(package for tool, package in missing.items() if which(tool) is None)
    if packages:
        raise MissingToolError(
            "programs that Packer's qemu builder needs are not installed",
            evidence=f"Debian's packages: {packages}",
            next_step=f"apt-get install --no-install-recommends {packages}",
        )


def build_with_packer(
    recipe: Recipe, folder: Path, *, base: Path, base_sha256: str, virtualization: Virtualization, report: Report
) -> Built:
    """Build a qcow2 disk in an empty folder.

    Raises:
        ProviderError: Packer failed; the evidence is the end of what it said.
    """
    place = folder / "packer"
    write_packer_folder(place, recipe, base=base, base_sha256=base_sha256)
    version = packer_version()
    if version >= _PLUGINS_SINCE:
        report("fetching Packer's qemu builder, where it is not there")
        _packer(place, "init", ".", timeout_s=600)
        templates = "."
    else:
        # the builder is inside, and the block that asks for it is not known
        (place / PLUGINS).unlink()
        templates = TEMPLATE
    slowly = "" if virtualization is Virtualization.KVM else ", emulated: many times slower than with KVM"
    report(f"Packer starts a machine from {base.name} and provisions it{slowly}")
    settings = ("-var", f"accelerator={_ACCELERATORS[virtualization]}", "-var", "compress=false")
    _packer(place, "build", "-color=false", *settings, templates, timeout_s=_TIMEOUT_S)
    report("compressing it")
    disk = compress(place / "output" / f"{recipe.image_name}.qcow2", folder / "disk.qcow2", format_="qcow2")
    facts = facts_of((place / FACTS).read_text(encoding="utf-8"))
    return Built(
        disk=disk,
        packages=installed_packages((place / STATUS).read_text(encoding="utf-8")),
        facts={**facts, "built_by": f"packer {'.'.join(map(str, version))}", "base_sha256": base_sha256},
        virtual_size_bytes=recipe.size_gib * 2**30,
    )


def packer_version() -> tuple[int, ...]:
    """The version of the installed Packer.

    Raises:
        ProviderError: it does not say.
    """
    said = run(["packer", "version"], env=_QUIET).stdout
    found = re.search(r"Packer v(\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise ProviderError("packer does not say its version", evidence=said.strip()[:200])
    return tuple(map(int, found.groups()))


_QUIET = {"CHECKPOINT_DISABLE": "1", "PACKER_NO_COLOR": "1"}
"""Packer asks its maker for news otherwise."""


def _packer(place: Path, *words: str, timeout_s: int) -> Completed:
    # it is told to stop before it is killed, and with this process: else its machine would go on
    asked = ["timeout", "--signal=INT", "--kill-after=120", str(timeout_s), "packer", *words]
    env = {**_QUIET, "PACKER_CACHE_DIR": str(place / "cache")}
    done = run(
        ["setpriv", "--pdeathsig", "TERM", "--", *asked], cwd=place, env=env, timeout_s=timeout_s + 180, check=False
    )
    if done.returncode != 0:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        raise ProviderError(
            f"packer {words[0]} failed with exit code {done.returncode}",
            evidence="\n".join(said[-_SAID_LINES:]),
            next_step="mend what it says, then run the same command again; packages that the disk lacks need a network",
        )
    return done
