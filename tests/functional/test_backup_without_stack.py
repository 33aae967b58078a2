"""Backups of clusters without a stack: nodes by real SSH, ``etcdctl.sh`` is a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.backups.manifest import KeptFile
from ai_how.backups.store import BackupStore
from ai_how.capacity.demand import all_needs
from ai_how.cli.app import root
from ai_how.errors import AiHowError
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.site.load import load_site

from .etcd_program import SIZE_BYTES, SNAPSHOT, write_etcdctl
from .kubespray_stand_in import LoopbackProvider
from .running_stack import CONTROL, StackOnLoopback, stack_on_loopback

pytestmark = pytest.mark.slow
BESIDE = """  edge:
    stack: {enabled: false}
    subnet: 10.9.0.0/24
    nodes: [{role: control-plane}, {role: cpu-worker}]
"""
ETCD_ENV = "/etc/etcd.env is not there"


class EachCluster(LoopbackProvider):
    """Of several clusters each has its own machines, all on."""

    def clusters(self) -> tuple[ClusterMachines, ...]:
        found: dict[str, list[ClusterNode]] = {}
        by_name = {node.name: node for node in self._nodes()}
        for need in all_needs(self.site):
            found.setdefault(need.cluster, []).append(by_name[need.name])
        return tuple(
            ClusterMachines(cluster=name, nodes=tuple(nodes), there=frozenset(node.name for node in nodes))
            for name, nodes in found.items()
        )

    def set_up(self) -> None:
        """As after the playbooks for every cluster."""
        for name, setup in self.kubernetes.setups(self.clusters()).items():
            self.state.record(f"kubernetes/{name}", setup.state.to_settings())
            self.kubernetes.kubeconfig(name).fetch(setup.first_control_plane)


@dataclass
class Bare:
    """A cluster whose site file wants no stack."""

    lab: StackOnLoopback
    machines: set[str]

    @property
    def folder(self) -> Path:
        return self.lab.folder / "backups"

    def provider(self, *_words: object, **_options: object) -> LoopbackProvider:
        return EachCluster(load_site(self.lab.site_file), self.lab.site_file, self.lab.target, self.machines)

    def call(self, verb: str, *words: str) -> Result:
        return CliRunner().invoke(root, ["backup", verb, str(self.folder), *words])

    def run(self, verb: str, *words: str) -> str:
        result = self.call(verb, *words)
        assert result.exit_code == 0, (result.output, vars(result.exception or Exception()))
        return result.output

    def data(self, verb: str, *words: str) -> Any:
        return json.loads(self.run(verb, *words, "-o", "json"))

    def refused(self, verb: str, *words: str) -> AiHowError:
        error = self.call(verb, *words).exception
        assert isinstance(error, AiHowError), error
        return error

    def ids(self, site: str) -> list[str]:
        return BackupStore(self.folder).ids(site)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bare]:
    with stack_on_loopback(tmp_path) as lab:
        write_etcdctl(tmp_path / "programs")
        lab.write("enabled: false")
        made = Bare(lab, {CONTROL})
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("AI_HOW_SITE", raising=False)
        monkeypatch.setattr("ai_how.cli.open_site.provider_of", made.provider)
        yield made


def test_etcd_is_kept_and_every_command_says_that_it_is_alone(bare: Bare) -> None:
    # where the API server does not answer too
    bare.lab.server.shutdown()
    said = bare.run("create", "--dry-run")
    assert "a snapshot of etcd would be taken: 20.0 MiB; the cluster has no stack" in said and "objects" not in said
    survey = bare.data("create", "--dry-run")
    assert (survey["snapshot_bytes"], survey["buckets"], survey["fits"]) == (SIZE_BYTES, [], True)
    assert not bare.folder.exists()

    said = bare.run("create")
    (name,) = bare.ids("lab-cloud")
    assert f"backup {name} is made: etcd alone" in said and "objects" not in said
    manifest = BackupStore(bare.folder).manifest(name)
    assert [file.name for file in manifest.files] == [
        "etcd/snapshot.db",
        "etcd/authority.pem",
        "state.json",
        "site-file.yaml",
    ]
    assert bare.call("show", "--file", "etcd/snapshot.db").stdout_bytes == SNAPSHOT
    assert bare.run("show", "--site-file") == bare.lab.site_file.read_text()
    assert "BEGIN CERTIFICATE" in bare.run("show", "--file", "etcd/authority.pem")

    shown = bare.run("show")
    assert "a snapshot, 14 B; the cluster had no stack" in shown
    listed = bare.run("list")
    assert "etcd alone" in listed
    for text in (shown, listed.splitlines()[1]):
        assert "model" not in text and "object" not in text and "database" not in text
    (found,) = bare.data("list")
    assert (found["database"], found["models"], found["etcd_bytes"], found["format"]) == (None, [], len(SNAPSHOT), 2)
    assert found["versions"].keys() >= {"ai-how", "kubernetes"}
    assert f"backup {name} is sound: etcd alone" in bare.run("verify")

    made = bare.data("create", "--keep", "1", "--full")
    assert (made["copied_objects"], made["removed"]) == (0, [name])
    assert bare.ids("lab-cloud") == [made["id"]]
    events = (bare.lab.folder / ".ai-how/lab/events.jsonl").read_text().splitlines()
    assert [json.loads(line)["verb"] for line in events] == ["backup", "backup"]

    store = BackupStore(bare.folder)
    store.path(store.manifest(made["id"]).files[0].sha256).write_bytes(b"damaged")
    assert "etcd/snapshot.db: 7 bytes instead of 14" in bare.refused("verify").evidence
    bare.run("delete", made["id"], "--yes")
    assert bare.data("list") == []


def test_only_etcd_is_put_back(bare: Bare) -> None:
    bare.run("create")
    (name,) = bare.ids("lab-cloud")
    for words in ((), (name,), ("--dry-run",), ("--only", "secrets"), ("--only", "objects", "--only", "database")):
        refused = bare.refused("restore", *words, "--yes")
        assert f"backup {name} holds etcd alone" in refused.brief
        assert f"{name} --only etcd" in refused.next_step
    # the node has no etcd that could be restored: it was asked, and the cluster's authority is that of the backup
    assert ETCD_ENV in bare.refused("restore", "--only", "etcd", "--yes").evidence

    # the same cluster has got a stack since: its backups have another name
    bare.lab.write()
    assert "there is no backup of site lab " in bare.refused("restore").brief
    assert "holds etcd alone" in bare.refused("restore", name, "--yes").brief
    assert ETCD_ENV in bare.refused("restore", name, "--only", "etcd", "--yes").evidence

    # of one that was made anew there is no other part to put back
    store = BackupStore(bare.folder)
    authority = KeptFile(name="etcd/authority.pem", **store.put([b"another"]).model_dump())
    kept = store.manifest(name)
    files = (kept.files[0], authority, *kept.files[2:])
    store.finish(kept.model_copy(update={"id": "lab-cloud-20270101t000000z", "files": files}))
    refused = bare.refused("restore", "lab-cloud-20270101t000000z", "--only", "etcd", "--yes")
    assert "is of another cluster" in refused.brief and "--cluster" in refused.next_step


def test_a_cluster_that_cannot_be_kept_is_told_before_a_folder_is_made(bare: Bare) -> None:
    programs = bare.lab.folder / "programs"
    write_etcdctl(programs, "#!/bin/sh\necho nonsense\n")
    refused = bare.refused("create")
    assert f"etcd on {CONTROL} does not say its size" in refused.brief and refused.evidence == "nonsense"
    write_etcdctl(programs, "#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")
    refused = bare.refused("create")
    assert f"could not ask etcd for its size on {CONTROL}" in refused.brief
    assert "connection refused" in refused.evidence
    bare.provider().state.record("kubernetes/cloud", None)
    assert "Kubernetes is not set up on cluster cloud" in bare.refused("create").brief
    assert not bare.folder.exists()


def test_a_snapshot_that_has_no_room_is_not_taken(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BackupStore, "free_bytes", lambda _: SIZE_BYTES)
    assert "not enough" in bare.run("create", "--dry-run")
    refused = bare.refused("create")
    assert "not enough room" in refused.brief and "84 MiB are needed, 20 MiB are free" in refused.evidence
    assert not [*bare.folder.glob("objects/*/*")]


def test_beside_a_cluster_with_a_stack_the_other_is_named(bare: Bare) -> None:
    bare.lab.site_file.write_text(bare.lab.site_file.read_text().replace("{enabled: false}", "{}") + BESIDE)
    provider = bare.provider()
    assert isinstance(provider, EachCluster)
    provider.set_up()
    # without a name the one with a stack is meant, whose API server is asked
    assert "on cluster cloud" in bare.refused("create").brief
    assert bare.data("create", "--cluster", "edge")["site"] == "lab-edge"
    (name,) = bare.ids("lab-edge")
    assert "there is no backup of site lab " in bare.refused("restore", "--yes").brief
    refused = bare.refused("restore", "--cluster", "edge", "--yes")
    assert "holds etcd alone" in refused.brief
    assert f"ai-how backup restore {bare.folder} {name} --only etcd --cluster edge" in refused.next_step
    asked = bare.refused("restore", "--cluster", "edge", "--only", "etcd")
    assert ETCD_ENV in asked.evidence

    # none has a stack now
    bare.lab.site_file.write_text(bare.lab.site_file.read_text().replace("stack: {}", "stack: {enabled: false}"))
    for verb in ("create", "restore"):
        refused = bare.refused(verb)
        assert "several clusters: say which" in refused.brief and "cloud, edge" in refused.evidence
    assert bare.data("create", "--cluster", "cloud")["site"] == "lab-cloud"
    assert bare.ids("lab-edge") == [name]
