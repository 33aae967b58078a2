"""Backups of a cluster: a real store, MLflow on a real PostgreSQL, nodes by real SSH; containers are played.

``crictl`` on the node is a script that calls the server's own programs, and ``etcdctl.sh`` that of ``etcd_program``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ai_how.backups.databases import PostgresServer
from ai_how.backups.store import BackupStore
from ai_how.cli.app import root
from ai_how.errors import AiHowError
from ai_how.models.library import push
from ai_how.models.registry import Registry
from ai_how.models.s3 import Bucket
from ai_how.models.types import Stores
from ai_how.stack.components.mlflow import allowed_hosts
from tests.stacks import setting
from tests.tiny_model import write_tiny_checkpoint, write_tiny_gguf

from .etcd_program import SIZE_BYTES, SNAPSHOT, write_etcdctl
from .running_stack import WORKER, StackOnLoopback, stack_on_loopback
from .stores import make_bucket, mlflow_server
from .test_backup_postgresql import server as postgres
from .test_backup_postgresql import sql

__all__ = ["postgres"]
pytestmark = pytest.mark.slow

CRICTL = """#!/bin/sh
# Runs a database's program as its container would, on the server of the test.
[ "$1" = exec ] || exit 64
shift
[ "$1" = -i ] && shift
[ "$1" = abc123 ] || {{ echo "container $1 not found" >&2; exit 1; }}
shift
program=$1
shift
export PGHOST={host} PGPORT={port} PGUSER={user} PGPASSWORD='{password}'
exec {bin_dir}/$program "$@"
"""
KEYS = {
    ("models", "ai-how-api-keys"): {"default": "the-only-key"},
    ("mlops", "mlflow-login"): {"user": "mlflow", "password": "hush"},
}


@dataclass
class Kept:
    """A cluster with models in it."""

    lab: StackOnLoopback
    stores: Stores
    postgres: PostgresServer

    @property
    def folder(self) -> Path:
        return self.lab.folder / "backups"

    def run(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(root, ["backup", *words])
        assert result.exit_code == code, (
            result.output,
            str(result.exception),
            getattr(result.exception, "evidence", ""),
        )
        return result.output

    def refused(self, *words: str) -> AiHowError:
        error = CliRunner().invoke(root, ["backup", *words]).exception
        assert isinstance(error, AiHowError), error
        return error

    def data(self, *words: str) -> dict[str, Any]:
        result = CliRunner().invoke(root, ["backup", *words, "-o", "json"])
        assert result.exit_code == 0, (result.output, vars(result.exception or Exception()))
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def versions(self) -> list[str]:
        return [f"{one.name}/{one.version}" for one in Registry(self.stores.registry_url).versions()]

    def keys(self, bucket: str = "") -> set[str]:
        return set(Bucket(replace(self.stores.access, bucket=bucket or self.stores.access.bucket)).sizes(""))


@pytest.fixture(scope="module")
def stores(
    shared_stores: Stores, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stores]:
    """The shared object store with buckets of this module's own, and MLflow on PostgreSQL."""
    sql(postgres, "CREATE ROLE mlflow LOGIN PASSWORD 'x'")
    sql(postgres, "CREATE DATABASE mlflow OWNER mlflow")
    folder = tmp_path_factory.mktemp("registry")
    address = f"postgresql+psycopg2://mlflow:x@{postgres.host}:{postgres.port}/mlflow"
    hosts = [*allowed_hosts(setting()), "127.0.0.1:*"]
    server, url = mlflow_server(folder / "mlflow", allowed_hosts=",".join(hosts), database=address)
    access = replace(shared_stores.access, bucket="weights")
    for name in ("weights", "weights-mlflow"):
        make_bucket(replace(access, bucket=name))
    try:
        server.start()
        yield Stores(access=access, registry_url=url, cache_dir=folder / "cache")
    finally:
        server.kill()


@pytest.fixture
def kept(stores: Stores, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    with stack_on_loopback(tmp_path) as lab:
        lab.write("object_store: {bucket: weights}")
        lab.keep(stores)
        status = {"name": "postgres", "containerID": "containerd://abc123"}
        lab.pod("mlflow-db", "postgresql", postgres.port, labels=DATABASE, containers=[status])
        for (space, name), values in KEYS.items():
            lab.secret(space, name, values)
        (tmp_path / "programs" / "crictl").write_text(CRICTL.format(**vars(postgres)))
        (tmp_path / "programs" / "crictl").chmod(0o755)
        write_etcdctl(tmp_path / "programs")
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("AI_HOW_SITE", raising=False)
        monkeypatch.setattr("ai_how.cli.open_site.provider_of", lab.provider)
        yield Kept(lab=lab, stores=stores, postgres=postgres)


DATABASE = {"cnpg.io/cluster": "mlflow-db", "cnpg.io/instanceRole": "primary"}


def test_a_cluster_is_kept_and_comes_back(kept: Kept, tmp_path: Path) -> None:
    push(str(write_tiny_gguf(tmp_path / "first.gguf")), name="first", aliases=("champion",), stores=kept.stores)
    artifacts = Bucket(replace(kept.stores.access, bucket="weights-mlflow"))
    artifacts.put("1/run/metrics.txt", b"loss 0.1", metadata={}, content_type="text/plain")
    before, objects = kept.versions(), kept.keys()

    survey = kept.data("create", str(kept.folder), "--dry-run")
    assert (survey["new_objects"], survey["snapshot_bytes"]) == (
        len(objects) + 1,
        SIZE_BYTES,
    ) and not kept.folder.exists()
    made = kept.data("create", str(kept.folder))
    assert made["copied_objects"] == len(objects) + 1
    assert (made["provider"], made["database"]["kind"], made["incomplete"]) == ("libvirt", "postgresql", [])
    kept.run("verify", str(kept.folder))
    # the second one copies nothing
    assert kept.data("create", str(kept.folder))["copied_objects"] == 0

    # what is kept beside the stores
    login = json.loads(kept.run("show", str(kept.folder), "--file", "secrets/mlops/mlflow-login.json"))
    assert (login["kind"], login["metadata"]["name"]) == ("Secret", "mlflow-login") and set(login["data"]) == {
        "user",
        "password",
    }
    assert "resourceVersion" not in login["metadata"]
    result = CliRunner().invoke(root, ["backup", "show", str(kept.folder), "--file", "etcd/snapshot.db"])
    assert result.stdout_bytes == SNAPSHOT
    assert kept.run("show", str(kept.folder), "--site-file") == kept.lab.site_file.read_text()
    assert "has no nothing" in kept.refused("show", str(kept.folder), "--file", "nothing").brief

    # the registry and the store change, and come back
    push(str(write_tiny_checkpoint(tmp_path / "second")), name="second", stores=kept.stores)
    Bucket(kept.stores.access).delete([sorted(objects)[0]])
    artifacts.delete(["1/run/metrics.txt"])
    assert "nothing was changed" in kept.run("restore", str(kept.folder), "--dry-run")
    assert len(kept.versions()) == 2
    assert "wants to be confirmed" in str(kept.refused("restore", str(kept.folder)))
    said = kept.run("restore", str(kept.folder), "--yes")
    assert "Secrets, object store and registry are restored" in said
    assert "Secret models/object-store is made" in said and "hush" not in said
    assert kept.versions() == before and kept.keys() == objects
    assert artifacts.get("1/run/metrics.txt") == b"loss 0.1"
    # tables still belong to the registry's own user
    owners = sql(
        replace(kept.postgres, database="mlflow"),
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'",
    )
    assert owners == "mlflow"
    events = (tmp_path / ".ai-how/lab/events.jsonl").read_text().splitlines()
    assert [json.loads(line)["verb"] for line in events] == ["backup", "backup", "restore", "restore"]
    # models and objects stay, and the Secrets are as kept: there is nothing to ask about
    assert "Secrets are restored" in kept.run("restore", str(kept.folder), "--only", "secrets")

    # what is damaged hinders no part that does without it
    first = next(one for one in BackupStore(kept.folder).manifest(made["id"]).objects)
    BackupStore(kept.folder).path(first.sha256).unlink()
    for part in ("secrets", "database"):
        said = kept.run("restore", str(kept.folder), "--only", part, "--dry-run")
        assert f"is sound in what is asked for: {part}" in said
        kept.run("restore", str(kept.folder), "--only", part, "--yes")
    for words in (("--only", "objects"), ()):
        refused = kept.refused("restore", str(kept.folder), *words, "--yes")
        assert f"{first.bucket}/{first.key}: missing" in refused.evidence


def test_what_does_not_fit_is_refused_before_anything_changes(kept: Kept) -> None:
    kept.run("create", str(kept.folder))
    # a cluster without models has Secrets all the same
    assert "wants to be confirmed" in str(kept.refused("restore", str(kept.folder), "--only", "secrets"))
    kept.lab.write("object_store: {bucket: others}")
    refused = kept.refused("restore", str(kept.folder), "--yes")
    assert "clusters.cloud.stack.object_store.bucket" in refused.brief and "bucket: weights" in refused.next_step
    kept.lab.write("object_store: {bucket: weights}")
    text = kept.lab.site_file.read_text()
    kept.lab.site_file.write_text(text + "pins: {mlflow: 3.5.1}\n")
    refused = kept.refused("restore", str(kept.folder), "--yes")
    assert "MLflow" in refused.brief and "pins: {mlflow:" in refused.next_step


def test_a_node_without_the_programs_is_told(kept: Kept) -> None:
    programs = kept.lab.folder / "programs"
    (programs / "etcdctl.sh").unlink()
    refused = kept.refused("create", str(kept.folder))
    assert "could not ask etcd for its size on cloud-control-plane-1" in refused.brief
    assert "etcdctl.sh: not found" in refused.evidence
    write_etcdctl(programs, '#!/bin/sh\n[ "$4" = save ] || echo \'[{"Status": {"dbSize": 1}}]\'\n')
    assert "could not take a snapshot" in kept.refused("create", str(kept.folder)).brief
    write_etcdctl(programs)
    other = [{"name": "postgres", "containerID": "containerd://gone"}]
    kept.lab.pod("mlflow-db", "postgresql", 1, labels=DATABASE, containers=other)
    refused = kept.refused("create", str(kept.folder))
    assert f"could not dump the database on {WORKER}" in refused.brief and "gone not found" in refused.evidence
    kept.lab.pod("mlflow-db", "postgresql", 1, labels=DATABASE, containers=other, ready="False")
    assert "the database does not run on cluster cloud" in kept.refused("create", str(kept.folder)).brief
    assert "there is no backup" in kept.refused("show", str(kept.folder)).brief


def test_an_external_database_is_dumped_from_here(kept: Kept) -> None:
    address = f"postgresql://mlflow@{kept.postgres.host}:{kept.postgres.port}/mlflow"
    kept.lab.write(
        "object_store: {bucket: weights}, "
        f"database: {{type: external, url: '{address}', password_secret: mine, ssl_mode: disable}}"
    )
    kept.lab.secret("mlops", "mine", {"password": "x"})
    (kept.lab.folder / "programs" / "crictl").unlink()
    made = kept.data("create", str(kept.folder))
    assert made["database"]["kind"] == "postgresql"
    kept.run("restore", str(kept.folder), "--yes")
