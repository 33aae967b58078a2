"""Fixtures of what runs on libvirt: one private host for the whole run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_how.apply.files import shared_cache

from .libvirt_guests import FOUR_MACHINES, BootImage, bootable_image
from .libvirt_host import LibvirtHost, new_host, why_not
from .libvirt_site import MachineSite, empty_image


@pytest.fixture(scope="session")
def libvirt_host() -> Iterator[LibvirtHost]:
    """A running libvirt host that is nobody else's; skips where libvirt cannot run."""
    reason = why_not()
    if reason:
        pytest.skip(f"libvirt cannot run here: {reason}")
    # sockets lie in it: a path of pytest's own would be too long
    base = Path(tempfile.mkdtemp(prefix="ahlv-", dir="/tmp"))
    host = new_host(base)
    try:
        host.start()
        yield host
    finally:
        host.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def dry_site(libvirt_host: LibvirtHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MachineSite]:
    """A site of two clusters that are made but not started: nothing has to boot."""
    cache = tmp_path / "cache"
    image = empty_image(cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    folder = tmp_path / "site"
    folder.mkdir()
    site = MachineSite(host=libvirt_host, folder=folder, cache=cache, image=image.name)
    site.write()
    yield site
    site.destroy()


@pytest.fixture(scope="session")
def boot_image(tmp_path_factory: pytest.TempPathFactory) -> BootImage:
    """The image that tests boot; on a machine that does not have it yet, built once, which takes minutes."""
    own = tmp_path_factory.getbasetemp()
    # where tests run side by side, each process has a folder of its own in that of the run
    return bootable_image(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def four_machines(
    libvirt_host: LibvirtHost, boot_image: BootImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MachineSite]:
    """Four machines in two clusters, up and ready; booted once for all tests that ask for them.

    A test leaves them up and ready for the next one.
    """
    folder = tmp_path_factory.mktemp("four")
    site = MachineSite(
        host=libvirt_host,
        folder=folder,
        cache=shared_cache().parent,
        image=boot_image.name,
        name="four",
        clusters=FOUR_MACHINES,
    )
    site.write()
    try:
        site.run("up", "--yes")
        yield site
    finally:
        site.destroy()
