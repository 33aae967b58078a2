"""The program that keeps models' files on a node, run as a pod runs it: real processes, files and locks."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ai_how.kserve import filler
from ai_how.kserve.node_cache import FOLDER, HOLD
from ai_how.models.manifest import MANIFEST_NAME

from .site import eventually

FETCHER = """#!{python}
import shutil, sys, time
from pathlib import Path
source, target = Path(sys.argv[1].removeprefix("s3:/")), Path(sys.argv[2])
with open("{log}", "a") as log:
    log.write(source.name + "\\n")
if not source.exists():
    sys.exit(1)
while source.is_dir() and Path("{log}").with_name("wait-" + source.name).exists():
    time.sleep(0.01)
target.mkdir(parents=True, exist_ok=True)
if source.is_file():
    shutil.copy(source, target)
else:
    shutil.copytree(source, target, dirs_exist_ok=True)
"""


class Node:
    """A node's disk, an object store as a folder, and KServe's fetching program as a script."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.store, self.log = folder / "disk", folder / "store", folder / "fetched"
        self.disk.mkdir()
        self.fetcher = folder / "fetch"
        self.fetcher.write_text(FETCHER.format(python=sys.executable, log=self.log))
        self.fetcher.chmod(0o755)

    def push(self, name: str, size_bytes: int = 1000) -> tuple[str, str]:
        """A model in the store: its digest and address."""
        model = self.store / name
        (model / "sub").mkdir(parents=True)
        (model / "config.json").write_text("{}")
        (model / "sub" / "w.safetensors").write_bytes(os.urandom(size_bytes))
        files = [
            {
                "path": str(path.relative_to(model)),
                "size_bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(model.rglob("*"))
            if path.is_file()
        ]
        (model / MANIFEST_NAME).write_text(json.dumps({"files": files}))
        return hashlib.sha256(name.encode()).hexdigest(), f"s3:/{model}"

    def start(self, *models: tuple[str, str], limit_bytes: float = 1e9) -> subprocess.Popen[str]:
        program = Path(filler.__file__).read_text()
        words = [str(self.disk), str(limit_bytes / 2**30), str(self.fetcher), *(f"{d}={uri}" for d, uri in models)]
        return subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True)

    def fill(self, *models: tuple[str, str], limit_bytes: float = 1e9) -> tuple[int, str]:
        process = self.start(*models, limit_bytes=limit_bytes)
        text, _ = process.communicate(timeout=60)
        return process.returncode, text

    def fetched(self) -> int:
        """How often a whole model was fetched."""
        return sum(line != MANIFEST_NAME for line in self.log.read_text().splitlines())

    def has(self, model: tuple[str, str]) -> bool:
        return (self.disk / model[0] / "sub" / "w.safetensors").is_file()

    def long_ago(self, *models: tuple[str, str]) -> None:
        for at, (digest, _) in enumerate(models):
            os.utime(self.disk / f"{digest}.lock", (1000 + at, 1000 + at))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_manifest_is_the_one_that_models_are_pushed_with() -> None:
    assert filler.MANIFEST == MANIFEST_NAME


def test_a_model_is_fetched_once_and_an_adapter_comes_with_its_base(node: Node) -> None:
    base, adapter = node.push("base"), node.push("adapter", 10)
    assert node.fill(base, adapter)[0] == 0
    assert node.has(base) and node.has(adapter)
    code, text = node.fill(base)
    assert (code, node.fetched()) == (0, 2)
    assert "is in the cache" in text


def test_pods_that_start_at_once_fetch_once(node: Node) -> None:
    model = node.push("base", 5_000_000)
    pods = [node.start(model) for _ in range(3)]
    assert [pod.wait(60) for pod in pods] == [0, 0, 0]
    assert node.fetched() == 1


def test_what_is_damaged_or_missing_is_refused_and_fetched_anew_later(node: Node) -> None:
    model = node.push("base")
    weights = node.store / "base" / "sub" / "w.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert node.fill(model) == (1, "Error: sub/w.safetensors is damaged\n")
    weights.unlink()
    assert node.fill(model) == (1, "Error: sub/w.safetensors is not whole\n")
    assert not node.has(model)
    weights.write_bytes(whole)
    assert node.fill(model)[0] == 0
    assert node.fill(("0" * 64, "s3://nowhere/at/all"))[1] == (
        f"Error: s3://nowhere/at/all/{MANIFEST_NAME} could not be fetched\n"
    )


def test_the_one_asked_for_longest_ago_makes_room_but_never_one_that_is_served(node: Node) -> None:
    served, old, newer = (node.push(name, 3000) for name in ("served", "old", "newer"))
    for model in (served, old, newer):
        assert node.fill(model)[0] == 0
    node.long_ago(served, old, newer)
    hold = HOLD.replace(FOLDER, str(node.disk))
    pod = subprocess.Popen([sys.executable, "-c", hold, served[0], "--", "sleep", "60"])
    try:
        lock = node.disk / f"{served[0]}.lock"
        held = Path(f"/proc/{pod.pid}/fd")
        while not any(os.path.realpath(link) == str(lock) for link in held.iterdir()) or "sleep" not in name(pod.pid):
            assert pod.poll() is None
        code, text = node.fill(node.push("third", 3000), limit_bytes=12_000)
        assert code == 0
        assert (node.has(served), node.has(old), node.has(newer)) == (True, False, True)
        assert f"{old[0][:16]} was removed to make room" in text
    finally:
        pod.kill()
        pod.wait(10)


def name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def test_one_that_was_just_asked_for_stays_and_the_log_says_that_there_is_more(node: Node) -> None:
    first, second = node.push("first", 3000), node.push("second", 3000)
    assert node.fill(first)[0] == 0
    code, text = node.fill(second, limit_bytes=4000)
    assert (code, node.has(first), node.has(second)) == (0, True, True)
    assert "are kept, as pods serve from them" in text


def test_one_that_is_being_fetched_stays_however_long_that_takes(node: Node) -> None:
    slow, other = node.push("slow", 3000), node.push("other", 3000)
    wait = node.log.parent / "wait-slow"
    wait.touch()
    filling = node.start(slow)
    try:
        eventually((node.disk / f"{slow[0]}.part" / MANIFEST_NAME).exists)
        node.long_ago(slow)
        code, text = node.fill(other, limit_bytes=2000)
        assert code == 0
        assert "was removed" not in text
    finally:
        wait.unlink()
        filling.communicate(timeout=60)
    assert filling.returncode == 0
    assert node.has(slow) and node.has(other)


def test_a_pod_that_died_while_it_filled_leaves_nothing_in_the_way(node: Node) -> None:
    model = node.push("base")
    (node.disk / f"{model[0]}.part").mkdir()
    (node.disk / f"{model[0]}.part" / "half").write_text("x")
    assert node.fill(model)[0] == 0
    assert not list(node.disk.glob("*.part")) and not (node.disk / model[0] / "half").exists()
