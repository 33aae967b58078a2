"""The shipped facts hold together, are dated and sourced; bad files are refused by name; a release is one file."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from ai_how.errors import NotFoundError, SpecError
from ai_how.releases import load_set, load_world, set_names, solve
from ai_how.releases.ageing import notices, supported_until
from ai_how.releases.conflict import Conflict, Solution
from ai_how.releases.files import read_world
from ai_how.releases.pins import parse_pin
from ai_how.releases.sets import load_document

DATA = Path(__file__).parents[2] / "src/ai_how/releases/data"
NEW_RELEASE = """
version = "2.99.0"
released = 2027-01-31
read = 2027-02-01
source = "a test"

[offers.kubernetes]
file = "checksums.yml"
default = "1.37.2"
versions = ["1.37.2", "1.37.1"]

[offers.containerd]
file = "checksums.yml"
versions = ["2.3.4"]

[offers.calico]
file = "checksums.yml"
versions = ["3.33.0"]

[offers.guest]
file = "README.md"
versions = ["debian-14", "debian-13"]

[needs.ansible-core]
file = "ansible_version.yml"
constraint = ">=2.19,<2.20"
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    shutil.copytree(DATA, tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", set_names())
def test_a_release_set_holds_together_as_it_stands(name: str) -> None:
    release_set = load_set(name)
    answer = solve(release_set.pins(), wanted=release_set.versions)
    assert isinstance(answer, Solution), answer
    assert dict(answer.versions) == dict(release_set.versions)


def test_the_current_set_is_the_newest_but_for_the_driver_that_the_gpu_operator_takes_by_itself() -> None:
    current = load_set("current")
    newest = solve(["nvidia-driver=595"])
    assert isinstance(newest, Solution)
    assert dict(newest.versions) == dict(current.versions)


def test_the_set_of_october_2025_keeps_every_pin_of_the_document_but_the_one_that_it_names() -> None:
    old = load_set("2025.10")
    broken = [
        str(pin)
        for pin, _ in load_document().pins
        if pin.component not in old.versions or not pin.constraint.matches(old.versions[pin.component])
    ]
    assert broken == [pin for pin, _, _ in old.gives_way]
    world = load_world()
    released = [world.find(name).release(version).released for name, version in old.versions.items()]
    assert all(day <= load_document().dated for day in released if day)


def test_the_document_clashes_twice_over_kubernetes() -> None:
    answer = solve([pin for pin, _ in load_document().pins])
    assert isinstance(answer, Conflict)
    assert [[str(pin) for pin in core] for core in answer.cores] == [
        ["kubernetes=1.28.0", "calico>=3.30.3"],
        ["kubernetes=1.28.0", "guest=debian-13"],
    ]
    assert [(str(pin), to) for pin, to in answer.ways_out[0].changes] == [("kubernetes=1.28.0", "1.31.14")]


def test_every_kubespray_release_alone_has_a_set() -> None:
    wanted = ("kubespray", "kubernetes", "containerd", "calico", "guest", "ansible-core", "python")
    for version in load_world().components["kubespray"].versions:
        answer = solve([f"kubespray={version}"], wanted=wanted)
        assert isinstance(answer, Solution), version


def test_every_version_that_can_be_wanted_can_be_had() -> None:
    # a fact that lets a version go with nothing at all is a slip of the pen
    world = load_world()
    alone = [
        f"{name}={version}"
        for name, component in world.components.items()
        for version in component.versions[:: max(1, len(component.versions) // 12)]
        if isinstance(solve([f"{name}={version}"], wanted=[]), Conflict)
    ]
    # containerd's own table: Kubernetes 1.26 and later want 1.6.15 at least
    assert [
        text for text in alone if not parse_pin("containerd<1.6.15").constraint.matches(text.partition("=")[2])
    ] == []
    assert {text.partition("=")[0] for text in alone} == {"containerd"}


def test_sources_are_named_and_dated() -> None:
    for component in load_world().components.values():
        for release in component.releases:
            assert release.source
            assert release.read >= datetime.date(2026, 11, 25)
            assert all(need.source for need in release.needs)


def test_adding_a_kubespray_release_is_adding_one_file(data: Path) -> None:
    (data / "kubespray/2.99.0.toml").write_text(NEW_RELEASE, encoding="utf-8")
    world = read_world(data)
    answer = solve(["guest=debian-14"], world=world, wanted=["kubespray", "kubernetes", "containerd", "calico"])
    assert isinstance(answer, Solution)
    assert answer.versions["kubespray"] == "2.99.0"
    assert answer.versions["kubernetes"] == "1.37.2"
    assert answer.versions["ansible-core"].startswith("2.19.")
    assert world.components["guest"].versions[0] == "debian-14"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("colour = 'red'\n" + NEW_RELEASE, "colour: Extra inputs are not permitted"),
        (NEW_RELEASE.replace("2.99.0", "next"), "version: Value error, 'next' is no version"),
        (NEW_RELEASE.replace(">=2.19,<2.20", "about 2.19"), "needs.ansible-core.constraint: Value error"),
        (NEW_RELEASE.replace('["2.3.4"]', "[]"), "offers.containerd.versions: List should have at least 1 item"),
        (NEW_RELEASE.replace('source = "a test"\n', ""), "source: Field required"),
        (NEW_RELEASE.replace("2027-01-31", '"soon"'), "released: "),
        ("version = ", "no TOML file"),
        (NEW_RELEASE.replace("offers.calico", "offers.calicoo"), "calicoo"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_name(data: Path, change: str, complaint: str) -> None:
    (data / "kubespray/2.99.0.toml").write_text(change, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        read_world(data)
    assert complaint in str(caught.value)
    assert "2.99.0.toml" in str(caught.value) or "calicoo" in str(caught.value)


def test_a_version_that_stands_twice_is_refused(data: Path) -> None:
    shutil.copy(data / "kubespray/2.31.0.toml", data / "kubespray/again.toml")
    with pytest.raises(SpecError, match=r"kubespray has 2\.31\.0 twice"):
        read_world(data)


def test_a_component_without_a_version_is_refused(data: Path) -> None:
    file = data / "components/seaweedfs.toml"
    file.write_text(file.read_text(encoding="utf-8").partition("[[version]]")[0], encoding="utf-8")
    with pytest.raises(SpecError, match="seaweedfs has no version"):
        read_world(data)


def test_an_unknown_set_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(NotFoundError, match=r"current, 2025\.10"):
        load_set("latest")


def test_an_end_of_life_warns_from_that_day_on() -> None:
    world = load_world()
    kubernetes = {"kubernetes": "1.28.0"}
    assert not notices(world, kubernetes, datetime.date(2024, 10, 27))
    [notice] = notices(world, kubernetes, datetime.date(2024, 10, 28))
    assert notice.text == "Kubernetes 1.28.0 reached its end of life on 2024-10-28"
    assert "endoflife.date" in notice.source


def test_a_component_that_is_given_up_warns_whatever_its_version() -> None:
    world = load_world()
    minio = {"minio": "2025.10.15"}
    assert not notices(world, minio, datetime.date(2026, 2, 11))
    [notice] = notices(world, minio, datetime.date(2026, 2, 12))
    assert "unmaintained since 2026-02-12" in notice.text


def test_no_source_for_an_end_of_life_is_none_not_a_guess() -> None:
    assert supported_until(load_world().find("mlflow"), "3.18.0") is None


def test_pins_of_the_site_file_are_a_mapping() -> None:
    answer = solve({"kubernetes": "1.34"})
    assert isinstance(answer, Solution)
    assert answer.versions["kubernetes"].startswith("1.34.")
    assert answer.pins == (parse_pin("kubernetes=1.34"),)


@pytest.mark.parametrize(
    ("pins", "component", "starts"),
    [
        (["k8s=1.33"], "kubernetes", "1.33."),
        (["prometheus<84"], "kube-prometheus-stack", "83."),
        (["host=ubuntu-24.04"], "qemu", "8.2"),
        (["kubernetes=1.35", "containerd<2.2"], "containerd", "2.1."),
    ],
)
def test_facts_that_a_person_would_look_up(pins: list[str], component: str, starts: str) -> None:
    answer = solve(pins)
    assert isinstance(answer, Solution)
    assert answer.versions[component].startswith(starts)


@pytest.mark.parametrize(
    "pins",
    [
        ["kubernetes=1.35", "containerd=2.0"],
        ["host=ubuntu-22.04", "qemu>=8.0"],
        ["oumi=0.9", "vllm=0.24.0"],
        ["gpu-operator=26.7.0", "kubernetes=1.31"],
        ["kserve=0.20.0", "kubernetes=1.31"],
        ["nginx-gateway-fabric=2.6.7", "gateway-api=1.4"],
    ],
)
def test_what_cannot_hold_is_found(pins: list[str]) -> None:
    assert isinstance(solve(pins), Conflict)
