"""Models in a real object store and a real registry: sent once, taken up when broken off, verified when fetched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ai_how.errors import ConflictError, NotFoundError, ProviderError, SpecError, TryAgainError, WorldChangedError
from ai_how.models import download, library, registry, upload
from ai_how.models.manifest import MANIFEST_NAME
from ai_how.models.object_store import download_model
from ai_how.models.registry import Registry
from ai_how.models.s3 import Bucket
from ai_how.models.types import RegisteredVersion, SecretText, Stores
from tests.checkpoints import write_gguf, write_large, write_sharded
from tests.tiny_model import write_tiny_adapter, write_tiny_checkpoint

from .site import eventually
from .stores import mlflow_python, running_object_store

pytestmark = pytest.mark.slow

# S3's smallest part, so that a small file has more parts than there are threads
PART_BYTES = 5 << 20
PARTS = 18
MIB = PARTS * PART_BYTES >> 20

# a process that pushes or pulls until it has moved a number of bytes, says so, and waits to be killed
_STUCK = """
import sys, threading
from pathlib import Path
from ai_how.models import download, library, upload
from ai_how.models.types import ObjectStoreAccess, SecretText, Stores

verb, what, dest, endpoint, url, cache, stage, limit, part_bytes = sys.argv[1:]
download.PART_BYTES = upload.PART_BYTES = int(part_bytes)
access = ObjectStoreAccess(endpoint_url=endpoint, region="us-east-1", bucket="models", access_key="test-access",
                           secret_key=SecretText("test-secret"))
stores = Stores(access=access, registry_url=url, cache_dir=Path(cache))

def progress(at, done, total):
    if at == stage and done >= int(limit):
        print("reached", done, flush=True)
        threading.Event().wait()

if verb == "push":
    library.push(what, stores, name=dest, progress=progress)
else:
    library.pull(library.resolve(what, stores), stores, Path(dest), progress=progress)
print("ended", flush=True)
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PART_BYTES", PART_BYTES)
    monkeypatch.setattr(download, "PART_BYTES", PART_BYTES)


def run_until(stores: Stores, verb: str, what: str, dest: str, *, stage: str, moved: int) -> subprocess.Popen[str]:
    words = (verb, what, dest, stores.access.endpoint_url, stores.registry_url, str(stores.cache_dir), stage)
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK, *words, str(moved), str(PART_BYTES)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline().startswith("reached")
    return process


def kill_when_moved(stores: Stores, verb: str, what: str, dest: str, *, stage: str, moved: int) -> None:
    process = run_until(stores, verb, what, dest, stage=stage, moved=moved)
    process.kill()
    process.communicate()


def push(stores: Stores, source: Path, name: str, **options: Any) -> library.PushReport:
    return library.push(str(source), stores, name=name, **options)


def keys_of(stores: Stores, version: RegisteredVersion) -> set[str]:
    prefix = version.uri.removeprefix(f"s3://{stores.access.bucket}/") + "/"
    return {key.removeprefix(prefix) for key in Bucket(stores.access).sizes(prefix)}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_name_that_gets_a_version_of_another_kind_is_warned_of(stores: Stores, tmp_path: Path) -> None:
    adapter = write_tiny_adapter(tmp_path / "adapter")
    whole, other = (write_tiny_checkpoint(tmp_path / f"m{seed}", seed=seed) for seed in (1, 2))
    said = [push(stores, source, "of-two-kinds").warnings for source in (adapter, whole, whole, other)]
    assert [len(lines) for lines in said] == [0, 1, 0, 0]
    assert "of-two-kinds/2 is a whole model, of-two-kinds/1 is an adapter" in said[1][0]


def test_a_push_that_leaves_the_store_no_room_says_so(stores: Stores, tmp_path: Path) -> None:
    full = replace(stores, trouble=lambda: "takes no writes: 12 MiB are free")
    said = push(full, write_tiny_checkpoint(tmp_path / "m", seed=9), "the-last").warnings
    assert said == ("now the object store takes no writes: 12 MiB are free",)


def test_a_pushed_model_is_registered_with_what_is_known_of_it(stores: Stores, tmp_path: Path) -> None:
    source = write_sharded(tmp_path / "m")
    report = push(stores, source, "described", aliases=["champion"])
    version = report.version
    assert report.registered
    assert report.sent_bytes == version.size_bytes == sum(len(data) for data in content(source).values())
    assert version == library.resolve("described@champion", stores)
    assert (version.name, version.version, version.aliases) == ("described", 1, ("champion",))
    assert version.info.architecture == "LlamaForCausalLM"
    assert version.info.context_tokens == 2048
    assert version.source == str(source)
    assert version.uri == f"s3://models/described/{version.digest[:16]}"
    assert keys_of(stores, version) == {*content(source), MANIFEST_NAME}


@pytest.mark.parametrize("make", [write_tiny_checkpoint, write_sharded, write_tiny_adapter])
def test_a_model_comes_back_as_it_was(stores: Stores, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "m")
    version = push(stores, source, make.__name__).version
    library.pull(version, stores, tmp_path / "out")
    assert content(tmp_path / "out") == content(source)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_gguf_file_comes_back_as_it_was(stores: Stores, tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf")
    version = push(stores, source, "one-file").version
    library.pull(version, stores, tmp_path / "out")
    assert (tmp_path / "out" / "m.gguf").read_bytes() == source.read_bytes()


def test_a_second_push_sends_nothing_and_stays_the_same_version(stores: Stores, tmp_path: Path) -> None:
    source = write_large(tmp_path / "m", mib=40)
    first = push(stores, source, "twice")
    again = push(stores, source, "twice", aliases=["champion"])
    assert (first.registered, again.registered) == (True, False)
    assert again.sent_bytes == 0
    assert again.version == replace(first.version, aliases=("champion",))
    (source / "config.json").write_text((source / "config.json").read_text() + "\n")
    changed = push(stores, source, "twice")
    assert changed.version.version == 2
    assert library.resolve("twice", stores).version == 1, "a plain name is the champion"


def test_a_killed_push_goes_on_where_it_was(stores: Stores, tmp_path: Path) -> None:
    source = write_large(tmp_path / "m", mib=MIB)
    kill_when_moved(stores, "push", str(source), "killed", stage="upload", moved=3 * PART_BYTES)
    assert library.list_models(stores, "killed") == []
    report = push(stores, source, "killed")
    assert 0 < report.sent_bytes <= report.version.size_bytes - 3 * PART_BYTES
    library.pull(report.version, stores, tmp_path / "out")
    assert content(tmp_path / "out") == content(source)
    assert Bucket(stores.access).unfinished_uploads("killed/") == []


def test_a_store_that_dies_is_one_clear_error_and_the_next_push_goes_on(stores: Stores, tmp_path: Path) -> None:
    source = write_large(tmp_path / "m", mib=MIB)
    with running_object_store(tmp_path / "weed") as (server, access):
        own = replace(stores, access=access)
        killed = threading.Event()

        def kill(stage: str, done: int, _total: int) -> None:
            if stage == "upload" and done >= 2 * PART_BYTES and not killed.is_set():
                killed.set()
                server.kill()

        with pytest.raises(TryAgainError, match=r"(?s)object store .* does not answer.*ai-how up"):
            push(own, source, "store-died", progress=kill)
        server.start()
        report = eventually(lambda: _unless_down(own, source), timeout_s=60)
        assert isinstance(report, library.PushReport)
        assert report.sent_bytes < report.version.size_bytes
        library.pull(report.version, own, tmp_path / "out")
    assert content(tmp_path / "out") == content(source)


def _unless_down(stores: Stores, source: Path) -> library.PushReport | None:
    try:
        return push(stores, source, "store-died")
    except TryAgainError:
        return None


def test_a_push_that_was_not_registered_sends_nothing_again(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_tiny_checkpoint(tmp_path / "m")

    def refuse(*_args: object, **_kwargs: object) -> RegisteredVersion:
        raise TryAgainError("the registry died")

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "create_version", refuse)
        with pytest.raises(TryAgainError):
            push(stores, source, "unregistered")
    report = push(stores, source, "unregistered")
    assert (report.registered, report.sent_bytes) == (True, 0)


def test_a_file_that_changes_meanwhile_is_refused_and_nothing_becomes_visible(stores: Stores, tmp_path: Path) -> None:
    source = write_large(tmp_path / "m", mib=MIB)

    def change(stage: str, done: int, _total: int) -> None:
        if stage == "upload" and done >= 2 * PART_BYTES:
            with (source / "model.safetensors").open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"x")

    with pytest.raises(WorldChangedError, match="changed while it was pushed"):
        push(stores, source, "changing", progress=change)
    assert library.list_models(stores, "changing") == []
    assert not [key for key in Bucket(stores.access).sizes("changing/") if key.endswith(MANIFEST_NAME)]
    assert push(stores, source, "changing").registered


def test_files_lost_in_the_store_are_sent_again(stores: Stores, tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "m")
    version = push(stores, source, "lost").version
    key = version.uri.removeprefix("s3://models/")
    Bucket(stores.access).delete([f"{key}/tokenizer.json"])
    report = push(stores, source, "lost")
    assert not report.registered
    assert report.sent_bytes == (source / "tokenizer.json").stat().st_size


def test_two_pushes_at_once_make_one_whole_model(stores: Stores, tmp_path: Path) -> None:
    source = write_large(tmp_path / "m", mib=MIB)
    with ThreadPoolExecutor(2) as pool:
        reports = [task.result() for task in [pool.submit(push, stores, source, "both") for _ in range(2)]]
    library.pull(reports[0].version, stores, tmp_path / "out")
    assert content(tmp_path / "out") == content(source)
    assert len({report.version.uri for report in reports}) == 1


def test_a_tampered_object_is_noticed(stores: Stores, tmp_path: Path) -> None:
    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "tampered").version
    key = f"{version.uri.removeprefix('s3://models/')}/config.json"
    sound = Bucket(stores.access).get(key)
    Bucket(stores.access).put(key, sound.replace(b"2048", b"4096"), metadata={}, content_type="text/plain")
    with pytest.raises(ProviderError, match=r"(?s)other bytes than were registered.*config\.json"):
        library.pull(version, stores, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_replaced_or_missing_manifest_is_noticed(stores: Stores, tmp_path: Path) -> None:
    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "replaced").version
    other = push(stores, write_tiny_checkpoint(tmp_path / "o", seed=9), "replaced").version
    bucket, key = Bucket(stores.access), f"{version.uri.removeprefix('s3://models/')}/{MANIFEST_NAME}"
    foreign = bucket.get(f"{other.uri.removeprefix('s3://models/')}/{MANIFEST_NAME}")
    bucket.put(key, foreign, metadata={}, content_type="application/json")
    with pytest.raises(ProviderError, match="is not the model that was registered"):
        library.pull(version, stores, tmp_path / "out")
    bucket.delete([key])
    with pytest.raises(NotFoundError, match=r"(?s)holds no whole model.*ai-how model push"):
        library.pull(version, stores, tmp_path / "out")


def test_a_killed_pull_goes_on_where_it_was(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_large(tmp_path / "m", mib=MIB)
    version = push(stores, source, "pulled").version
    out = tmp_path / "out"
    kill_when_moved(stores, "pull", "pulled", str(out), stage="download", moved=3 * PART_BYTES)
    assert not out.exists()
    fetched = []
    honest = Bucket.open_range

    def counting(self: Bucket, key: str, start: int, end: int) -> Any:
        fetched.append(end - start)
        return honest(self, key, start, end)

    monkeypatch.setattr(Bucket, "open_range", counting)
    library.pull(version, stores, out)
    assert 0 < sum(fetched) <= version.size_bytes - 3 * PART_BYTES
    assert content(out) == content(source)


def test_bytes_that_rot_in_an_unfinished_pull_are_fetched_again(stores: Stores, tmp_path: Path) -> None:
    source = write_large(tmp_path / "m", mib=MIB)
    version = push(stores, source, "rotten").version
    out = tmp_path / "out"
    kill_when_moved(stores, "pull", "rotten", str(out), stage="download", moved=2 * PART_BYTES)
    with (tmp_path / ".out.part" / "model.safetensors").open("r+b") as file:
        for part in range(PARTS):
            file.seek(part * PART_BYTES + 100)
            file.write(b"rotten")
    library.pull(version, stores, out)
    assert content(out) == content(source)


def test_two_processes_fetch_the_same_model_once(stores: Stores, tmp_path: Path) -> None:
    source = write_large(tmp_path / "m", mib=MIB)
    version = push(stores, source, "shared").version
    out = tmp_path / "cache" / version.digest
    first = run_until(stores, "pull", "shared", str(out), stage="download", moved=PART_BYTES)
    second = threading.Thread(
        target=download_model, args=(stores.access, version.uri, version.digest, out), daemon=True
    )
    second.start()
    second.join(0.5)
    assert second.is_alive(), "the second one waits for the first"
    first.kill()
    first.communicate()
    second.join(60)
    assert content(out) == content(source)


def test_a_full_disk_is_one_clear_error(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import shutil

    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "no-room").version
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1 << 20))
        with pytest.raises(ProviderError, match="not enough disk space"):
            library.pull(version, stores, tmp_path / "out")

    def no_space(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", no_space)
        with pytest.raises(ProviderError, match="the disk is full"):
            library.pull(version, stores, tmp_path / "out")
    library.pull(version, stores, tmp_path / "out")


def test_pull_mixes_with_nothing(stores: Stores, tmp_path: Path) -> None:
    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "apart").version
    (tmp_path / "empty").mkdir()
    library.pull(version, stores, tmp_path / "empty")
    with pytest.raises(ConflictError, match="is there already"):
        library.pull(version, stores, tmp_path / "empty")


def test_references_mean_what_they_say(stores: Stores, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        push(stores, write_tiny_checkpoint(tmp_path / str(seed), seed=seed), "refs")
    assert library.resolve("refs", stores).version == 3
    library.promote("refs/1", stores, alias="champion")
    library.promote("refs/2", stores, alias="canary")
    assert library.resolve("refs", stores).version == 1
    assert library.resolve("refs@canary", stores).version == 2
    assert library.promote("refs@canary", stores, alias="champion").aliases == ("canary", "champion")
    assert library.resolve("refs/1", stores).aliases == ()
    Registry(stores.registry_url).delete_alias("refs", "champion")
    assert library.resolve("refs", stores).version == 3
    for reference, said in (
        ("refz", "did you mean refs"),
        ("refs@champion", r"(?s)no alias 'champion'.*versions: 1, 2, 3; aliases: canary"),
        ("refs/9", "no version 9"),
    ):
        with pytest.raises(NotFoundError, match=said):
            library.resolve(reference, stores)


def test_the_same_content_under_another_name_may_go_and_the_cache_stays(stores: Stores, tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "m", seed=5)
    one, other = push(stores, source, "ck").version, push(stores, source, "ck2").version
    assert one.digest == other.digest
    cached = stores.cache_dir / "models" / one.digest
    cached.mkdir(parents=True)
    served = {"ck": [library.Served(uri=one.uri, digest=one.digest)]}
    with pytest.raises(ConflictError, match="ck/1 is served by ck"):
        library.delete(one, stores, in_use=served)
    assert library.delete(other, stores, in_use=served) > 0
    assert MANIFEST_NAME in keys_of(stores, one)
    assert cached.exists()
    library.delete(one, stores, in_use={})
    assert not cached.exists()


def test_deleting_keeps_what_is_used_and_removes_the_rest(stores: Stores, tmp_path: Path) -> None:
    first = push(stores, write_tiny_checkpoint(tmp_path / "1", seed=1), "gone").version
    second = push(stores, write_tiny_checkpoint(tmp_path / "2", seed=2), "gone").version
    mlflow = Registry(stores.registry_url)
    twin = mlflow.create_version(
        "gone", uri=second.uri, digest=second.digest, size_bytes=second.size_bytes, info=second.info, source="twin"
    )
    with pytest.raises(ConflictError, match="gone/2 is served by chat"):
        library.delete(
            second, stores, in_use={"chat": [library.Served(uri=second.uri, digest=second.digest)], "other": []}
        )
    assert library.delete(second, stores, in_use={}) == 0
    assert MANIFEST_NAME in keys_of(stores, twin)
    assert library.delete(twin, stores, in_use={}) == 5
    assert keys_of(stores, twin) == set()
    assert [version.version for version in library.list_models(stores, "gone")] == [1]
    library.delete(first, stores, in_use={})
    with pytest.raises(NotFoundError):
        library.resolve("gone", stores)
    assert push(stores, tmp_path / "1", "gone").registered


def test_deleting_also_forgets_unfinished_uploads(stores: Stores, tmp_path: Path) -> None:
    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "unfinished").version
    key = f"{version.uri.removeprefix('s3://models/')}/model.safetensors"
    bucket = Bucket(stores.access)
    bucket.put_part(key, bucket.begin_upload(key, metadata={}), 1, b"x")
    library.delete(version, stores, in_use={})
    assert bucket.unfinished_uploads("unfinished/") == []


def test_long_lists_are_read_to_their_end(stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "many").version
    mlflow = Registry(stores.registry_url)
    for _ in range(4):
        mlflow.create_version(
            "many", uri=version.uri, digest=version.digest, size_bytes=1, info=version.info, source="again"
        )
    monkeypatch.setattr(registry, "_PAGE", 2)
    assert [found.version for found in library.list_models(stores, "many")] == [5, 4, 3, 2, 1]
    assert {found.name for found in library.list_models(stores)} >= {"many"}


def test_versions_of_others_are_left_alone(stores: Stores, tmp_path: Path) -> None:
    mlflow = Registry(stores.registry_url)
    mlflow._send("POST", "registered-models/create", {"name": "mixed"})
    mlflow._send("POST", "model-versions/create", {"name": "mixed", "source": "s3://elsewhere/model"})
    with pytest.raises(NotFoundError):
        library.resolve("mixed", stores)
    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "mixed").version
    assert version.version == 2
    library.delete(version, stores, in_use={})
    assert mlflow._send("GET", "model-versions/get?name=mixed&version=1")["model_version"]["version"] == "1"


def test_a_registry_that_is_down_is_noticed_before_anything_is_sent(stores: Stores, tmp_path: Path) -> None:
    down = replace(stores, registry_url="http://127.0.0.1:9")
    with pytest.raises(TryAgainError, match=r"(?s)registry .* does not answer.*ai-how up"):
        push(down, write_tiny_checkpoint(tmp_path / "m"), "nowhere")
    assert Bucket(stores.access).sizes("nowhere/") == {}
    assert not Registry(down.registry_url).is_healthy()


def test_a_wrong_key_is_refused_without_being_shown(stores: Stores, tmp_path: Path) -> None:
    wrong = replace(stores, access=replace(stores.access, secret_key=SecretText("wr0ng-s3cret")))
    with pytest.raises(ProviderError, match="refuses our keys") as caught:
        push(wrong, write_tiny_checkpoint(tmp_path / "m"), "locked-out")
    assert "wr0ng-s3cret" not in str(caught.value)


def test_mlflow_s_own_client_finds_what_we_registered(stores: Stores, tmp_path: Path) -> None:
    version = push(stores, write_tiny_checkpoint(tmp_path / "m"), "for-everyone", aliases=["champion"]).version
    script = (
        "import sys; from mlflow import MlflowClient\n"
        "found = MlflowClient(sys.argv[1]).get_model_version_by_alias('for-everyone', 'champion')\n"
        "print(found.version, found.source, found.tags['ai_how.digest'])"
    )
    done = subprocess.run(
        [mlflow_python(), "-c", script, stores.registry_url],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
    )
    assert done.stdout.split() == ["1", version.uri, version.digest]


def test_the_registry_says_what_it_refuses(stores: Stores) -> None:
    mlflow = Registry(stores.registry_url)
    with pytest.raises(NotFoundError, match="RESOURCE_DOES_NOT_EXIST"):
        mlflow.set_alias("nobody", "champion", 1)
    with pytest.raises(SpecError, match="INVALID_PARAMETER_VALUE"):
        mlflow._send("POST", "registered-models/create", {"name": ""})
    with pytest.raises(ProviderError):
        mlflow._send("GET", "no-such-path")


@pytest.mark.parametrize("source", ["s3://bucket/model", "https://example.org/model", "hf://too/many/parts", "hf://x"])
def test_other_addresses_are_refused(stores: Stores, source: str) -> None:
    with pytest.raises(SpecError, match="hf://org/name"):
        library.push(source, stores, name="x")
