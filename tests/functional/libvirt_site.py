"""A site of machines on the tests' own libvirt host, and what is on that host: for comparing before and after."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ai_how.apply.engine import Outcome, apply_plan
from ai_how.apply.events import EventLog
from ai_how.apply.lock import locked
from ai_how.machines.connection import open_connection
from ai_how.machines.images.store import Image, ImageStore
from ai_how.machines.provider import LibvirtProvider
from ai_how.site.load import load_site

from .libvirt_host import LibvirtHost
from .site import AI_HOW, Result

PLENTY = "declared: {cores: 32, memory_gib: 64, disk_gib: 1000}, reserve: {cores: 0, memory_gib: 1}"
TWO_CLUSTERS = """
  cloud:
    image: IMAGE
    kubernetes: {enabled: false}
    START
    nodes:
      - {role: control-plane, vcpus: 1, memory_gib: 1, disk_gib: 4}
      - {role: cpu-worker, vcpus: 1, memory_gib: 1, disk_gib: 4, models_disk_gib: 1}
  hpc:
    kind: hpc
    image: IMAGE
    START
    nodes:
      - {role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 4}
"""
ONE_MACHINE = """
  solo:
    kind: hpc
    image: IMAGE
    START
    nodes: [{role: hpc-controller, vcpus: 1, memory_gib: 1, disk_gib: 4, models_disk_gib: 1}]
"""


@dataclass(frozen=True, kw_only=True)
class MachineSite:
    """One site of provider libvirt below ``folder``; images come from ``cache``, disks lie in ``pool``."""

    host: LibvirtHost
    folder: Path
    cache: Path
    image: str
    name: str = "lab"
    uri: str = ""
    clusters: str = TWO_CLUSTERS
    start: str = "start: manual"
    more: str = ""
    pool: Path = field(default=Path())

    @property
    def file(self) -> Path:
        return self.folder / "ai-how.yaml"

    @property
    def root(self) -> Path:
        return self.folder / ".ai-how" / self.name

    @property
    def storage(self) -> Path:
        return self.pool if self.pool != Path() else self.folder / "pool"

    def write(self, clusters: str = "") -> None:
        text = (clusters or self.clusters).replace("IMAGE", self.image).replace("START", self.start)
        self.file.write_text(
            f"name: {self.name}\nprovider: libvirt\nvirtualization: emulated\n{self.more}\nhosts:\n"
            f"  - {{name: here, uri: '{self.uri or self.host.uri}', storage_path: {self.storage}, {PLENTY}}}\n"
            f"clusters:{text}"
        )

    def provider(self) -> LibvirtProvider:
        """The provider in this process; its images come from ``XDG_CACHE_HOME``, which the test sets."""
        return LibvirtProvider(load_site(self.file), self.file)

    def up(self, perform: Any = None) -> list[Outcome]:
        """What ``ai-how up`` does, in this process. ``perform`` wraps the provider's own."""
        provider = self.provider()
        with locked(provider.folder.lock):
            do = provider.perform if perform is None else perform(provider.perform)
            events = EventLog(provider.folder.events)
            return apply_plan(provider.plan(), do, events=events, report=lambda *_: None, parallel=provider.parallel)

    def destroy(self) -> list[str]:
        provider = self.provider()
        return provider.remove(lambda _: None) if provider.exists() else []

    def enter(self, *words: str) -> list[str]:
        """A command line that runs where the site's user sits: in the host's network, where machines can be reached."""
        return self.host.inside(*words)

    def command(self, *words: str) -> list[str]:
        """A command line of ai-how there."""
        return self.enter("env", f"XDG_CACHE_HOME={self.cache}", *AI_HOW, *words)

    def run(self, *words: str, code: int | None = 0, timeout_s: float = 800) -> Result:
        """Run ``ai-how`` in the site's folder; fails the test unless it ends with ``code`` (None: any)."""
        asked = f"ai-how {' '.join(words)}"
        try:
            done = subprocess.run(
                self.command(*words),
                check=False,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            said = b"\n".join(part for part in (error.stdout, error.stderr) if isinstance(part, bytes)).decode()
            pytest.fail(f"{asked} did not end within {timeout_s:g} s\n{said}", pytrace=False)
        said = f"{asked} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, said
        if code is not None:
            assert done.returncode == code, said
        return Result(returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def start_command(self, *words: str) -> subprocess.Popen[str]:
        """Start ``ai-how`` in a process group of its own, and return at once."""
        return subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def files(self) -> set[str]:
        """Every file of the site on this machine, the site file left out."""
        found = {path for base in (self.folder, self.storage) if base.exists() for path in base.rglob("*")}
        return {str(path) for path in found - {self.file, self.storage}}


def inventory(host: LibvirtHost) -> dict[str, Any]:
    """All that a libvirt host has: machines, networks, pools with their volumes, bridges and QEMU processes."""
    connect = open_connection(host.uri)
    bridges = subprocess.run(host.inside("ip", "-j", "link"), check=True, capture_output=True, text=True).stdout
    pools = {}
    for pool in connect.listAllStoragePools(0):
        if pool.isActive():
            pool.refresh(0)
        pools[pool.name()] = sorted(v.name() for v in pool.listAllVolumes(0)) if pool.isActive() else None
    return {
        "machines": sorted(domain.name() for domain in connect.listAllDomains(0)),
        "networks": sorted(network.name() for network in connect.listAllNetworks(0)),
        "pools": pools,
        "links": sorted(link["ifname"] for link in json.loads(bridges)),
        "qemu": len(host.processes("qemu-system")),
        "dnsmasq": len(host.processes("dnsmasq")),
    }


def write_empty_disk(disk: Path, *, size_bytes: int) -> None:
    """A qcow2 with the mark of a boot sector and nothing else."""
    raw = disk.with_suffix(".raw")
    with raw.open("wb") as file:
        file.write(bytes(510) + b"\x55\xaa")
        file.truncate(size_bytes)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk], check=True)
    raw.unlink()


def empty_image(cache: Path) -> Image:
    """An image without a system: for what needs no boot, and for machines that never come up."""
    disk = cache / "empty.qcow2"
    cache.mkdir(parents=True, exist_ok=True)
    write_empty_disk(disk, size_bytes=4 << 20)
    return ImageStore(cache / "ai-how" / "images").add(disk, name="empty")
