"""``ai-how image build --with packer``, with a program in Packer's place that does what the test says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ai_how.cli.app import root
from ai_how.errors import AiHowError, MissingToolError, NotFoundError, ProviderError, SpecError
from ai_how.machines.images.store import ImageStore, sha256_of
from tests.functional.libvirt_site import write_empty_disk

pytestmark = [
    pytest.mark.skipif(shutil.which(tool) is None, reason=f"not installed: {tool}")
    for tool in ("qemu-img", "qemu-system-x86_64")
]
FAKE = """#!/bin/sh
# stands for Packer: notes what it was asked, and leaves what a build leaves
[ "$1" = version ] && { echo "Packer v VERSION"; exit; }
echo "$@" >>"$NOTES"
ls >>"$NOTES"
[ "$1" = init ] && exit
[ -z "$FAILS" ] || { echo "==> qemu.image: $FAILS"; exit 1; }
mkdir output
disk=$(sed -n 's/.*vm_name *= "\\(.*\\)"/\\1/p' image.pkr.hcl)
cp "$(sed -n 's/.*iso_url *= "\\(.*\\)"/\\1/p' image.pkr.hcl)" "output/$disk"
echo kernel=6.12 >facts
printf 'Package: sudo\\nStatus: install ok installed\\nVersion: 1.9\\n' >status
"""
Install = Callable[[str], Path]


@pytest.fixture
def packer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a Packer of a version on PATH; gives the file that it notes in what it was asked."""
    tools, notes = tmp_path / "tools", tmp_path / "notes"
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setenv("FAILS", "")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr("ai_how.machines.virtualization.guests_run", lambda _uri: False)

    def install(version: str) -> Path:
        tools.mkdir(exist_ok=True)
        (tools / "packer").write_text(FAKE.replace(" VERSION", version))
        (tools / "packer").chmod(0o755)
        return notes

    return install


@pytest.fixture
def base(tmp_path: Path) -> Path:
    disk = tmp_path / "base.qcow2"
    raw = tmp_path / "base.raw"
    raw.write_bytes(bytes(510) + b"\x55\xaa" + os.urandom(1 << 20))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, disk], check=True)
    return disk


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ImageStore(tmp_path / "cache/ai-how/images")


def build(base: Path | str, *words: str) -> Result:
    argv = ["image", "build", "cloud-minimal", "--with", "packer", "--base", str(base), *words]
    return CliRunner().invoke(root, argv)


def refused(kind: type[AiHowError], done: Result) -> AiHowError:
    assert isinstance(done.exception, kind), (done.output, done.exception)
    return done.exception


def test_what_packer_makes_becomes_an_image_as_any_other(packer: Install, base: Path, store: ImageStore) -> None:
    notes = packer("1.6.6")
    done = build(base, "-o", "json")
    assert done.exception is None, done.exception
    (image,) = store.list()
    assert json.loads(done.stdout)["built"] is True
    assert image.name.startswith("cloud-minimal-packer-")
    assert (image.recipe, image.packages) == ("cloud-minimal", {"sudo": "1.9"})
    assert image.facts == {"kernel": "6.12", "built_by": "packer 1.6.6", "base_sha256": sha256_of(base)}
    store.verify(image)
    said = json.loads(
        subprocess.run(["qemu-img", "info", "--output=json", image.path], check=True, capture_output=True).stdout
    )
    assert said["format-specific"]["data"]["compression-type"] == "zstd"
    assert "build -color=false -var accelerator=tcg -var compress=false image.pkr.hcl" in notes.read_text()
    # older ones do not know the block that asks for the builder
    assert "plugins.pkr.hcl" not in notes.read_text()
    assert sorted(path.name for path in store.folder.glob(".work-*")) == [".work-any.lock"]

    again = build(base)
    assert "is there already" in again.stdout
    assert notes.read_text().count("build ") == 1


def test_a_newer_packer_fetches_its_builder_first(packer: Install, base: Path, store: ImageStore) -> None:
    notes = packer("1.11.2")
    assert build(base).exception is None
    asked = [line for line in notes.read_text().splitlines() if line.startswith(("init", "build"))]
    assert asked[0] == "init ."
    assert asked[1].endswith("compress=false .")
    assert "plugins.pkr.hcl" in notes.read_text()


def test_another_disk_is_another_image(packer: Install, base: Path, store: ImageStore, tmp_path: Path) -> None:
    packer("1.6.6")
    build(base)
    other = tmp_path / "other.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", base, other], check=True)
    build(other)
    assert len({image.name for image in store.list()}) == 2


def test_when_packer_fails_its_last_words_are_the_evidence_and_nothing_is_left(
    packer: Install, base: Path, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    packer("1.6.6")
    monkeypatch.setenv("FAILS", "E: Unable to locate package netplan.io")
    error = refused(ProviderError, build(base))
    assert error.brief == "packer build failed with exit code 1"
    assert "Unable to locate package netplan.io" in error.evidence
    assert "network" in error.next_step
    assert store.list() == []
    assert [path for path in store.folder.iterdir() if path.is_dir()] == []
    monkeypatch.setenv("FAILS", "")
    assert build(base).exception is None


def test_a_packer_that_says_nothing_of_its_version(packer: Install, base: Path, store: ImageStore) -> None:
    packer("ersion unknown")
    assert refused(ProviderError, build(base)).brief == "packer does not say its version"


def test_without_packer_the_way_out_is_named(
    base: Path, store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_how.machines.virtualization.guests_run", lambda _uri: False)
    tools = tmp_path / "few"
    tools.mkdir()
    (tools / "qemu-img").symlink_to(str(shutil.which("qemu-img")))
    monkeypatch.setenv("PATH", str(tools))
    error = refused(MissingToolError, build(base))
    assert error.brief == "packer is not installed"
    assert "leave out --with" in error.next_step
    (tools / "packer").symlink_to("/bin/true")
    assert "qemu-system-x86" in refused(MissingToolError, build(base)).evidence


def test_a_disk_that_is_too_large_or_not_there(packer: Install, base: Path, store: ImageStore, tmp_path: Path) -> None:
    packer("1.6.6")
    large = tmp_path / "large.qcow2"
    write_empty_disk(large, size_bytes=5 << 30)
    assert "larger than the disk of cloud-minimal" in refused(SpecError, build(large)).brief
    assert "ai-how image build cloud-minimal" in refused(NotFoundError, build("cloud-minimal")).next_step


def test_options_that_contradict_each_other(store: ImageStore) -> None:
    mirror = CliRunner().invoke(root, ["image", "build", "--with", "packer", "--mirror", "http://m"])
    assert "--mirror is not for Packer" in refused(SpecError, mirror).brief
    based = CliRunner().invoke(root, ["image", "build", "--base", "cloud-minimal"])
    assert "--base is for Packer alone" in refused(SpecError, based).brief
