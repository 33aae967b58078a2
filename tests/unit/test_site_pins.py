"""A site's release set and pins: whether they fit, and what to write where they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.cli.app import root
from ai_how.errors import AiHowError, SpecError
from ai_how.releases.conflict import Conflict, Solution
from ai_how.releases.sets import load_set, set_names
from ai_how.releases.site_pins import pins_to_write, solve_site
from ai_how.site.spec import Site

HOST = "{cores: 64, memory_gib: 256, disk_gib: 4000, gpus: [{model: RTX A6000, count: 4}]}"
HEAD = f"name: lab\nprovider: libvirt\nhosts: [{{name: h, declared: {HOST}}}]\n"


@pytest.fixture
def site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)
    return tmp_path / "ai-how.yaml"


def ai_how(*args: str) -> Result:
    done = CliRunner().invoke(root, args)
    assert done.exception is None or isinstance(done.exception, SystemExit | AiHowError), done.exception
    return done


def site(**keys: Any) -> Site:
    return Site(name="lab", provider="libvirt", **keys)


@pytest.mark.parametrize("name", set_names())
def test_every_release_set_fits_as_it_is(name: str) -> None:
    found = solve_site(site(release=name))
    assert isinstance(found, Solution)
    assert found.versions == load_set(name).versions


def test_a_pin_takes_the_place_of_the_sets_version() -> None:
    found = solve_site(site(pins={"k8s": "1.34"}))
    assert isinstance(found, Solution)
    assert found.versions["kubernetes"].startswith("1.34.")
    others = {name: version for name, version in load_set().versions.items() if name != "kubernetes"}
    assert {name: found.versions[name] for name in others} == others


@pytest.mark.parametrize(
    ("release", "pins"),
    [
        ("current", {"kubernetes": "1.30"}),
        ("current", {"kubernetes": "1.28.0", "calico": ">=3.30.3"}),
        ("2025.10", {"kubernetes": "1.34"}),
        ("current", {"kubespray": "2.28.1"}),
    ],
)
def test_what_is_to_be_written_fits(release: str, pins: dict[str, str]) -> None:
    found = solve_site(site(release=release, pins=pins))
    assert isinstance(found, Conflict)
    ways = pins_to_write(site(release=release, pins=pins), found)
    assert ways
    for way in ways:
        assert isinstance(solve_site(site(release=release, pins=way)), Solution), way


@pytest.mark.parametrize(("release", "code"), [("current", 0), ("2025.10", 1)])
def test_a_streamer_that_the_release_sets_vllm_lacks_is_a_mistake(site_file: Path, release: str, code: int) -> None:
    cluster = "clusters: {cloud: {nodes: [{role: control-plane}, {role: gpu-worker}]}}\n"
    site_file.write_text(f'{HEAD}release: "{release}"\n{cluster}serving: {{loader: streamer}}\n')
    done = ai_how("validate")
    assert done.exit_code == code
    assert ("streamer is not for vLLM" in done.output) is (code == 1)


def test_a_plan_says_that_pins_clash_and_what_to_write(site_file: Path) -> None:
    site_file.write_text(HEAD + 'pins: {kubernetes: "1.30"}\n')
    done = ai_how("plan")
    assert done.exit_code == 1
    assert done.stdout.endswith(
        """
Versions: release set current with pins: {kubernetes: "1.30"} does not hold:
    kubespray=2.31.0 and kubernetes=1.30 do not go together: no version of
    Kubespray will do
    to mend it, write pins: {kubernetes: "1.34.7"}
    or give 16 components other versions
    all of it, with sources: ai-how versions check --site ai-how.yaml
"""
    )
    assert done.stderr == ""
    plan = json.loads(ai_how("plan", "-o", "json").stdout)
    assert (plan["fits"], plan["versions"]["fit"]) == (True, False)
    assert plan["versions"]["pins_to_write"][0] == {"kubernetes": "1.34.7"}


def test_a_plan_whose_pins_fit_goes_on(site_file: Path) -> None:
    site_file.write_text(HEAD + 'release: "2025.10"\n')
    done = ai_how("plan")
    assert "\nVersions: release set 2025.10 fits together\n" in done.stdout
    # its MLflow has no image that the stack can use, and the plan says which pin has one
    assert (done.exit_code, 'write pins: {mlflow: ">=3.9"}' in done.stdout) == (1, True)
    site_file.write_text(HEAD + 'release: "2025.10"\npins: {mlflow: ">=3.9"}\n')
    assert ai_how("plan").exit_code == 2
    site_file.write_text(HEAD)
    assert json.loads(ai_how("plan", "-o", "json").stdout)["versions"] is None


def test_pins_are_checked_as_the_command_checks_them(site_file: Path) -> None:
    site_file.write_text(HEAD + 'pins: {kubernetes: "1.30"}\n')
    by_site = ai_how("versions", "check", "--site", "ai-how.yaml", "-o", "json")
    by_option = ai_how("versions", "check", "--release", "current", "--pin", "kubernetes=1.30", "-o", "json")
    assert by_site.exit_code == by_option.exit_code == 2
    assert by_site.stdout == by_option.stdout
    refused = ai_how("versions", "check", "--site", "ai-how.yaml", "--pin", "kubernetes=1.34")
    assert refused.exit_code == 2
    assert "--site excludes --release and --pin" in refused.stderr


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("release: 2025.10", 'ai-how.yaml:4:10: release: 2025.10 is not text; write it in quotes: "2025.10"'),
        ("release: newest", "ai-how.yaml:4:10: release: there is no release set 'newest'; there are: current, 2025.10"),
        ("pins: {kubernetes: 1.30}", 'pins.kubernetes: 1.30 is not text; write it in quotes: "1.30"'),
        ('pins: {kubernets: "1.30"}', "4:19: pins.kubernets: 'kubernets' is no component"),
        ('pins: {kubernetes: "x"}', "4:20: pins.kubernetes: kubernetes=x is no pin; 'x' is no version"),
        ('pins: {kub_e: "1"}', "4:8: pins.kub_e: cannot be a name here; write letters, digits and dashes"),
        ("pins: 3", "4:7: pins: is not text by name; write names below it, each with a value behind it"),
        ("pins:", "pins: has no value"),
        (
            'pins: {kubernetes: "1.30"}',
            'go together: no version of Kubespray will do; write pins: {kubernetes: "',
        ),
    ],
)
def test_each_mistake_is_named_at_its_line(site_file: Path, lines: str, said: str) -> None:
    site_file.write_text(HEAD + lines + "\n")
    done = ai_how("validate")
    assert done.exit_code == 1
    assert said in done.stdout
    assert done.stdout.count("\n") == 1
    (mistake,) = json.loads(ai_how("validate", "-o", "json").stdout)
    assert mistake["line"] == 4


def test_the_local_provider_has_its_own_versions(site_file: Path) -> None:
    site_file.write_text('name: lab\npins: {kubernetes: "1.34"}\n')
    assert "pins: is not for provider local" in ai_how("validate").stdout


def test_a_plan_names_a_release_set_that_is_not_there(site_file: Path) -> None:
    site_file.write_text(HEAD + "release: newest\n")
    refused = ai_how("plan").exception
    assert isinstance(refused, AiHowError)
    assert "there is no release set 'newest'" in refused.brief
    assert not isinstance(refused, SpecError)
