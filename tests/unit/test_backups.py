"""The folder of backups: lists that notice damage, content that is kept once, what is removed and what is not."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ai_how.backups.cluster_restore import PARTS, scope_of
from ai_how.backups.databases import dump_sqlite, sqlite_trouble
from ai_how.backups.etcd_node import EtcdMember
from ai_how.backups.etcd_restore import ETCD_ALONE, _check
from ai_how.backups.manifest import Dump, KeptFile, KeptObject, Manifest, ModelVersion, manifest_text, parse_manifest
from ai_how.backups.models_check import incomplete_versions
from ai_how.backups.store import BackupStore
from ai_how.backups.verify import WHOLE, Scope, inspect
from ai_how.cli.app import root
from ai_how.cli.backup import _PARTS, _prune
from ai_how.cli.confirm import confirm_by_name
from ai_how.errors import AiHowError, ConflictError, LockedError, NotFoundError, ProviderError, SpecError
from ai_how.local.kept import external_server
from ai_how.models.manifest import MANIFEST_NAME, make_manifest, manifest_to_json
from ai_how.models.types import ModelFile, SecretText
from ai_how.stack_access.restarts import uses
from tests.kubernetes_nodes import nodes_of

TEXT = st.text(max_size=20)
OBJECTS = st.builds(
    KeptObject,
    bucket=TEXT,
    key=TEXT,
    etag=TEXT,
    modified=TEXT,
    metadata=st.dictionaries(TEXT, TEXT, max_size=2),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    size_bytes=st.integers(min_value=0),
)


@pytest.fixture
def store(tmp_path: Path) -> BackupStore:
    made = BackupStore(tmp_path / "backups")
    made.begin()
    return made


def database(folder: Path) -> Path:
    file = folder / "mlflow.db"
    with closing(sqlite3.connect(file)) as made:
        made.executescript("CREATE TABLE model_versions (name TEXT); INSERT INTO model_versions VALUES ('tiny')")
    return file


def backup(store: BackupStore, name: str, *, content: bytes = b"content", site: str = "light") -> Manifest:
    """A whole backup of one secret, one object and a database."""
    with store.scratch() as folder:
        dump = store.take(database(folder))
    blob = store.put([content])
    secret = store.put([b"key"])
    manifest = Manifest(
        id=name,
        site=site,
        provider="local",
        made_at="2026-01-01T00:00:00+00:00",
        made_by="ai-how",
        versions={"mlflow": "3.17.2"},
        buckets=("models", "models-mlflow"),
        database=Dump(kind="sqlite", **dump.model_dump()),
        files=(KeptFile(name="secrets/admin-key", **secret.model_dump()),),
        objects=(KeptObject(bucket="models", key="a/b", etag="e", modified="m", **blob.model_dump()),),
        models=(),
    )
    store.finish(manifest)
    return manifest


@given(objects=st.lists(OBJECTS, max_size=4), position=st.floats(min_value=0, max_value=0.999))
def test_a_list_comes_back_as_it_was_and_no_changed_byte_goes_unnoticed(
    objects: list[KeptObject], position: float
) -> None:
    manifest = Manifest(
        id="light-20260101t000000z",
        site="light",
        provider="local",
        made_at="",
        made_by="",
        versions={},
        buckets=(),
        database=Dump(kind="sqlite", sha256="0" * 64, size_bytes=1),
        files=(),
        objects=tuple(objects),
        models=(ModelVersion(name="a", version=1, uri="s3://m/a/b", digest="d", size_bytes=1, aliases=("x",)),),
    )
    text = manifest_text(manifest)
    assert parse_manifest(text, where="x") == manifest
    at = int(position * len(text))
    other = "0" if text[at] != "0" else "1"
    if text[at].isspace():
        return
    with pytest.raises(SpecError, match=r"damaged|another version"):
        parse_manifest(text[:at] + other + text[at + 1 :], where="x")


@given(TEXT)
def test_anything_else_is_refused_as_a_list(text: str) -> None:
    with pytest.raises(SpecError, match="damaged"):
        parse_manifest(text, where="x")


@pytest.mark.parametrize("name", ["../key", "/etc/passwd", "secrets/../../x", "", "a//b", "a\0b"])
def test_no_file_of_a_backup_leaves_the_sites_folder(name: str) -> None:
    with pytest.raises(ValueError, match="inside"):
        KeptFile(name=name, sha256="0" * 64, size_bytes=0)


def test_all_is_private(store: BackupStore) -> None:
    backup(store, "light-20260101t000000z")
    for path in [store.root, *store.root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_newest_is_first_whatever_the_sites_are_called(store: BackupStore) -> None:
    for name in ("zebra-20260101t000000z", "a-2-20260301t000000z", "light-20260201t000000z"):
        backup(store, name, site=name.rpartition("-")[0])
    backup(store, "light-20260201t000000z-2")
    assert store.ids() == [
        "a-2-20260301t000000z",
        "light-20260201t000000z-2",
        "light-20260201t000000z",
        "zebra-20260101t000000z",
    ]
    assert store.ids("a") == []
    assert store.ids("a-2") == ["a-2-20260301t000000z"]
    assert len(store.ids("light")) == 2


def test_content_that_another_backup_has_stays(store: BackupStore) -> None:
    old = backup(store, "light-20260101t000000z", content=b"old")
    new = backup(store, "light-20260102t000000z", content=b"newer")
    freed = store.forget([old.id])
    assert store.ids() == [new.id]
    assert freed == len(b"old")
    assert inspect(store, new).damages == ()
    with pytest.raises(NotFoundError, match="there is no backup 'light-20260101t000000z'"):
        store.manifest(old.id)


def test_what_a_broken_off_backup_copied_is_not_removed(store: BackupStore) -> None:
    blob = store.put([b"half"])
    kept = KeptObject(bucket="b", key="k", etag="e", modified="m", **blob.model_dump())
    store.journal("light").add(kept)
    with store.journal("light").path.open("a") as file:
        file.write('{"bucket": "cut o')
    old = backup(store, "light-20260101t000000z")
    store.forget([old.id])
    assert store.holds(blob)
    assert store.journal("light").read() == [kept]
    store.journal("light").drop()
    assert store.forget([]) == len(b"half")


def test_with_a_damaged_list_nothing_else_is_removed(store: BackupStore) -> None:
    backup(store, "light-20260101t000000z")
    new = backup(store, "light-20260102t000000z")
    list_file = store.lists / f"{new.id}.json"
    list_file.write_text(list_file.read_text().replace("admin-key", "admin-kez"))
    with pytest.raises(SpecError, match="damaged"):
        store.forget(["light-20260101t000000z"])
    store.forget([new.id])
    assert store.ids() == ["light-20260101t000000z"]


def test_damage_is_named(store: BackupStore) -> None:
    manifest = backup(store, "light-20260101t000000z")
    assert inspect(store, manifest).damages == ()
    store.path(manifest.files[0].sha256).write_bytes(b"kex")
    store.path(manifest.objects[0].sha256).write_bytes(b"cut")
    store.path(manifest.database.sha256).unlink()
    damages = inspect(store, manifest).damages
    assert damages[0] == "database: missing"
    assert damages[1].startswith("secrets/admin-key: its content is no longer")
    assert damages[2] == "models/a/b: 3 bytes instead of 7"


@pytest.mark.parametrize(
    ("scope", "damaged"),
    [
        (scope_of(["secrets"]), ["secrets/models/keys.json"]),
        (scope_of(["objects"]), ["models/a/b"]),
        (scope_of(["database"]), ["database"]),
        (scope_of(["secrets", "database"]), ["database", "secrets/models/keys.json"]),
        (ETCD_ALONE, ["etcd/snapshot.db"]),
        (WHOLE, ["database", "secrets/models/keys.json", "etcd/snapshot.db", "models/a/b"]),
    ],
)
def test_of_a_part_that_is_put_back_only_that_part_is_read(
    store: BackupStore, scope: Scope, damaged: list[str]
) -> None:
    whole = backup(store, "light-20260101t000000z")
    files = [
        KeptFile(name=name, **store.put([name.encode()]).model_dump())
        for name in ("secrets/models/keys.json", "etcd/snapshot.db", "etcd/authority.pem", "state.json")
    ]
    manifest = whole.model_copy(update={"files": tuple(files), "incomplete": ("a/1: b is not there",)})
    assert inspect(store, manifest, scope=scope).damages == ()
    assert bool(inspect(store, manifest, scope=scope).notes) is scope.objects
    for blob in (*manifest.files[:2], *manifest.objects, manifest.database):
        store.path(blob.sha256).unlink()
    found = inspect(store, manifest, scope=scope).damages
    assert found == tuple(f"{name}: missing" for name in damaged)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(SpecError, match="something else"):
        BackupStore(tmp_path).begin()
    with pytest.raises(NotFoundError, match="no folder of backups"):
        BackupStore(tmp_path).check()
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_folder_of_a_newer_version_is_refused(store: BackupStore) -> None:
    (store.root / "ai-how-backups.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(ConflictError, match="another version"):
        store.check()


def test_a_damaged_mark_is_no_other_version(store: BackupStore) -> None:
    (store.root / "ai-how-backups.json").write_text("{")
    with pytest.raises(SpecError, match="is damaged"):
        store.check()


def test_two_at_once_are_told(store: BackupStore) -> None:
    with store.held(writing=True), pytest.raises(LockedError), store.held(writing=False):
        pass


def test_a_database_is_copied_while_it_is_written_to(tmp_path: Path) -> None:
    file = database(tmp_path)
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("INSERT INTO model_versions VALUES ('committed')")
        writer.commit()
        writer.execute("INSERT INTO model_versions VALUES ('not yet')")
        dump_sqlite(file, tmp_path / "dump")
    assert sqlite_trouble(tmp_path / "dump") == ""
    with closing(sqlite3.connect(tmp_path / "dump")) as copy:
        assert copy.execute("SELECT name FROM model_versions").fetchall() == [("tiny",), ("committed",)]


@pytest.mark.parametrize(("content", "said"), [(b"no database at all" * 100, "not a database"), (b"", "no table")])
def test_what_is_no_database_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)
    assert said in sqlite_trouble(tmp_path / "x")
    with pytest.raises(ProviderError, match="database"):
        dump_sqlite(tmp_path / "x", tmp_path / "dump")


def test_a_missing_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="cannot be read"):
        dump_sqlite(tmp_path / "none.db", tmp_path / "dump")


def test_each_registered_version_must_have_all_its_files(store: BackupStore) -> None:
    weights = store.put([b"weights"])
    listed = make_manifest([ModelFile(path="model.gguf", size_bytes=weights.size_bytes, sha256=weights.sha256)])
    manifest_blob = store.put([manifest_to_json(listed).encode()])
    other = store.put([b"weighty"])

    def kept(key: str, blob: object) -> KeptObject:
        return KeptObject(bucket="models", key=key, etag="", modified="", **blob.model_dump())  # type: ignore[attr-defined]

    model = ModelVersion(name="a", version=1, uri="s3://models/a/b", digest=listed.digest, size_bytes=7)
    whole = [kept(f"a/b/{MANIFEST_NAME}", manifest_blob), kept("a/b/model.gguf", weights)]
    cases = (
        (whole, model, ""),
        (whole[:1], model, "model.gguf: not there"),
        ([whole[0], kept("a/b/model.gguf", other)], model, "model.gguf: not there, or not as registered"),
        (whole[1:], model, f"{MANIFEST_NAME} is not there"),
        ([kept(f"a/b/{MANIFEST_NAME}", weights), whole[1]], model, "cannot be read"),
        (whole, model.model_copy(update={"digest": "0" * 64}), "another model"),
    )
    for objects, wanted, said in cases:
        found = incomplete_versions([wanted], objects, store.read)
        assert said in found.get(wanted, ""), said
        assert bool(found) == bool(said)


def test_an_external_database_is_read_off_its_address() -> None:
    server = external_server("postgresql://ml%40flow@db.example.org:5433/m%20l", SecretText("secret"))
    assert (server.user, server.host, server.port, server.database) == ("ml@flow", "db.example.org", 5433, "m l")
    assert "secret" not in repr(server)
    assert "secret" not in " ".join(server.words)
    with pytest.raises(SpecError, match="lacks"):
        external_server("postgresql://db.example.org", SecretText(""))


@pytest.fixture
def two(store: BackupStore) -> BackupStore:
    backup(store, "light-20260101t000000z", content=b"old")
    backup(store, "light-20260102t000000z")
    backup(store, "other-20260103t000000z", site="other")
    return store


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(root, ["backup", *words])
    if isinstance(result.exception, AiHowError):
        assert code == 1, result.exception
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def test_backups_are_listed(two: BackupStore) -> None:
    folder = str(two.root)
    assert [one["id"] for one in json.loads(run("list", folder, "-o", "json"))] == two.ids()
    list_file = two.lists / "light-20260101t000000z.json"
    list_file.write_text("{}")
    shown = run("list", folder)
    assert "other-20260103t000000z" in shown
    assert "its list is damaged" in shown
    assert "its list is damaged" in run("verify", folder, "--all", code=1)


def test_an_empty_or_missing_folder_gets_one_message(tmp_path: Path, store: BackupStore) -> None:
    assert "no backup in" in run("list", str(store.root))
    assert "there is no backup in" in run("verify", str(store.root), code=1)
    for words in (("list",), ("verify",), ("show",), ("delete", "--keep", "1")):
        assert "no folder of backups" in run(words[0], str(tmp_path / "none"), *words[1:], code=1)


def test_one_is_shown(two: BackupStore) -> None:
    shown = run("show", str(two.root), "light-20260101t000000z")
    assert "light (provider local)" in shown
    assert "no model was registered" in shown
    assert json.loads(run("show", str(two.root), "-o", "json"))["id"] == "other-20260103t000000z"
    assert "has no site file" in run("show", str(two.root), "--site-file", code=1)
    assert "has no state.json" in run("show", str(two.root), "--file", "state.json", code=1)
    assert "one at a time" in run("show", str(two.root), "--file", "x", "--site-file", code=1)


def test_verify_takes_the_newest_one_or_all(two: BackupStore) -> None:
    folder = str(two.root)
    assert run("verify", folder).count("is sound") == 1
    assert run("verify", folder, "--all").count("is sound") == 3
    assert "either a backup or --all" in run("verify", folder, "light-20260101t000000z", "--all", code=1)
    two.path(two.manifest("light-20260101t000000z").objects[0].sha256).write_bytes(b"new")
    said = run("verify", folder, "--all", code=1)
    assert "light-20260101t000000z: models/a/b: its content is no longer" in said
    assert "--full" in said


def test_deleting_asks_and_keeps_so_many_of_each_site(two: BackupStore) -> None:
    folder = str(two.root)
    assert "name backups, or --keep" in run("delete", folder, code=1)
    assert "name backups, or --keep" in run("delete", folder, "x", "--keep", "1", code=1)
    assert "there is no backup 'x'" in run("delete", folder, "x", "--yes", code=1)
    assert "wants to be confirmed" in run("delete", folder, "--keep", "1", code=1)
    assert len(two.ids()) == 3
    done = json.loads(run("delete", folder, "--keep", "1", "--yes", "-o", "json"))
    assert done == {"removed": ["light-20260101t000000z"], "freed_bytes": 3}
    assert two.ids() == ["other-20260103t000000z", "light-20260102t000000z"]
    assert "nothing to remove" in run("delete", folder, "--keep", "1", "--yes")
    run("delete", folder, "other-20260103t000000z", "--yes")
    assert two.ids() == ["light-20260102t000000z"]


def test_a_site_without_clusters_has_none_to_name(tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: near\nprovider: local\n")
    BackupStore(tmp_path / "b").begin()
    for command in ("create", "restore"):
        said = run(command, str(tmp_path / "b"), "--site", str(file), "--cluster", "cloud", code=1)
        assert "site near has no clusters" in said


def test_only_a_cluster_is_put_back_in_parts(two: BackupStore, tmp_path: Path) -> None:
    assert _PARTS == PARTS
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: light\n")
    for part in (*PARTS, "etcd"):
        refused = run("restore", str(two.root), "--site", str(file), "--only", part, code=1)
        assert "site light is put back as a whole" in refused
    assert "Invalid value for '--only'" in run("restore", str(two.root), "--only", "keys", code=2)


def test_what_cannot_be_taken_back_wants_a_name_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def ask() -> None:
        confirm_by_name("cloud", kind="cluster", what="a restore of etcd", otherwise="ai-how x --yes")

    refused = CliRunner().invoke(ask, input="cloud\n").exception
    assert isinstance(refused, SpecError) and "wants to be confirmed" in str(refused)
    monkeypatch.setattr("ai_how.cli.confirm.want_terminal", lambda *_, **__: None)
    done = CliRunner().invoke(ask, input="cloud\n")
    assert done.exit_code == 0 and "Type the cluster's name (cloud)" in done.stderr
    refused = CliRunner().invoke(ask, input="yes\n").exception
    assert isinstance(refused, SpecError) and "nothing was done" in str(refused)


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}]}]},
        {"containers": [], "initContainers": [{"envFrom": [{"secretRef": {"name": "keys"}}]}]},
        {"volumes": [{"name": "v", "secret": {"secretName": "keys"}}]},
        {"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {}}, {"secret": {"name": "keys"}}]}}]},
    ],
)
def test_a_pod_that_reads_a_secret_is_found_however_it_does(spec: dict[str, object]) -> None:
    assert uses({"spec": spec}, "keys") and not uses({"spec": spec}, "others")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("object_store:\n  bucket: other\n", "write object_store.bucket: models"),
        ("registry:\n  database: postgresql\n", "write registry.database: sqlite"),
    ],
)
def test_a_site_file_that_cannot_take_it_is_refused(two: BackupStore, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text(f"name: light\n{text}")
    assert said in run("restore", str(two.root), "--site", str(file), code=1)


def test_the_tables_of_a_newer_mlflow_are_refused(store: BackupStore, tmp_path: Path) -> None:
    manifest = backup(store, "light-20260101t000000z")
    newer = manifest.model_copy(update={"id": "light-20270101t000000z", "versions": {"mlflow": "99.1"}})
    store.finish(newer)
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: light\n")
    assert "newer MLflow" in run("restore", str(store.root), "--site", str(file), code=1)


def test_another_sites_backup_must_be_named(two: BackupStore, tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: third\n")
    assert "there is no backup of site third" in run("restore", str(two.root), "--site", str(file), code=1)
    said = run("restore", str(two.root), "light-20260102t000000z", "--dry-run", "--site", str(file))
    assert "is sound" in said
    assert "site third is empty; nothing was changed" in said
    assert not (tmp_path / ".ai-how").exists()


def test_a_damaged_backup_is_never_put_back(two: BackupStore, tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: light\n")
    two.path(two.manifest("light-20260102t000000z").database.sha256).write_bytes(b"x")
    assert "is damaged" in run("restore", str(two.root), "--yes", "--site", str(file), code=1)
    assert not (tmp_path / ".ai-how").exists()


def test_a_damaged_older_list_does_not_spoil_a_new_backup(two: BackupStore, capsys: pytest.CaptureFixture[str]) -> None:
    backup(two, "light-20260104t000000z")
    (two.lists / "light-20260102t000000z.json").write_text("{}")
    assert _prune(two, "light", 2) == []
    assert "older backups stay" in capsys.readouterr().err
    (two.lists / "light-20260102t000000z.json").unlink()
    assert _prune(two, "light", 1) == ["light-20260101t000000z"]


def test_a_restore_of_etcd_that_was_begun_needs_no_more_room(store: BackupStore) -> None:
    snapshot = KeptFile(name="etcd/snapshot.db", sha256="0" * 64, size_bytes=100)
    manifest = backup(store, "light-20260101t000000z")
    fresh = EtcdMember(
        node=nodes_of("minimal")[0],
        name="etcd1",
        data_dir="/var/lib/etcd",
        cluster={"etcd1": "https://192.0.2.1:2380"},
        tool="etcdutl",
        free_bytes=299,
        is_mounted=False,
    )
    with pytest.raises(ProviderError, match="not enough room"):
        _check((fresh,), manifest, snapshot)
    _check((replace(fresh, work=(manifest.id,)),), manifest, snapshot)
