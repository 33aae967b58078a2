"""What a machine is asked whether it is ready: the real script over files such as cloud-init leaves."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ai_how.machines.ready import question

FINE = {"v1": {"stage": None, "init": {"errors": [], "finished": 12.5}, "modules-final": {"errors": []}}}
PROGRAMS = {
    "sync": 'touch "$SYNCED"',
    "cloud-init": 'echo \'{"status": "error"}\'; exit 1',
    # by the name of a file that the test makes
    "systemctl": 'test -e "$FAILED" && echo "$@" >"$FAILED"',
}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with the programs that are asked, and ``run`` for cloud-init's files."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (tmp_path / "run").mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    return tmp_path


def ask(machine: Path, *, patience_s: int = 1) -> subprocess.CompletedProcess[str]:
    script = question(run=str(machine / "run"), patience_s=patience_s)
    files = {"FAILED": f"{machine}/failed", "SYNCED": f"{machine}/synced"}
    env = {"PATH": f"{machine}/programs:{os.environ['PATH']}", **files}
    return subprocess.run(["sh", "-c", script], env=env, check=False, capture_output=True, text=True, timeout=60)


def test_one_that_has_finished_shows_its_status(machine: Path) -> None:
    (machine / "run" / "status.json").write_text(json.dumps(FINE))
    (machine / "run" / "result.json").write_text("{}")
    done = ask(machine)
    assert (done.returncode, json.loads(done.stdout)) == (0, FINE)
    assert (machine / "synced").exists()


def test_one_that_is_at_work_is_waited_for(machine: Path) -> None:
    assert (ask(machine).returncode, ask(machine).stdout) == (124, "")
    (machine / "run" / "status.json").write_text(json.dumps(FINE))
    late = f"sleep 1; touch {machine}/run/result.json"
    with subprocess.Popen(["sh", "-c", late]) as finishing:
        assert ask(machine, patience_s=30).returncode == 0
        assert finishing.wait() == 0


def test_one_without_cloud_init_or_with_it_disabled_is_ready(machine: Path) -> None:
    (machine / "run" / "disabled").touch()
    assert (ask(machine).returncode, ask(machine).stdout) == (0, "")
    (machine / "run" / "disabled").unlink()
    (machine / "programs" / "cloud-init").unlink()
    assert (ask(machine).returncode, ask(machine).stdout) == (0, "")


def test_one_whose_cloud_init_failed_says_so(machine: Path) -> None:
    (machine / "failed").touch()
    done = ask(machine)
    assert (done.returncode, json.loads(done.stdout)) == (1, {"status": "error"})
    units = (machine / "failed").read_text().split()
    assert {"cloud-init-main", "cloud-init-local", "cloud-init", "cloud-config", "cloud-final"} <= set(units)
