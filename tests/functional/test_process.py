"""Programs that are waited for: what becomes of them, and of what they started."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ai_how.errors import TryAgainError
from ai_how.run.background import Background
from ai_how.run.process import end_running, run


def family(folder: Path) -> list[str]:
    """A shell that starts another program and waits for it; the numbers of both are in ``folder``."""
    return ["sh", "-c", f"sleep 300 & echo $! $$ >{folder}/new; mv {folder}/new {folder}/pids; wait"]


def all_ended(folder: Path) -> bool:
    pids = [int(word) for word in (folder / "pids").read_text().split()]
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_program_that_takes_too_long_ends_with_what_it_started(tmp_path: Path) -> None:
    with pytest.raises(TryAgainError, match="did not finish within 2 s"):
        run(family(tmp_path), timeout_s=2)
    assert all_ended(tmp_path)


def test_programs_of_other_threads_end_too(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        done = pool.submit(run, family(tmp_path), check=False)
        while not (tmp_path / "pids").exists():
            time.sleep(0.05)
        end_running()
        assert done.result().returncode != 0
    assert all_ended(tmp_path)


def test_what_it_reads_and_prints() -> None:
    assert run(["cat"], stdin="in").stdout == "in"
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False).returncode == 3


def test_files_go_in_and_out_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"\0\xff\n" * 50_000)
    done = run(["cat"], input_file=tmp_path / "in", output_file=tmp_path / "out")
    assert done.stdout == "" and (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_a_tied_program_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    words = ["cat"]
    with Background(words, env={}, cwd=tmp_path, stdout=tmp_path / "o", stderr=tmp_path / "e", tied=True) as one:
        assert one.poll() is None
    assert one.poll() is not None
    untied = Background(["/bin/cat"], env={}, cwd=tmp_path, stdout=tmp_path / "o", stderr=tmp_path / "e")
    assert untied.wait(10) == 0, "it reads nothing"
