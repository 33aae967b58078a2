"""The mmdebstrap command line that installs a recipe's packages and provisions them. Pure.

Packages lie in a folder that builds share, so that each is downloaded once.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ai_how.machines.images.recipe import FACTS_FILE, Recipe

_ARCHIVES = "/var/cache/apt/archives"
_NO_SYNC = "/etc/dpkg/dpkg.cfg.d/no-sync"


@dataclass(frozen=True, kw_only=True)
class BootstrapFiles:
    """Files outside the tree: ``script`` is read, the others are written; ``packages`` is the shared folder."""

    script: PurePath
    archive: PurePath
    status: PurePath
    facts: PurePath
    packages: PurePath


def bootstrap_words(recipe: Recipe, files: BootstrapFiles, *, sources: Sequence[str]) -> list[str]:
    """mmdebstrap's arguments; ``sources`` are lines of apt's ``sources.list``, none for Debian's own archive.

    In hooks ``$1`` is the tree; they run as the tree's root, who need not be allowed to write outside of it, so files
    go in and out by mmdebstrap's own hooks.
    """
    words = [
        *("mmdebstrap", "--quiet", "--variant=apt", f"--components={','.join(recipe.components)}"),
        f"--include={','.join(recipe.all_packages)}",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        # mmdebstrap(1) on sharing apt's archives between runs
        "--skip=essential/unlink",
        # a tree that is given up when the power goes: dpkg need not wait for the disk after each package
        f'--setup-hook=mkdir -p "$1"{_ARCHIVES} "$1/etc/dpkg/dpkg.cfg.d"; echo force-unsafe-io >"$1{_NO_SYNC}"',
        f"--setup-hook=sync-in {shlex.quote(str(files.packages))} {_ARCHIVES}",
        f"--customize-hook=sync-out {_ARCHIVES} {shlex.quote(str(files.packages))}",
        f"--customize-hook=upload {shlex.quote(str(files.script))} /provision.sh",
        f'--customize-hook=chroot "$1" {shlex.join(provision_words(recipe, "/provision.sh"))}',
        f'--customize-hook=rm "$1/provision.sh" "$1{_NO_SYNC}"',
        f"--customize-hook=download {FACTS_FILE} {shlex.quote(str(files.facts))}",
        f"--customize-hook=download /var/lib/dpkg/status {shlex.quote(str(files.status))}",
    ]
    return [*words, recipe.suite, str(files.archive), *sources]


def provision_words(recipe: Recipe, script: str) -> list[str]:
    """The command that provisions a tree or a machine, with the recipe's settings."""
    return ["env", *(f"{key}={value}" for key, value in recipe.environment), "sh", script]


def installed_packages(status: str) -> dict[str, str]:
    """Version by name of the packages that are installed, by dpkg's status file (deb822, dpkg(1))."""
    found = {}
    for stanza in status.split("\n\n"):
        lines = (line.partition(": ") for line in stanza.splitlines() if not line.startswith((" ", "\t")))
        fields = {key: value for key, _, value in lines}
        if fields.get("Status", "").endswith(" installed") and "Version" in fields and "Package" in fields:
            found[fields["Package"]] = fields["Version"]
    return dict(sorted(found.items()))


def facts_of(text: str) -> dict[str, str]:
    """What provisioning noted of the image: lines of ``name=value``."""
    lines = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in lines}
