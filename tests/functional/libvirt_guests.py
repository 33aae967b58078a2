"""Four machines that really boot, once a test run; what is asked of them goes over SSH with the keys of the site."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ai_how.apply.files import shared_cache
from ai_how.errors import MissingToolError
from ai_how.machines.images.build import require_tools
from ai_how.machines.images.recipe import find_recipe
from ai_how.machines.images.store import ImageStore

from .libvirt_site import MachineSite
from .site import AI_HOW

OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
FOUR_MACHINES = """
  cloud:
    image: IMAGE
    subnet: 192.168.210.0/24
    kubernetes: {enabled: false}
    nodes:
      - {role: control-plane, vcpus: 1, memory_gib: 1, disk_gib: 4}
      - {role: cpu-worker, count: 2, vcpus: 1, memory_gib: 1, disk_gib: 4, models_disk_gib: 1}
  hpc:
    kind: hpc
    image: IMAGE
    firmware: FIRMWARE
    subnet: 192.168.211.0/24
    nodes:
      - {role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 4}
""".replace("FIRMWARE", "uefi" if OVMF.exists() else "bios")
NODES = ("cloud-control-plane-1", "cloud-cpu-worker-1", "cloud-cpu-worker-2", "hpc-controller-1")
TWO_OF_FOUR = """
  cloud:
    image: IMAGE
    subnet: 192.168.210.0/24
    kubernetes: KUBERNETES
    stack: {enabled: false}
    nodes:
      - {role: control-plane, vcpus: 1, memory_gib: 1, disk_gib: 5}
      - {role: cpu-worker, vcpus: 1, memory_gib: 1, disk_gib: 4, models_disk_gib: 1}
"""
"""What is left of them for what two prove as well as four."""

BUILD_TIMEOUT_S = 1800
SSH_FAILED = 255


@dataclass(frozen=True, kw_only=True)
class BootImage:
    """The image that tests boot; ``built``: by this run of them."""

    name: str
    path: Path
    built: bool


def bootable_image(run: Path) -> BootImage:
    """``$AI_HOW_TEST_IMAGE``, else cloud-minimal as its recipe is now, built where it is not there.

    Skips the test where a program that builds it is not installed. A build that fails is an error.

    Args:
        run: A folder of this run of the tests: the first of its processes finds or builds the image, the others wait.
    """
    kept = run / "boot-image.json"
    with (run / "boot-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            known = json.loads(kept.read_text())
            return BootImage(name=known["name"], path=Path(known["path"]), built=known["built"])
        image = _bootable_image()
        kept.write_text(json.dumps({"name": image.name, "path": str(image.path), "built": image.built}))
        return image


def _bootable_image() -> BootImage:
    named = os.environ.get("AI_HOW_TEST_IMAGE")
    if named:
        image = ImageStore(shared_cache() / "images").find(named)
        return BootImage(name=image.name, path=image.path, built=False)
    return build_image("cloud-minimal")


def build_image(recipe: str, *, cache: Path | None = None) -> BootImage:
    """Build an image as a user does, below ``cache`` or where a user's images are; as ``bootable_image``."""
    store = ImageStore((cache / "ai-how" if cache else shared_cache()) / "images")
    if store.get(find_recipe(recipe).image_name) is None:
        try:
            require_tools()
        except MissingToolError as error:
            pytest.skip(f"no image to boot: {error.brief}: {error.next_step}")
    done = subprocess.run(
        [*AI_HOW, "image", "build", recipe, "-o", "json"],
        env={**os.environ, "XDG_CACHE_HOME": str(store.folder.parent.parent)},
        check=False,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )
    assert done.returncode == 0, f"ai-how image build {recipe}: {done.returncode}\n{done.stderr}"
    made = json.loads(done.stdout)
    return BootImage(name=made["name"], path=Path(made["path"]), built=made["built"])


def ssh(
    site: MachineSite, node: str, *words: str, known_hosts: Path | None = None, timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine, from the host's network."""
    provider = site.provider()
    argv = provider.target(provider.look.wanted.machines[node]).argv(connect_timeout_s=30)
    if known_hosts is not None:
        argv = [f"UserKnownHostsFile={known_hosts}" if "UserKnownHosts" in word else word for word in argv]
    return subprocess.run(
        site.host.inside(*argv, "--", *words), check=False, capture_output=True, text=True, timeout=timeout_s
    )


def ask(site: MachineSite, node: str, *words: str) -> str:
    """As ``ssh``; fails the test where the command fails.

    A failure of ssh's own is tried again for minutes: a machine that was put back, or whose network was, takes a while.
    """
    deadline = time.monotonic() + 180
    done = ssh(site, node, *words)
    while done.returncode == SSH_FAILED and time.monotonic() < deadline:
        time.sleep(0.5)
        done = ssh(site, node, *words)
    assert done.returncode == 0, f"{node}: {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def boot_ids(site: MachineSite, nodes: Sequence[str] = NODES) -> dict[str, str]:
    """What the kernel of each machine calls this run of it."""
    return {node: ask(site, node, "cat", "/proc/sys/kernel/random/boot_id") for node in nodes}


def answers(site: MachineSite, node: str, address: str, *, timeout_s: int = 10) -> bool:
    """Whether a machine gets an answer from another one's SSH port."""
    script = f"timeout {timeout_s} bash -c 'exec 3<>/dev/tcp/{address}/22 && head -c 4 <&3'"
    return ssh(site, node, script).stdout.startswith("SSH")
