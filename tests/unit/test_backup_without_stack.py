"""Backups of clusters without a stack: what their lists say, which cluster is meant, and what cannot be put back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ai_how.backups.clusters_of_site import cluster_to_keep, name_of_backups
from ai_how.backups.etcd_restore import ETCD_ALONE
from ai_how.backups.manifest import KeptFile, Manifest, ModelVersion, database_of, manifest_text, parse_manifest
from ai_how.backups.store import BackupStore
from ai_how.backups.verify import WHOLE, Findings, inspect
from ai_how.errors import AiHowError, SpecError
from ai_how.site.spec import Site

from .test_backups import backup, run, store

__all__ = ["store"]


def bare_backup(store: BackupStore, name: str, *, site: str = "far-cloud") -> Manifest:
    """A whole backup of a cluster without a stack."""
    files = {"etcd/snapshot.db": b"bytes of etcd", "etcd/authority.pem": b"pem", "site-file.yaml": b"name: far"}
    manifest = Manifest(
        format=2,
        id=name,
        site=site,
        provider="libvirt",
        made_at="2026-01-01T00:00:00+00:00",
        made_by="ai-how",
        versions={},
        buckets=(),
        database=None,
        files=tuple(KeptFile(name=each, **store.put([content]).model_dump()) for each, content in files.items()),
        objects=(),
        models=(),
    )
    store.finish(manifest)
    return manifest


def test_a_list_is_of_the_format_that_it_says(store: BackupStore) -> None:
    with_stack = backup(store, "light-20260101t000000z")
    bare = bare_backup(store, "far-cloud-20260101t000000z")
    # what an earlier ai-how can read it still reads
    assert json.loads(manifest_text(with_stack))["backup"]["format"] == 1
    assert parse_manifest(manifest_text(bare), where="x") == bare
    wrong = (
        with_stack.model_copy(update={"database": None}),
        with_stack.model_copy(update={"format": 2}),
        bare.model_copy(update={"format": 1}),
        bare.model_copy(update={"models": (ModelVersion(name="a", version=1, uri="u", digest="d", size_bytes=1),)}),
    )
    for one in wrong:
        with pytest.raises(SpecError, match="damaged"):
            parse_manifest(manifest_text(one), where="x")
    with pytest.raises(SpecError, match="another version") as caught:
        parse_manifest(manifest_text(with_stack.model_copy(update={"format": 3})), where="x")
    assert "its format is 3, this one reads 1 and 2" in caught.value.evidence


def test_without_a_stack_a_backup_is_read_through_and_kept_like_any(store: BackupStore) -> None:
    bare = bare_backup(store, "far-cloud-20260101t000000z")
    other = backup(store, "light-20260101t000000z")
    assert inspect(store, bare) == Findings(damages=(), notes=())
    store.forget([other.id])
    assert inspect(store, bare).damages == () and bare.etcd_bytes == 13 and other.etcd_bytes == 0
    store.path(bare.files[0].sha256).unlink()
    for scope in (WHOLE, ETCD_ALONE):
        assert inspect(store, bare, scope=scope).damages == ("etcd/snapshot.db: missing",)
    with pytest.raises(SpecError, match="holds etcd alone") as caught:
        database_of(bare)
    assert f"{bare.id} --only etcd" in caught.value.next_step


@pytest.mark.parametrize(
    ("clusters", "said"),
    [
        ("{cloud: {kubernetes: {enabled: false}, stack: {enabled: false}}}", "no cluster of site far has Kubernetes"),
        ("{cloud: {stack: {enabled: false}}}", "Kubernetes is not set up on cluster cloud"),
    ],
)
def test_a_cluster_that_has_no_etcd_is_told(tmp_path: Path, clusters: str, said: str) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text(f"name: far\nprovider: libvirt\nclusters: {clusters}\n")
    assert said in run("create", str(tmp_path / "b"), "--site", str(file), code=1)
    assert not (tmp_path / "b").exists()


def test_a_stack_is_not_put_into_a_cluster_without_one(store: BackupStore, tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: far\nprovider: libvirt\nclusters: {cloud: {stack: {enabled: false}}}\n")
    made = backup(store, "far-20260101t000000z", site="far")
    said = run("restore", str(store.root), made.id, "--site", str(file), code=1)
    assert "does not fit this site: provider" in said
    store.finish(made.model_copy(update={"provider": "libvirt"}))
    for words in ((), ("--only", "secrets")):
        said = run("restore", str(store.root), made.id, "--yes", "--site", str(file), *words, code=1)
        assert "cluster cloud has no stack that backup far-20260101t000000z could be put into" in said
        assert f"{made.id} --only etcd" in said


def test_a_backup_without_a_stack_is_none_of_a_local_site(store: BackupStore, tmp_path: Path) -> None:
    file = tmp_path / "ai-how.yaml"
    file.write_text("name: far-cloud\n")
    bare_backup(store, "far-cloud-20260101t000000z")
    said = run("restore", str(store.root), "--yes", "--site", str(file), code=1)
    assert "the backup is of a site with another provider" in said


def site_of(stacks: dict[str, bool | None]) -> Site:
    """A site with clusters with a stack, without one, or (None) without Kubernetes."""
    subnets = {name: f"10.{number}.0.0/24" for number, name in enumerate(stacks, 1)}
    clusters = {
        name: {
            "subnet": subnets[name],
            "stack": {"enabled": bool(stack)},
            "kubernetes": {"enabled": stack is not None},
        }
        for name, stack in stacks.items()
    }
    return Site.model_validate({"name": "lab", "provider": "libvirt", "clusters": clusters})


@pytest.mark.parametrize(
    ("stacks", "asked", "meant"),
    [
        ({}, None, "cloud"),
        ({"a": True}, None, "a"),
        ({"a": False}, None, "a"),
        ({"a": False, "b": True}, None, "b"),
        ({"a": False, "b": True}, "a", "a"),
        ({"a": True, "b": True}, "b", "b"),
        ({"a": False, "b": None}, None, "a"),
    ],
)
def test_the_cluster_with_a_stack_is_meant_or_the_only_one(
    stacks: dict[str, bool | None], asked: str | None, meant: str
) -> None:
    assert cluster_to_keep(site_of(stacks), asked) == meant


@pytest.mark.parametrize(
    ("stacks", "asked", "said"),
    [
        ({"a": True, "b": True, "c": False}, None, "with a stack: a, b; without one: c"),
        ({"a": False, "b": False, "c": None}, None, "without one: a, b"),
        ({"a": None}, None, "no cluster of site lab has Kubernetes"),
        ({"a": True, "b": None}, "b", "cluster 'b' has no Kubernetes\nwith Kubernetes: a"),
        ({"b": None}, "b", "cluster 'b' has no Kubernetes\nno cluster has it"),
        ({"a": True}, "x", "site lab has no cluster 'x'\nthere is: a"),
    ],
)
def test_which_cluster_must_be_plain(stacks: dict[str, bool | None], asked: str | None, said: str) -> None:
    with pytest.raises(AiHowError) as caught:
        cluster_to_keep(site_of(stacks), asked)
    assert said in f"{caught.value.brief}\n{caught.value.evidence}"


def test_backups_of_a_cluster_keep_their_name_and_share_none() -> None:
    one, both, none = ({"a": True, "b": False}, {"a": True, "b": True}, {"a": False, "b": False})
    assert [name_of_backups(site_of(one), each) for each in one] == ["lab", "lab-b"]
    assert [name_of_backups(site_of(both), each) for each in both] == ["lab-a", "lab-b"]
    assert [name_of_backups(site_of(none), each) for each in none] == ["lab-a", "lab-b"]
    # whatever other clusters the site file gets
    assert name_of_backups(site_of({"b": False}), "b") == "lab-b"
