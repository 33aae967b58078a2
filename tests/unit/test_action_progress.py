"""What a long action says where nobody watches a terminal."""

from __future__ import annotations

import pytest

from ai_how.cli import progress
from ai_how.cli.progress import ActionProgress


def test_without_a_terminal_it_says_how_far_it_is_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    told = ActionProgress(quiet=False)
    for now, lines in (  # noqa: B007 - read by the lambda
        (1000.0, ["cluster.yml"]),
        (1001.0, ["cluster.yml", "1s  Preinstall"]),
        (1059.0, ["cluster.yml", "59s  Preinstall"]),
        (1061.0, ["cluster.yml", "1m 01s  Install etcd"]),
        (1062.0, ["cluster.yml", "1m 02s  Install etcd"]),
        (1063.0, ["asking whether it is ready"]),
        (1200.0, ["asking whether it is ready"]),
    ):
        told.tell("kubernetes/cloud", lines)
    assert capsys.readouterr().err.split("  ...     kubernetes/cloud: ")[1:] == [
        "cluster.yml\n",
        "1m 01s  Install etcd\n",
        "asking whether it is ready\n",
    ]


def test_a_quiet_one_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    ActionProgress(quiet=True).tell("kubernetes/cloud", ["cluster.yml"])
    assert capsys.readouterr().err == ""
