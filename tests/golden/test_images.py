"""What images are made by: mmdebstrap's command lines, the layout of disks, GRUB's files, a Packer template."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

import pytest

from ai_how.machines.images import layout
from ai_how.machines.images.bootstrap import BootstrapFiles, bootstrap_words
from ai_how.machines.images.packer import PLUGINS, TEMPLATE, packer_files
from ai_how.machines.images.recipe import RECIPES, find_recipe
from tests.golden.conftest import Golden

_FOLDER = PurePosixPath("/work place")
_FILES = BootstrapFiles(
    script=_FOLDER / "provision.sh",
    archive=_FOLDER / "tree.tar",
    status=_FOLDER / "status",
    facts=_FOLDER / "facts",
    packages=_FOLDER / "packages",
)


@pytest.mark.parametrize("name", [recipe.name for recipe in RECIPES])
def test_command_line(golden: Golden, name: str) -> None:
    words = bootstrap_words(find_recipe(name), _FILES, sources=["deb http://mirror/debian trixie main"])
    golden(f"tests/golden/images/{name}.txt", "\n".join(shlex.quote(word) for word in words) + "\n")


def test_disk_and_boot(golden: Golden) -> None:
    uuid = "00000000-0000-0000-0000-000000000000"
    golden("tests/golden/images/partitions.txt", layout.partition_script(size_mib=4096))
    golden("tests/golden/images/grub.cfg", layout.grub_config(uuid))
    quick = find_recipe("cloud-minimal").kernel_options
    golden("tests/golden/images/grub-quick.cfg", layout.grub_config(uuid, options=quick))
    golden("tests/golden/images/start.cfg", layout.grub_start(uuid))


def test_packer(golden: Golden) -> None:
    recipe = find_recipe("cloud-gpu-worker")
    files = packer_files(recipe, base='/images/a "b"/disk.qcow2', base_sha256="0" * 64, script="")
    # the digest changes with every change of what the image holds, which is not what is looked at here
    golden(f"tests/golden/images/{TEMPLATE}", files[TEMPLATE].replace(recipe.digest, "DIGEST"))
    golden(f"tests/golden/images/{PLUGINS}", files[PLUGINS])
