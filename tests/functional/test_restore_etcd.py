"""A snapshot of etcd back onto three control planes: real etcd and etcdctl, real SSH, a network of the test's own.

``systemctl``, ``crictl`` and ``journalctl`` are scripts: each server's etcd is a process in its namespaces.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ai_how.backups.manifest import Dump, KeptFile, Manifest
from ai_how.backups.on_nodes import save_etcd
from ai_how.backups.store import BackupStore
from ai_how.cli.app import root
from ai_how.errors import AiHowError
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.run.ssh import SshTarget
from ai_how.site.load import load_site

from .api_endpoint import Endpoint
from .api_server import stand_in
from .kubespray_stand_in import LoopbackProvider
from .servers import FakeFleet, FakeServer, fake_fleet
from .waiting import wait_for

pytestmark = pytest.mark.slow
MEMBERS = tuple(f"cloud-control-plane-{number}" for number in (1, 2, 3))
WORKER = "cloud-cpu-worker-1"
SITE = """name: lab
provider: libvirt
clusters:
  cloud:
    nodes: [{role: control-plane, count: 3}, {role: cpu-worker}]
"""
BACKUP = "lab-20261126t010203z"
PROGRAMS = {
    "systemctl": """
echo "$*" >>/var/lib/systemctl.log
pid=$(cat /var/lib/etcd.pid 2>/dev/null) || pid=
case "$*" in
"start --no-block etcd")
    [ ! -e /var/lib/broken ] || exit 0
    [ -z "$pid" ] || exit 0
    set -a; . /etc/etcd.env; set +a
    setsid etcd >>/var/lib/etcd.log 2>&1 </dev/null &
    echo $! >/var/lib/etcd.pid ;;
"stop etcd")
    [ -n "$pid" ] || exit 0
    kill "$pid" || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm /var/lib/etcd.pid ;;
esac
""",
    "crictl": "[ ! -e /etc/kubernetes/manifests/kube-apiserver.yaml ] || [ -e /var/lib/quick ] || echo abc123\n",
    "journalctl": "tail -n 8 /var/lib/etcd.log\n",
    "etcdctl.sh": 'ETCDCTL_API=3 exec etcdctl $(echo "$@" | sed s/https/http/g)\n',
    # as that of etcd 3.6, which Debian does not have
    "etcdutl": """
case "$*" in *--help*) echo "  --bump-revision uint"; exit 0 ;; esac
case "$*" in *"--bump-revision 1000000000 --mark-compacted"*) ;; *) exit 64 ;; esac
echo "$*" >>/var/lib/etcdutl.log
ETCDCTL_API=3 exec etcdctl $(echo "$@" | sed 's/--bump-revision [0-9]* --mark-compacted//')
""",
}


@dataclass
class FleetProvider(LoopbackProvider):
    """A site whose machines are the fleet's servers."""

    reached: dict[str, SshTarget] = field(default_factory=dict)

    def clusters(self) -> tuple[ClusterMachines, ...]:
        there = frozenset(self.reached)
        return (ClusterMachines(cluster="cloud", nodes=tuple(self._nodes()), there=there, off=frozenset(self.off)),)

    @property
    def off(self) -> set[str]:
        return set(self.reached) - self.machines

    def _nodes(self) -> list[ClusterNode]:
        return [
            ClusterNode(
                name=name,
                role="cpu-worker" if name == WORKER else "control-plane",
                address=target.host,
                access=target,
                memory_gib=4,
            )
            for name, target in self.reached.items()
        ]


@dataclass
class Lab:
    """Three members with data, a worker, and a backup of an earlier state."""

    folder: Path
    fleet: FakeFleet
    provider: FleetProvider
    store: BackupStore
    authority: str

    def server(self, name: str) -> FakeServer:
        return self.fleet.servers[name]

    def lib(self, name: str) -> Path:
        return self.server(name).folder / "lib"

    def etcd(self, *words: str, at: str = MEMBERS[0]) -> str:
        url = f"http://{self.server(at).address}:2379"
        done = subprocess.run(
            ["etcdctl", "--endpoints", url, "--command-timeout", "3s", *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def value(self, *, at: str = MEMBERS[0]) -> str:
        return self.etcd("get", "/registry/x", "--print-value-only", at=at)

    def keep(self, *, authority: str = "", files: tuple[str, ...] = ("snapshot", "authority")) -> None:
        """A backup of what etcd has now."""
        self.store.begin()
        save_etcd(self.provider._nodes()[0], self.folder / "snapshot.db")
        content = {
            "snapshot": ("etcd/snapshot.db", (self.folder / "snapshot.db").read_bytes()),
            "authority": ("etcd/authority.pem", (authority or self.authority).encode()),
        }
        kept = [KeptFile(name=content[each][0], **vars(self.store.put([content[each][1]]))) for each in files]
        with contextlib.closing(sqlite3.connect(self.folder / "registry.db")) as made:
            made.execute("CREATE TABLE IF NOT EXISTS model_versions (name TEXT)")
        database = self.store.put([(self.folder / "registry.db").read_bytes()])
        self.store.finish(
            Manifest(
                id=BACKUP,
                site="lab",
                provider="libvirt",
                made_at="2026-11-26T01:02:03+00:00",
                made_by="ai-how",
                versions={},
                buckets=("models", "models-mlflow"),
                database=Dump(kind="sqlite", **vars(database)),
                files=tuple(kept),
                objects=(),
                models=(),
            )
        )

    def backup(self, verb: str, *words: str) -> Result:
        return CliRunner().invoke(root, ["backup", verb, str(self.store.root), *words])

    def restore(self, *words: str) -> Result:
        return self.backup("restore", "--only", "etcd", *words)

    def refused(self, *words: str) -> AiHowError:
        error = self.restore(*words).exception
        assert isinstance(error, AiHowError), error
        return error

    def folders(self, name: str) -> list[str]:
        """The data directories on a member."""
        return sorted(path.name for path in self.lib(name).glob("etcd*") if path.is_dir())

    def manifests(self, name: str) -> list[str]:
        return sorted(path.name for path in (self.server(name).folder / "etc/kubernetes/manifests").iterdir())

    def on(self, name: str, command: str) -> None:
        """Run something on a server, whose /etc only it may change."""
        subprocess.run(_ssh(self.provider.reached[name], command), check=True)

    def begin(self) -> None:
        """As after ``up``, without a backup."""
        shutil.rmtree(self.store.root, ignore_errors=True)
        self.provider.machines.update(self.provider.reached)
        for name in self.provider.reached:
            for left in (*self.lib(name).glob("etcd.before-*"), *self.lib(name).glob("*.log")):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        wait_for(lambda: self.etcd("put", "/registry/x", "before") == "OK", timeout_s=60)

    def end(self) -> None:
        for name in MEMBERS:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.lib(name) / "etcd.pid").read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if shutil.which("etcd") is None or shutil.which("etcdctl") is None:
        pytest.skip("needs etcd and etcdctl (Debian: etcd-server, etcd-client)")
    folder = tmp_path_factory.mktemp("etcd")
    programs = folder / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    with fake_fleet(folder, path=str(programs)) as fleet, stand_in(folder) as (endpoint, _):
        made = _lab(folder, fleet, endpoint)
        try:
            yield made
        finally:
            made.end()


@pytest.fixture
def lab(running: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(running.folder)
    monkeypatch.delenv("AI_HOW_SITE", raising=False)
    monkeypatch.setattr("ai_how.cli.open_site.provider_of", lambda *_, **__: running.provider)
    running.begin()
    return running


def _lab(folder: Path, fleet: FakeFleet, endpoint: Endpoint) -> Lab:
    targets = {}
    for name in (*MEMBERS, WORKER):
        server = fleet.add(name)
        public = " ".join((server.folder / "host.pub").read_text().split()[:2])
        with (folder / "known_hosts").open("a") as known:
            known.write(f"{server.address} {public}\n")
        targets[name] = SshTarget(
            host=server.address, user="root", key_file=fleet.key_file, known_hosts=folder / "known_hosts"
        )
    peers = ",".join(f"etcd-{name}=http://{fleet.servers[name].address}:2380" for name in MEMBERS)
    for name in MEMBERS:
        _write_settings(fleet.servers[name], f"etcd-{name}", peers)
    (folder / "ai-how.yaml").write_text(SITE)
    first = next(iter(targets.values()))
    provider = FleetProvider(
        load_site(folder / "ai-how.yaml"), folder / "ai-how.yaml", first, set(targets), reached=targets
    )
    setup = provider.kubernetes.setups(provider.clusters())["cloud"]
    provider.state.record("kubernetes/cloud", setup.state.to_settings())
    kubeconfig = provider.kubernetes.kubeconfig("cloud")
    kubeconfig.path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(endpoint.kubeconfig(kubeconfig.context), kubeconfig.path)
    made = Lab(folder, fleet, provider, BackupStore(folder / "backups"), kubeconfig.read().authority_pem)
    for name in MEMBERS:
        made.on(name, "systemctl start --no-block etcd")
    return made


def _ssh(target: SshTarget, command: str) -> list[str]:
    return [*target.argv(), "--", command]


def _write_settings(server: FakeServer, name: str, peers: str) -> None:
    """As Kubespray's etcd.env, without TLS."""
    client, peer = f"http://{server.address}:2379", f"http://{server.address}:2380"
    settings = {
        "ETCD_DATA_DIR": "/var/lib/etcd",
        "ETCD_ADVERTISE_CLIENT_URLS": client,
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
        "ETCD_INITIAL_CLUSTER_STATE": "new",
        "ETCD_LISTEN_CLIENT_URLS": f"{client},http://127.0.0.1:2379",
        "ETCD_INITIAL_CLUSTER_TOKEN": "k8s_etcd",
        "ETCD_LISTEN_PEER_URLS": peer,
        "ETCD_NAME": name,
        "ETCD_INITIAL_CLUSTER": peers,
        "ETCD_UNSAFE_NO_FSYNC": "true",
    }
    subprocess.run(["mkdir", "-p", server.folder / "etc/kubernetes/manifests"], check=True)
    text = "# Environment file for etcd\n" + "".join(f"{key}={value}\n" for key, value in settings.items())
    (server.folder / "etc/etcd.env").write_text(text)
    for part in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-vip"):
        (server.folder / f"etc/kubernetes/manifests/{part}.yaml").write_text("kind: Pod\n")


def test_all_members_get_the_snapshot_and_the_old_data_is_kept_aside(lab: Lab) -> None:
    lab.keep()
    lab.etcd("put", "/registry/x", "after")
    lab.etcd("put", "/registry/later", "more")

    planned = lab.restore("--dry-run").output
    for name in MEMBERS:
        assert name in planned
    assert "2026-11-26 01:02 UTC is lost" in planned and "nothing was changed" in planned
    assert lab.value() == "after" and lab.folders(MEMBERS[0]) == ["etcd"]
    assert "wants to be confirmed" in str(lab.refused())
    # of an earlier restore
    (lab.lib(MEMBERS[2]) / f"etcd.before-{BACKUP}").mkdir()

    done = lab.restore("--yes")
    assert done.exit_code == 0, (done.output, vars(done.exception or Exception()))
    assert "etcd of cluster cloud is restored" in done.output
    for name in MEMBERS:
        assert lab.value(at=name) == "before" and lab.etcd("get", "/registry/later", at=name) == ""
        more = [f"etcd.before-{BACKUP}.2"] if name == MEMBERS[2] else []
        assert lab.folders(name) == ["etcd", f"etcd.before-{BACKUP}", *more]
        assert f"{name}: /var/lib/etcd.before-{BACKUP}" in done.output
        assert len(lab.manifests(name)) == 4
        assert "restart kubelet" in (lab.lib(name) / "systemctl.log").read_text()
        assert (lab.lib(name) / "etcdutl.log").exists()
        assert (lab.lib(name) / "etcd").stat().st_mode & 0o777 == 0o700
    assert (lab.lib(WORKER) / "systemctl.log").read_text() == "restart kubelet\n"
    # the cluster takes writes
    assert lab.etcd("put", "/registry/x", "again") == "OK"


def test_of_a_cluster_without_a_stack_etcd_is_kept_and_put_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lab.folder / "bare.yaml"
    file.write_text(SITE.replace("  cloud:\n", "  cloud:\n    stack: {enabled: false}\n"))
    given = lab.provider
    bare = FleetProvider(load_site(file), file, given.target, given.machines, reached=given.reached)
    monkeypatch.setattr("ai_how.cli.open_site.provider_of", lambda *_, **__: bare)
    size = json.loads(lab.backup("create", "--dry-run", "-o", "json").stdout)["snapshot_bytes"]
    assert size > 0
    assert "etcd alone" in lab.backup("create").output
    (name,) = lab.store.ids("lab-cloud")
    kept = lab.store.manifest(name)
    assert kept.etcd_bytes >= size and "is sound: etcd alone" in lab.backup("verify").output
    lab.etcd("put", "/registry/x", "after")

    refused = lab.backup("restore", "--yes").exception
    assert isinstance(refused, AiHowError) and f"{name} --only etcd" in refused.next_step
    assert lab.value() == "after"
    assert "etcd of cluster cloud is restored" in lab.restore("--yes").output
    for member in MEMBERS:
        assert lab.value(at=member) == "before" and lab.folders(member) == ["etcd", f"etcd.before-{name}"]

    # the cluster has a stack in its site file since: the same authority, so the snapshot still fits
    monkeypatch.setattr("ai_how.cli.open_site.provider_of", lambda *_, **__: given)
    lab.etcd("put", "/registry/x", "later")
    done = lab.restore(name, "--yes")
    assert done.exit_code == 0, (done.output, vars(done.exception or Exception()))
    assert lab.value() == "before"


def test_where_the_new_data_does_not_come_up_the_old_comes_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.keep()
    lab.etcd("put", "/registry/x", "after")
    times = "ai_how.backups.etcd_restore.EtcdTimes"
    monkeypatch.setattr(f"{times}.__init__.__kwdefaults__", {"etcd_s": 8, "api_s": 60})
    # one member never starts; when it is told to start with the old data it does
    (lab.lib(MEMBERS[1]) / "broken").touch()
    undo = lab.folder / "programs" / "mv"
    undo.write_text(
        f'#!/bin/sh\ncase $1 in */failed|*/old) rm -f /var/lib/broken ;; esac\nexec {shutil.which("mv")} "$@"\n'
    )
    undo.chmod(0o755)
    refused = lab.refused("--yes")
    undo.unlink()
    assert "the cluster has its old data again" in refused.brief
    assert "is not well after 8 s" in refused.evidence
    for name in MEMBERS:
        assert lab.value(at=name) == "after" and lab.folders(name) == ["etcd"] and len(lab.manifests(name)) == 4


def test_a_restore_that_was_broken_off_goes_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.keep()
    lab.etcd("put", "/registry/x", "after")
    from ai_how.backups import etcd_restore

    calls = 0
    real = etcd_restore.do_step

    def breaks(node: ClusterNode, step: str, *more: str, **named: object) -> str:
        nonlocal calls
        calls += step == "swap"
        if step == "swap" and calls == 2:
            raise KeyboardInterrupt
        return real(node, step, *more, **named)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setattr(etcd_restore, "do_step", breaks)
    assert "same command again" in lab.refused("--yes").next_step
    monkeypatch.setattr(etcd_restore, "do_step", real)
    assert lab.value() == "" and len(lab.manifests(MEMBERS[0])) == 1
    assert "was broken off: what is done stays" in lab.restore("--dry-run").output
    assert lab.restore("--yes").exit_code == 0
    for name in MEMBERS:
        assert lab.value(at=name) == "before" and lab.folders(name) == ["etcd", f"etcd.before-{BACKUP}"]


def test_what_does_not_fit_is_refused_before_anything_stops(lab: Lab) -> None:
    lab.keep(authority="another")
    assert "is of another cluster" in lab.refused("--yes").brief
    lab.keep(files=("authority",))
    assert "has no snapshot of etcd" in lab.refused("--yes").brief
    lab.keep(files=("snapshot",))
    assert "does not say of which cluster" in lab.restore("--dry-run").output

    lab.on(MEMBERS[1], f"sed -i.kept s/etcd-{MEMBERS[2]}=/other=/ /etc/etcd.env")
    refused = lab.refused("--yes")
    assert f"not the control planes of the site file: {MEMBERS[1]}" in refused.brief and "other" in refused.evidence
    lab.on(MEMBERS[1], "rm /etc/etcd.env")
    assert "/etc/etcd.env is not there" in lab.refused("--yes").evidence
    lab.on(MEMBERS[1], "mv /etc/etcd.env.kept /etc/etcd.env")

    (lab.lib(MEMBERS[2]) / "etcd.ai-how-lab-20250101t000000z").mkdir()
    refused = lab.refused("--yes")
    assert "was broken off" in refused.brief and "lab-20250101t000000z --only etcd" in refused.next_step
    (lab.lib(MEMBERS[2]) / "etcd.ai-how-lab-20250101t000000z").rmdir()

    lab.provider.machines.discard(MEMBERS[0])
    assert f"{MEMBERS[0]} is off" in lab.refused("--yes").brief
    assert "etcd is put back alone" in lab.refused("--yes", "--only", "secrets").brief
    assert lab.value() == "before" and all(lab.folders(name) == ["etcd"] for name in MEMBERS)


def test_a_snapshot_that_is_damaged_on_its_way_changes_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.keep()
    monkeypatch.setattr("ai_how.backups.verify.verify", lambda *_, **__: ())
    kept = next(one for one in lab.store.manifest(BACKUP).files if one.name == "etcd/snapshot.db")
    lab.store.path(kept.sha256).write_bytes(b"damaged")
    assert hashlib.sha256(b"damaged").hexdigest() != kept.sha256
    refused = lab.refused("--yes")
    assert "could not restore the snapshot of etcd" in refused.brief
    assert lab.value() == "before" and len(lab.manifests(MEMBERS[0])) == 4
