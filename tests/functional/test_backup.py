"""Backups for real: a site that serves is kept, destroyed, and comes back elsewhere under another name.

The parts that need no whole site run against the real object store alone.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import openai
import pytest

from ai_how.backups.create import create, survey
from ai_how.backups.manifest import ModelVersion
from ai_how.backups.put_back import ObjectsBack
from ai_how.backups.store import BackupStore
from ai_how.backups.verify import inspect
from ai_how.errors import InterruptionError, ProviderError, TryAgainError
from ai_how.models.s3 import Bucket
from ai_how.models.types import ObjectStoreAccess
from tests.tiny_model import write_tiny_checkpoint, write_tiny_gguf

from .site import SiteUnderTest, eventually
from .stores import make_bucket, running_object_store

pytestmark = pytest.mark.slow

LARGE_BYTES = 20 << 20


@dataclass
class Kept:
    """A site as far as a backup sees it: real buckets, a database, a registry that may change."""

    buckets: tuple[Bucket, ...]
    database: Path
    site: str = "light"
    provider: str = "local"
    snapshot_bytes: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    shown: list[tuple[ModelVersion, ...]] = field(default_factory=list)

    def files(self) -> Iterator[tuple[str, bytes]]:
        yield "secrets/admin-key", b"key"

    def models(self) -> tuple[ModelVersion, ...]:
        return self.shown.pop(0) if self.shown else ()

    def dump(self, to: Path) -> Literal["sqlite"]:
        to.write_bytes(self.database.read_bytes())
        return "sqlite"


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreAccess]:
    with running_object_store(tmp_path_factory.mktemp("weed")) as (_, access):
        yield access


@pytest.fixture
def source(access: ObjectStoreAccess, tmp_path: Path) -> Kept:
    bucket = Bucket(replace(access, bucket=f"bucket-{secrets.token_hex(4)}"))
    make_bucket(bucket.access)
    for number in range(12):
        body = f"object {number % 10}".encode()
        bucket.put(f"a/{number}", body, metadata={"number": str(number)}, content_type="text/plain")
    bucket.put("a/empty", b"", metadata={}, content_type="text/plain")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as made:
        made.execute("CREATE TABLE model_versions (name TEXT)")
    return Kept(buckets=(bucket,), database=tmp_path / "mlflow.db")


@pytest.fixture
def store(tmp_path: Path) -> BackupStore:
    made = BackupStore(tmp_path / "backups")
    made.begin()
    return made


def files_of(store: BackupStore) -> int:
    return sum(path.is_file() for path in store.objects.rglob("*"))


def test_only_what_is_new_is_copied_and_the_same_content_lies_there_once(source: Kept, store: BackupStore) -> None:
    first = create(source, store)
    assert (first.copied_objects, len(first.manifest.objects)) == (13, 13)
    assert files_of(store) == 10 + 1 + 2, "ten contents, the empty one, the database and the key"
    source.buckets[0].put("a/3", b"changed", metadata={}, content_type="text/plain")
    source.buckets[0].put("a/new", b"new", metadata={}, content_type="text/plain")
    source.buckets[0].delete(["a/4"])
    asked = survey(source, store)
    assert (asked.objects, asked.new_objects, asked.new_bytes) == (13, 2, len(b"changednew"))
    second = create(source, store)
    assert (second.copied_objects, second.copied_bytes) == (2, len(b"changednew"))
    assert "a/4" not in {one.key for one in second.manifest.objects}
    for made in (first, second):
        assert inspect(store, made.manifest).damages == ()


def test_a_backup_that_is_broken_off_is_never_listed_and_goes_on(source: Kept, store: BackupStore) -> None:
    def ctrl_c(stage: str, done_bytes: int, total_bytes: int) -> None:
        if stage == "copy" and done_bytes > total_bytes / 2:
            raise KeyboardInterrupt

    with pytest.raises(InterruptionError, match="what is copied stays"):
        create(source, store, progress=ctrl_c)
    assert store.ids() == []
    copied = len(store.journal("light").read())
    assert 0 < copied < 13
    assert store.forget([]) >= 0
    again = create(source, store)
    assert again.copied_objects == 13 - copied
    assert inspect(store, again.manifest).damages == ()
    assert not list(store.unfinished.iterdir())


def test_a_backup_that_is_killed_goes_on(source: Kept, store: BackupStore, tmp_path: Path) -> None:
    """Killed in the middle of writing the seventh object."""
    program = (
        "import os, sys\n"
        "from tests.functional import test_backup as t\n"
        "from pathlib import Path\n"
        "access = t.ObjectStoreAccess(**eval(sys.stdin.read()))\n"
        "source = t.Kept(buckets=(t.Bucket(access),), database=Path(sys.argv[2]))\n"
        "store = t.BackupStore(Path(sys.argv[1]))\n"
        "def die(stage, done, total):\n"
        "    if len(store.journal('light').read()) >= 6: os.kill(os.getpid(), 9)\n"
        "t.create(source, store, progress=die)\n"
    )
    access = source.buckets[0].access
    told = {name: str(getattr(access, name)) for name in access.__dataclass_fields__}
    words = [sys.executable, "-c", program, str(store.root), str(source.database)]
    env = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(words, input=repr(told), text=True, check=False, capture_output=True, env=env)
    assert done.returncode == -9, done.stderr
    assert store.ids() == []
    copied = len(store.journal("light").read())
    assert copied >= 6
    again = create(source, store)
    assert again.copied_objects == 13 - copied
    assert inspect(store, again.manifest).damages == ()
    assert not list(store.unfinished.iterdir()), "the half object is swept away"


def test_damage_is_mended_by_a_full_backup(source: Kept, store: BackupStore) -> None:
    made = create(source, store).manifest
    store.path(made.objects[0].sha256).write_bytes(b"xbject 0")
    assert len(inspect(store, made).damages) == 2, "two objects have that content"
    assert create(source, store).copied_objects == 0
    assert inspect(store, made).damages
    assert create(source, store, full=True).copied_objects == 13
    assert inspect(store, made).damages == ()


def test_too_little_room_is_said_before_anything_is_copied(
    source: Kept, store: BackupStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BackupStore, "free_bytes", lambda _: 1 << 20)
    with pytest.raises(ProviderError, match="not enough room") as error:
        create(source, store)
    assert "1 MiB are free" in error.value.evidence
    assert store.journal("light").read() == []


def test_a_registry_that_changes_meanwhile_is_dumped_again(source: Kept, store: BackupStore) -> None:
    one = ModelVersion(name="a", version=1, uri="s3://x/a/b", digest="0" * 64, size_bytes=1)
    source.shown = [(one,), (), (), ()]
    assert create(source, store).manifest.models == ()
    source.shown = [(one,), ()] * 3
    with pytest.raises(TryAgainError, match="changes too often"):
        create(source, store)
    assert len(store.ids()) == 1


def test_a_model_without_its_files_is_kept_and_told(source: Kept, store: BackupStore) -> None:
    bucket = source.buckets[0].access.bucket
    broken = ModelVersion(name="a", version=1, uri=f"s3://{bucket}/a/b", digest="0" * 64, size_bytes=1)
    source.shown = [(broken,)] * 3
    made = create(source, store).manifest
    assert made.incomplete == (f"a/1: s3://{bucket}/a/b/ai-how-manifest.json is not there",)
    found = inspect(store, made)
    assert (found.damages, len(found.notes)) == ((), 1)
    source.shown = [(broken,), (broken,), ()]
    with pytest.raises(TryAgainError, match="deleted while"):
        create(source, store)


def test_objects_come_back_into_another_store(
    source: Kept, store: BackupStore, access: ObjectStoreAccess, tmp_path: Path
) -> None:
    large = os.urandom(LARGE_BYTES)
    upload = source.buckets[0].begin_upload("a/large", metadata={"sha256": "wrong"}, content_type="model/gguf")
    half = LARGE_BYTES // 2
    parts = [source.buckets[0].put_part("a/large", upload, n + 1, large[n * half :][:half]) for n in (0, 1)]
    source.buckets[0].finish_upload("a/large", upload, parts)
    made = create(source, store).manifest
    with running_object_store(tmp_path / "weed") as (_, there):
        target = Bucket(replace(there, bucket=source.buckets[0].access.bucket))
        make_bucket(target.access)
        target.put("a/extra", b"extra", metadata={}, content_type="text/plain")
        ObjectsBack(store, [target], made.objects, None).run()
        for kept in made.objects:
            with target.opened(kept.key) as opened:
                assert opened.body.read() == store.path(kept.sha256).read_bytes()
                assert opened.content_type == kept.content_type
                assert opened.metadata == {**kept.metadata, "sha256": kept.sha256}
        again = ObjectsBack(store, [target], made.objects, None)
        assert again.new_bytes == 0
        assert [key for _, key in again.extra()] == ["a/extra"]
        before = {one.key: one.modified for one in target.listing()}
        target.put("a/1", b"othercon", metadata={}, content_type="text/plain")
        again.run()
        after = {one.key: one.modified for one in target.listing()}
        assert target.get("a/1") == b"object 1"
        assert {key for key in before if before[key] != after[key]} <= {"a/1"}, "what is there is not sent again"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[SiteUnderTest]:
    made = new_site(folder, "first")
    write_tiny_gguf(folder / "tiny.gguf")
    write_tiny_checkpoint(folder / "checkpoint")
    made.run("up", "--yes")
    made.run("deploy", "up", "--model-path", "../tiny.gguf", "--name", "tiny")
    made.run("model", "push", "../checkpoint", "--name", "trained", "--alias", "champion")
    yield made
    made.run("destroy", "--yes", code=None)
    assert made.processes() == []


def new_site(folder: Path, name: str) -> SiteUnderTest:
    made = SiteUnderTest(folder=folder / name, name=name)
    made.folder.mkdir()
    made.write("serving:\n  context_tokens: 256\n  parallel_requests: 2\n  threads: 1\n")
    return made


def ask(site: SiteUnderTest, key: str) -> str:
    url = site.components()["gateway"]["address"]
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120)
    return client.completions.create(model="tiny", prompt="the quick", max_tokens=8, temperature=0).choices[0].text


def models(site: SiteUnderTest) -> Any:
    return [
        {key: one[key] for key in ("name", "version", "digest", "aliases", "uri")}
        for one in site.run("model", "list", "-o", "json").json()
    ]


@pytest.mark.timeout(1200)
def test_a_site_is_kept_while_it_serves_and_comes_back_elsewhere(site: SiteUnderTest, folder: Path) -> None:
    key = site.run("key", "create", "alice").stdout.strip()
    before, answer = models(site), ask(site, key)
    backups = str(folder / "backups")

    assert json.loads(site.run("backup", "create", backups, "--dry-run", "-o", "json").stdout)["new_objects"] == 7
    assert not (folder / "backups").exists()
    enough, answers = threading.Event(), []
    asking = threading.Thread(target=lambda: [answers.append(ask(site, key)) for _ in iter(enough.is_set, True)])
    asking.start()
    made = site.run("backup", "create", backups, "-o", "json").json()
    enough.set()
    asking.join()
    assert answers
    assert set(answers) == {answer}
    assert [f"{one['name']}/{one['version']}" for one in made["models"]] == ["tiny/1", "trained/1"]
    again = site.run("backup", "create", backups, "--keep", "1", "-o", "json").json()
    assert (again["copied_objects"], again["removed"]) == (0, [made["id"]])
    assert "is sound" in site.run("backup", "verify", backups).stdout

    # over what is there: a model is gone, another one and another key have come
    site.run("deploy", "delete", "tiny", "--force")
    site.run("model", "delete", "tiny", "--yes")
    site.run("model", "push", "../tiny.gguf", "--name", "later")
    renewed = site.run("key", "renew", "alice", "--yes").stdout.strip()
    assert renewed != key and site.run("key", "show", "alice").stdout.strip() == renewed
    assert "no key called 'bob'" in site.run("key", "renew", "bob", "--yes", code=1).stderr
    site.run("key", "revoke", "alice", "--yes")
    refused = site.run("backup", "restore", backups, code=1).stderr
    assert "2 model versions" in refused
    assert f"ai-how backup restore {backups} {again['id']} --yes" in refused
    site.run("backup", "restore", backups, "--yes", timeout_s=400)
    assert models(site) == before
    eventually(lambda: site.run("deploy", "status", "tiny", "-o", "json").json()["state"] == "running")
    assert ask(site, key) == answer

    # the site is lost; another one of another name takes the backup
    site.run("destroy", "--yes")
    other = new_site(folder, "second")
    try:
        said = other.run("backup", "restore", backups, code=1).stderr
        assert f"ai-how backup restore {backups} {again['id']}" in said
        shown = other.run("backup", "restore", backups, again["id"], "--dry-run").stdout
        assert "site second is empty; nothing was changed" in shown
        assert other.run("backup", "show", backups, "--site-file").stdout == site.file.read_text()
        other.run("backup", "restore", backups, again["id"], timeout_s=400)
        assert models(other) == before
        eventually(lambda: other.run("deploy", "status", "tiny", "-o", "json").json()["state"] == "running")
        assert ask(other, key) == answer
        other.run("deploy", "up", "--model-path", "model://trained", "--name", "trained")
        assert other.run("plan", code=0).returncode == 0
        events = other.run("events", "-o", "json").json()
        assert ("restore", "done") in {(one["verb"], one["outcome"]) for one in events}
        other.run("down")
        assert "ai-how up" in other.run("backup", "create", backups, code=1).stderr
    finally:
        other.run("destroy", "--yes", code=None)
        assert other.processes() == []
