"""A site on a small disk that runs full: said plainly, and well again once there is room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_model import write_tiny_gguf

from .site import SiteUnderTest
from .small_disk import mounted

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 250 MiB, in memory."""
    with mounted(tmp_path / "disk", size_mib=250) as disk:
        yield disk


@pytest.fixture
def site(small_disk: Path, tmp_path: Path) -> Iterator[SiteUnderTest]:
    folder = small_disk / "site"
    folder.mkdir()
    made = SiteUnderTest(folder=folder, name="small")
    made.write()
    yield made
    (small_disk / "fill").unlink(missing_ok=True)
    made.run("destroy", "--yes", code=None)
    assert made.processes() == []


def fill(disk: Path, *, but_kib: int = 1024) -> None:
    with (disk / "fill").open("wb") as file:
        left = os.statvfs(disk)
        file.write(bytes(left.f_bavail * left.f_frsize - but_kib * 1024))


def test_a_full_disk_is_said_and_mended(site: SiteUnderTest, small_disk: Path, tmp_path: Path) -> None:
    site.run("up", "--yes")
    one = write_tiny_gguf(tmp_path / "one.gguf")
    site.run("model", "push", str(one), "--name", "one")

    fill(small_disk)
    store = site.components()["object-store"]
    assert store["condition"] == "failing"
    assert "MiB are free" in store["detail"]
    assert "free some space" in site.run("status", code=1).stdout
    assert "takes no writes" in site.run("plan", code=2).stdout
    refused = site.run("up", "--yes", code=1)
    assert "takes no writes" in refused.stderr
    assert "Next: free some space" in refused.stderr

    (small_disk / "fill").unlink()
    site.run("up", "--yes")
    assert site.components()["object-store"]["condition"] == "healthy"
    two = write_tiny_gguf(tmp_path / "two.gguf")
    two.write_bytes(two.read_bytes() + bytes(64))
    site.run("model", "push", str(two), "--name", "two")
    site.run("model", "pull", "one", str(tmp_path / "out"))


@pytest.mark.parametrize(("but_kib", "is_kept"), [(24, True), (0, False)])
def test_a_site_that_a_full_disk_kept_from_coming_up_says_so(
    site: SiteUnderTest, small_disk: Path, but_kib: int, *, is_kept: bool
) -> None:
    fill(small_disk, but_kib=but_kib)
    failed = site.run("up", "--yes", code=1).stderr
    assert "the disk is full" in failed
    said = site.run("status", code=1).stdout
    assert said.startswith("site small is not up\n")
    assert ("The last `up` failed" in said) is is_kept
    assert f"The disk is full: 0 MiB are free in {site.root}" in " ".join(said.split())
    assert said.endswith("Next: free some space, then: ai-how up\n")

    (small_disk / "fill").unlink()
    said = site.run("status", code=1).stdout
    assert ("secrets: the disk is full" in said) is is_kept
    assert said.endswith("Next: ai-how up\n")
    assert "The disk is full" not in said
    failures = site.run("status", "-o", "json", code=1).json().get("failures", [])
    assert [each["resource"] for each in failures] == (["secrets"] if is_kept else [])
