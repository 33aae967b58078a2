"""A run of the tests that is ended in the middle leaves no process behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ..process_backend import alive
from .site import eventually

ROOT = Path(__file__).parents[2]
IN_THE_MIDDLE = """
import subprocess, sys, time, pathlib, pytest

here = pathlib.Path(__file__).parent
daemon = '''
import pathlib, os, sys, time
if os.fork() == 0:
    os.setsid()
    part = pathlib.Path(sys.argv[1] + ".part")
    part.write_text(str(os.getpid()))
    part.rename(sys.argv[1])
    time.sleep(600)
'''

@pytest.fixture
def site():
    yield
    (here / "cleaned").touch()

def test_it(site):
    subprocess.run([sys.executable, "-c", daemon, here / "pid"], check=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_a_run_started_ends_with_it(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "test_in_the_middle.py").write_text(IN_THE_MIDDLE)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.functional.leftovers", "--rootdir", tmp_path]
    run = subprocess.Popen([sys.executable, *words, tmp_path], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        eventually((tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text())
        assert psutil.Process(pid).ppid() != run.pid
        os.kill(run.pid, how)
        run.wait(60)
        eventually(lambda: not alive(pid))
        assert (tmp_path / "cleaned").exists() == (how is not signal.SIGKILL), "fixtures had no chance"
    finally:
        run.kill()
        run.wait()


LEAVING = """
import pathlib, subprocess, sys, time
from tests.functional.leftovers import namespace_name

def test_it():
    name = namespace_name()
    subprocess.run(["ip", "netns", "add", name], check=True)
    pathlib.Path(__file__).with_name("name").write_text(name)
    global left
    left = subprocess.Popen(["sleep", "600"])
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2")
def test_a_run_that_leaves_something_fails_and_it_is_removed(tmp_path: Path) -> None:
    (tmp_path / "test_leaving.py").write_text(LEAVING)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.functional.leftovers", "--rootdir", tmp_path]
    done = subprocess.run([sys.executable, *words, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    name = (tmp_path / "name").read_text()
    assert "the tests left these behind" in done.stdout
    assert "sleep 600" in done.stdout
    assert name in done.stdout
    assert not Path("/run/netns", name).exists()


def test_a_stubborn_process_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    watcher = "import sys; from tests.functional import leftovers; leftovers._GRACE_S = 0.5; leftovers.end(sys.argv[1])"
    environment = {**os.environ, "TEST_RUN_OF_AI_HOW": "stubborn"}
    process = subprocess.Popen([sys.executable, "-c", deaf], env=environment, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        subprocess.run([sys.executable, "-c", watcher, "stubborn"], check=True, cwd=ROOT, timeout=60)
        assert process.wait(5) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
