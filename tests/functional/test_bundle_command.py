"""``ai-how bundle`` as it is typed; Kubespray's own answer is put in its place, everything else is real."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.bundles import needs as needs_module
from ai_how.bundles.manifest import read_manifest
from ai_how.bundles.needs import Needs
from ai_how.bundles.wanted import File, Image, Wanted
from ai_how.cli.bundle import bundle
from ai_how.errors import AiHowError, SpecError, TryAgainError
from ai_how.kubernetes.checkout import Checkout
from ai_how.rollout import chart_images as chart_images_module
from ai_how.rollout.supply import Supply
from ai_how.stack.part import Manifest
from tests.functional.far_servers import Far, far_servers
from tests.functional.small_disk import mounted


@pytest.fixture
def far() -> Iterator[Far]:
    with far_servers() as servers:
        yield servers


@pytest.fixture
def wanted(far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Wanted]:
    """What is wanted, and a place of its own for the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    far.add_image("a/b", "1")
    found: list[Wanted] = [
        File(url=far.url("/tool"), digest=far.add_file("/tool", b"tool" * 1000)),
        Image(reference=f"{far.host}/a/b:1"),
    ]

    def needs(clusters: object, versions: object, **options: object) -> Needs:
        assert options["platform"] in ("linux/amd64", "linux/arm64")
        checkout = Checkout(path=tmp_path, version="2.31.0")
        return Needs(wanted=tuple(found), checkout=checkout, own_checkout=True)

    monkeypatch.setattr(needs_module, "kubernetes_needs", needs)
    return found


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(bundle, words)
    if result.exception is not None and not isinstance(result.exception, (AiHowError, SystemExit)):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def refused(*words: str) -> AiHowError:
    error = run(*words, code=1).exception
    assert isinstance(error, AiHowError)
    return error


def test_create_verify_load_show_unload(wanted: list[Wanted], far: Far) -> None:
    made = run("create", "b", "--tar")
    assert "release   current (kubespray 2.31.0, kubernetes" in made.stdout
    assert "Next: ai-how bundle load b.tar" in made.stderr
    assert Path("b.tar").is_file()
    identity = read_manifest(Path("b")).identity
    for place in ("b", "b.tar"):
        assert f"{place} is whole: 5 parts" in run("verify", place).stdout
        assert json.loads(run("verify", place, "-o", "json").stdout)["verified"] is True
        shown = run("show", place, "--all").stdout
        assert f"{far.host}/a/b:1" in shown
        assert all(len(line) <= 80 for line in shown.splitlines() if far.host not in line)
        assert json.loads(run("show", place, "-o", "json").stdout)["bundle"] == identity
    assert run("show").stdout == "no bundle is loaded\n"
    loaded = json.loads(run("load", "b.tar", "-o", "json").stdout)
    assert loaded["bundle"] == identity
    assert f"bundle {identity} is loaded" in run("load", "b").stdout
    assert identity in run("show").stdout
    assert json.loads(run("show", "-o", "json").stdout)[0]["path"] == loaded["path"]
    assert run("unload", identity).stdout.endswith("removed\n")
    assert json.loads(run("show", "-o", "json").stdout) == []


def test_a_dry_run_writes_nothing_and_says_sizes(wanted: list[Wanted], far: Far) -> None:
    wanted.append(File(url="http://127.0.0.1:1/away"))
    text = run("create", "b", "--dry-run").stdout
    assert "3.9 KiB  http" in text
    assert "unknown  http://127.0.0.1:1/away" in text
    assert "and 1 of unknown size" in text
    data = json.loads(run("create", "b", "--dry-run", "-o", "json").stdout)
    assert [row["kind"] for row in data["wanted"]] == ["file", "image", "file"]
    assert data["unknown_sizes"] == 1
    assert not Path("b").exists()


def test_a_site_file_that_was_not_named_does_not_count_and_that_is_said(wanted: list[Wanted], far: Far) -> None:
    Path("ai-how.yaml").write_text("name: rack\n")
    assert "--site ai-how.yaml makes the bundle for it" in run("create", "b", "--dry-run").stderr
    assert "--site" not in run("create", "b", "--dry-run", "--release", "current").stderr


def test_a_dry_run_says_why_an_image_is_not_found(wanted: list[Wanted], far: Far) -> None:
    wanted.append(Image(reference=f"{far.host}/none:1"))
    assert "has no image" in run("create", "b", "--dry-run").stderr


def test_the_options_of_create(wanted: list[Wanted], far: Far) -> None:
    data = json.loads(
        run("create", "b", "--platform", "linux/arm64", "--python", "3.12", "--python", "3.13", "-o", "json").stdout
    )
    assert (data["platform"], data["python"], data["release"]) == ("linux/arm64", "3.12 3.13", "current")
    was = data["bundle"]
    far.add_image("a/b", "1", size=55)
    again = ("create", "b", "--platform", "linux/arm64", "-j", "1", "-o", "json")
    assert json.loads(run(*again).stdout)["bundle"] == was
    assert json.loads(run(*again, "--refresh").stdout)["bundle"] != was


def test_a_release_set_by_name(wanted: list[Wanted]) -> None:
    assert json.loads(run("create", "b", "--release", "2025.10", "-o", "json").stdout)["release"] == "2025.10"


SITE = """\
name: lab
provider: libvirt
hosts: [{name: here, declared: {cores: 16, memory_gib: 64, disk_gib: 900}}]
clusters:
  cloud: {kind: KIND, nodes: [ROLES]}
"""


CLOUD = SITE.replace("KIND", "cloud").replace("ROLES", "{role: control-plane}, {role: cpu-worker}")


def test_a_site_file_gives_release_pins_and_what_its_stack_runs(
    wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch
) -> None:
    of_charts = Image(reference="quay.io/of/charts:1")
    asked: list[Any] = []

    def images(charts: list[Any], supply: object, *, kubernetes: str) -> tuple[Image, ...]:
        asked.append((kubernetes, {chart.release for chart in charts}))
        return (of_charts,)

    def needs(*args: Any, more: list[Wanted], **options: Any) -> Needs:
        asked.append(more)
        return without_more(*args, **options)

    without_more = needs_module.kubernetes_needs
    monkeypatch.setattr(chart_images_module, "chart_images", images)
    monkeypatch.setattr(needs_module, "kubernetes_needs", needs)
    Path("ai-how.yaml").write_text(CLOUD + 'pins: {kubernetes: "1.34.6"}\n')
    data = json.loads(run("create", "b", "--site", "ai-how.yaml", "-o", "json").stdout)
    assert data["versions"]["kubernetes"] == "1.34.6"
    (kubernetes, charts), more = asked
    assert kubernetes == "1.34.6"
    assert {"kserve", "keda", "cert-manager"} <= charts
    assert of_charts in more


def test_the_bundle_that_a_site_names_is_made_for_it(wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch) -> None:
    def images(_charts: list[Any], supply: Supply, **_: object) -> tuple[Image, ...]:
        # looks where a chart would be taken from
        assert supply.manifest_here(Manifest(name="m", url="https://x.example/m.yaml", sha256="0" * 64)) is None
        return ()

    monkeypatch.setattr(chart_images_module, "chart_images", images)
    Path("ai-how.yaml").write_text(CLOUD.replace("{kind:", "{kubernetes: {bundle: b}, kind:"))
    made = run("create", "b", "--site", "ai-how.yaml", "-o", "json")
    assert json.loads(made.stdout)["bundle"] == read_manifest(Path("b")).identity


def test_a_stack_whose_images_cannot_be_found_out(wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch) -> None:
    def images(*_: object, **__: object) -> tuple[Image, ...]:
        raise TryAgainError("the chart of keda did not come")

    monkeypatch.setattr(chart_images_module, "chart_images", images)
    Path("ai-how.yaml").write_text(CLOUD)
    assert "the chart of keda did not come" in refused("create", "b", "--site", "ai-how.yaml").brief
    assert (
        "not known: the chart of keda did not come" in run("create", "b", "--site", "ai-how.yaml", "--dry-run").stderr
    )


def test_a_site_without_kubernetes_needs_no_bundle(wanted: list[Wanted]) -> None:
    Path("ai-how.yaml").write_text(
        SITE.replace("KIND", "hpc").replace("ROLES", "{role: hpc-controller}, {role: hpc-compute, gpus: 0}")
    )
    assert "has no cluster with Kubernetes" in refused("create", "b", "--site", "ai-how.yaml").brief


@pytest.fixture
def nobody(wanted: list[Wanted], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked what is needed is asked too early."""

    def needs(*_: object, **__: object) -> Needs:
        raise AssertionError("asked before the target was looked at")

    monkeypatch.setattr(needs_module, "kubernetes_needs", needs)


def photographs(target: Path) -> None:
    target.mkdir()
    (target / "holiday.jpg").touch()


def images_of_another_tool(target: Path) -> None:
    (target / "blobs" / "sha256").mkdir(parents=True)
    (target / "oci-layout").touch()
    (target / "blobs" / "sha256" / ("0f" * 32)).touch()


def bundle_of_a_newer_version(target: Path) -> None:
    target.mkdir()
    (target / "bundle.json").write_text('{"format": 99}')


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (photographs, "b holds something else than a bundle"),
        (images_of_another_tool, "b holds something else than a bundle"),
        (bundle_of_a_newer_version, "has format 99"),
    ],
)
def test_a_target_that_cannot_be_a_bundle_is_refused_before_anybody_is_asked(
    nobody: None, there: Callable[[Path], None], told: str
) -> None:
    there(Path("b"))
    before = sorted(Path("b").rglob("*"))
    assert told in refused("create", "b").brief
    assert sorted(Path("b").rglob("*")) == before


def test_a_target_below_a_file_is_refused_before_anybody_is_asked(nobody: None) -> None:
    Path("file").write_text("x")
    assert "cannot write" in refused("create", "file/b").brief


def test_a_tar_that_cannot_be_written_is_refused_before_anybody_is_asked(nobody: None) -> None:
    Path("b.tar").mkdir()
    assert "b.tar cannot be written" in refused("create", "b", "--tar").brief
    assert not Path("b").exists()


def test_a_full_or_read_only_disk_is_said_before_anybody_is_asked(nobody: None, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", size_mib=8) as disk:
        assert "not enough disk space" in refused("create", str(disk / "new" / "b")).brief
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert "cannot write" in refused("create", str(disk / "new" / "b")).brief
        assert list(disk.iterdir()) == []


def test_an_empty_disk_of_its_own_will_do(wanted: list[Wanted], tmp_path: Path) -> None:
    (tmp_path / "b" / "lost+found").mkdir(parents=True)
    run("create", "b")
    run("verify", "b")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "b", "--platform", "windows/amd64"), "no bundles for platform"),
        (("create", "b", "--release", "none"), "no release set"),
        (("verify", "none"), "no folder or tar none"),
        (("load", "none"), "no folder or tar none"),
        (("show", "none"), "no folder or tar none"),
        (("serve", "none"), "no folder or tar none"),
        (("unload", "none"), "is not loaded"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(wanted: list[Wanted], words: tuple[str, ...], told: str) -> None:
    assert told in refused(*words).brief


def test_a_file_that_is_no_tar_of_a_bundle(wanted: list[Wanted]) -> None:
    Path("x.tar").write_text("nothing")
    for command in ("verify", "load", "show"):
        assert isinstance(refused(command, "x.tar"), SpecError)
