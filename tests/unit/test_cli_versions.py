"""``ai-how versions``: text in 80 columns, clean JSON, exit codes 0, 1 and 2, and every option."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.cli.app import root


def run(*words: str) -> Result:
    return CliRunner().invoke(root, ["versions", *words], prog_name="ai-how")


def answer(*words: str) -> dict[str, Any]:
    data = json.loads(run(*words, "-o", "json").stdout)
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("show", "current"),
        ("show", "2025.10"),
        ("check",),
        ("check", "--document"),
        ("check", "--pin", "kubernetes=1.36"),
        ("explain", "kubernetes"),
        ("explain", "cert-manager"),
        ("explain", "minio"),
    ],
)
def test_text_is_readable_in_80_columns(words: tuple[str, ...]) -> None:
    lines = run(*words).stdout.splitlines()
    assert lines
    # a path that cannot be broken may stand alone on a longer line
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


def test_the_list_names_both_sets_and_shows_the_default() -> None:
    text = run("--on", "2026-05-01").stdout
    assert "\ncurrent " in text
    assert "\n2025.10 " in text
    assert "Release set current" in text
    assert "Warnings" not in text
    assert "ansible-core 2.18.19 reached its end of life" in run("--on", "2026-06-01").stdout


def test_the_list_as_json_has_versions_and_supported_until() -> None:
    first, second = json.loads(run("-o", "json").stdout)
    assert (first["name"], second["name"]) == ("current", "2025.10")
    assert first["versions"]["kubernetes"] == "1.35.4"
    assert first["supported_until"]["kubernetes"] == "2027-02-28"
    assert first["supported_until"]["mlflow"] is None


def test_show_says_what_gave_way_and_what_departs_from_upstreams_tests() -> None:
    assert "kubernetes=1.28.0 -> 1.31.13" in run("show", "2025.10").stdout
    text = " ".join(run("show", "current", "--on", "2026-05-01").stdout.split())
    assert "cert-manager 1.17.0 does not go with Kubernetes 1.35.4" in text


@pytest.mark.parametrize(
    ("words", "code", "verdict"),
    [
        (("--on", "2026-05-01"), 0, "fits"),
        (("--on", "2026-11-06"), 1, "warns"),
        (("--release", "2025.10", "--on", "2025-10-27"), 0, "fits"),
        (("--release", "2025.10", "--on", "2026-11-25"), 1, "warns"),
        (("--pin", "k8s=1.34", "--on", "2026-05-01"), 0, "fits"),
        (("--document",), 2, "conflict"),
        (("--release", "current", "--pin", "kubernetes=1.34.7", "--on", "2026-05-01"), 0, "fits"),
        (("--release", "current", "--pin", "kubernetes=1.32"), 2, "conflict"),
        (("--document", "--pin", "kubernetes=1.31"), 1, "warns"),
    ],
)
def test_the_exit_code_is_the_verdict(words: tuple[str, ...], code: int, verdict: str) -> None:
    result = run("check", *words, "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (code, verdict)


def test_a_conflict_as_json_has_reasons_sources_and_ways_out() -> None:
    data = answer("check", "--pin", "kubernetes=1.28.0", "--pin", "calico>=3.30.3")
    [conflict] = data["conflicts"]
    assert conflict["pins"] == ["kubernetes=1.28.0", "calico>=3.30.3"]
    assert [each["text"] for each in conflict["because"]] == [
        "Kubernetes 1.28.0 is offered only by Kubespray 2.24.0 to 2.26.1",
        "Calico >=3.30.3 is offered only by Kubespray 2.29.0 to 2.31.0",
        "so no version of Kubespray will do",
    ]
    assert "tag v2.26.1" in conflict["because"][0]["sources"][1]
    assert data["all_conflicts_listed"]
    assert {change["to"] for way in data["ways_out"] for change in way["changes"]} == {"1.31.14", "3.28.1"}


@pytest.mark.parametrize(
    "words",
    [
        ("--document",),
        ("--pin", "kubernetes=1.28.0", "--pin", "calico>=3.30.3"),
        ("--release", "current", "--pin", "kubernetes=1.32"),
        ("--pin", "kubernetes=1.36"),
        ("--pin", "minio=2024"),
    ],
)
def test_the_command_of_every_way_out_fits(words: tuple[str, ...]) -> None:
    import shlex

    for way in answer("check", *words)["ways_out"]:
        if way["command"]:
            assert run(*shlex.split(way["command"])[2:]).exit_code in (0, 1), way["command"]


def test_the_document_option_says_what_is_no_version_here() -> None:
    assert "compute capability 7.0+" in run("check", "--document").stdout
    assert "CUDA toolkit 12.0+" in answer("check", "--document")["elsewhere"]


def test_who_demands_a_pin_is_told() -> None:
    [conflict, *_] = answer("check", "--document")["conflicts"]
    assert "Cloud Cluster VMs" in conflict["demanded_by"]["kubernetes=1.28.0"]


def test_explain_says_what_needs_a_component_and_the_sources() -> None:
    data = answer("explain", "containerd")
    assert {entry["component"] for entry in data["needed_by"]} == {"kubespray", "kubernetes"}
    assert all(entry["source"] for entry in data["needed_by"])
    assert data["version"] == "2.2.3"
    assert "not in release set current" in run("explain", "minio").stdout
    assert answer("explain", "k8s", "--release", "2025.10")["version"] == "1.31.13"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "--pin", "kubernete=1.34"), "did you mean kubernetes"),
        (("check", "--pin", "guest>=13"), "another kind"),
        (("check", "--pin", "kubernetes 1.34"), "is no pin"),
        (("check", "--release", "2024.01"), "there is no release set '2024.01'"),
        (("check", "--on", "tomorrow"), "tomorrow"),
        (("-o", "json", "check"), "write options after the command"),
        (("--on", "2026-01-01", "check"), "write options after the command"),
    ],
)
def test_what_cannot_be_read_is_told_and_is_no_warning(words: tuple[str, ...], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "part", "expected"),
    [
        (("show",), "20", ["2025.10"]),
        (("explain",), "kube-", ["kube-prometheus-stack"]),
        (("check", "--pin"), "nvidia", ["nvidia-driver"]),
        (("check", "--release"), "", ["current", "2025.10"]),
    ],
)
def test_the_shell_completes_names(words: tuple[str, ...], part: str, expected: list[str]) -> None:
    from click.shell_completion import ShellComplete

    completion = ShellComplete(root, {}, "ai-how", "_AI_HOW_COMPLETE")
    found = completion.get_completions(["versions", *words], part)
    assert [item.value for item in found] == expected
