"""The page that maps the resource requirements to commands: its commands exist, and they say what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ai_how.cli.app import root
from tests.golden.conftest import ROOT
from tests.published_memory import figures

PAGE = (ROOT / "docs/reference/resource-requirements.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(ai-how [^`]+)`", PAGE)))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_on_the_page_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = root
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, line
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def said(*words: str) -> str:
    done = CliRunner().invoke(root, list(words))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "figures"),
    [
        (
            ["plan", "--tier", "minimum"],
            [
                *("18 threads short", "32.6 GiB short", "180 GiB short", "= 900 GB by the node tables"),
                *("30-60 GB at 1-2 GB a day", "91 GB in six months at 0.5 GB a day", "full on day 40"),
                "1145-1150 GB with 900 GB",
            ],
        ),
        (["plan", "--tier", "recommended"], ["10 threads short"]),
        (["plan", "--tier", "production"], ["2 threads short", "memory GiB 92 92.6 96.6 92 96"]),
        (["cost"], ["its figures give 11,900-31,000", "its figures give 31.0-348", "its figures give 2.2-18.8"]),
        (["versions", "check", "--document"], ["kubernetes=1.28.0 and calico>=3.30.3", "kubernetes=1.28.0 -> 1.31."]),
        (["versions", "check", "--pin", "host=ubuntu-22.04", "--pin", "kernel>=6.12"], ["kernel>=6.12 -> 6.8"]),
        (["versions", "show", "2025.10"], ["MinIO is unmaintained", "Ingress NGINX is unmaintained"]),
        (["model", "fit", "--list-gpus", "--gpu", "T4"], ["14.6 GiB"]),
    ],
)
def test_the_commands_give_the_pages_figures(words: list[str], figures: list[str]) -> None:
    text = said(*words)
    for figure in figures:
        assert figure in text


def test_both_clusters_at_once(tmp_path: Path) -> None:
    site = tmp_path / "both.yaml"
    site.write_text("name: both\nprovider: libvirt\nclusters: {cloud: {}, hpc: {kind: hpc, start: manual}}\n")
    text = said("plan", "--tier", "recommended", "--site", str(site))
    for figure in ("52 threads short", "81.3 GiB short", "550 GiB short", "4 GPUs wanted, 2"):
        assert figure in text
    text = said("plan", "--tier", "production", "--site", str(site))
    assert "memory GiB 204 205.3 209.3 204 208" in text
    assert "disk GiB 1900 1900 2111.1 1900 2000" in text


def test_a_v100_is_too_old(tmp_path: Path) -> None:
    import json

    config = next(model["config"] for model in figures()["model"] if model["name"] == "Llama-3.1-8B")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "too old: compute 7.0, needs 7.5" in said("model", "fit", str(tmp_path / "config.json"), "--gpu", "V100")
