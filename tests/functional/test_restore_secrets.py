"""Secrets of a backup back into a cluster: on the API server's stand-in, and on a real one where there is one.

Controllers are played: pods that are deleted come back, and a certificate's Secret is made again.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_how.apply.site_folder import SiteFolder
from ai_how.backups.cluster import ClusterSource
from ai_how.backups.cluster_restore import SECRETS, restore, secrets_plan
from ai_how.backups.cluster_secrets import Way, write_secrets
from ai_how.backups.manifest import Dump, KeptFile, Manifest
from ai_how.backups.store import BackupStore
from ai_how.errors import AiHowError, NotFoundError, SpecError
from ai_how.kubernetes.cluster_of_site import ClusterMachines
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.generated import make_secret
from ai_how.kubernetes_api.marks import Mark
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.waiting import wait_until_served
from ai_how.models.types import ObjectStoreAccess, SecretText, Stores
from ai_how.site.load import check_site_text
from ai_how.stack.stack import render_parts
from ai_how.stack_access.running import RunningStack
from tests.stacks import HEAD, VARIANTS, setting

from .api_endpoint import MERGE, Endpoint
from .api_server import stand_in
from .definitions import definitions
from .real_api_server import real_api_server
from .waiting import wait_for

CA, LEAF = ("cert-manager", "ai-how-ca"), ("gateway", "gateway-tls")
WORKLOADS = {
    ("StatefulSet", "mlops", "object-store"): "object-store",
    ("Deployment", "mlops", "mlflow"): "object-store",
    ("Deployment", "models", "smollm2-predictor"): "ai-how-api-keys",
    ("Deployment", "monitoring", "other"): "",
}


@pytest.fixture(scope="module", params=["stand-in", "real"])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("api")
    with contextlib.ExitStack() as stack:
        if request.param == "real":
            found = stack.enter_context(real_api_server(folder))
        else:
            found, _ = stack.enter_context(stand_in(folder))
        client = found.client()
        for definition in definitions():
            if definition["spec"]["names"]["kind"] == "Certificate":
                client.create(definition)
                wait_until_served(client, "cert-manager.io/v1", "Certificate", timeout_s=60)
        for space in ("mlops", "models", "gateway", "cert-manager", "monitoring"):
            client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        yield found


@dataclass
class Cluster:
    """A cluster whose Secrets a test makes, keeps and loses."""

    client: Client
    stack: RunningStack
    store: BackupStore

    def up(self) -> None:
        """Make the Secrets that are missing, as ``up`` and cert-manager do."""
        for part in render_parts(self.stack.setting):
            for one in part.component.secrets:
                make_secret(
                    self.client,
                    one.name,
                    namespaces=[one.namespace, *one.also_in],
                    random=one.random,
                    texts=one.texts,
                    mark=Mark(site="lab", component=part.name),
                    type_name=one.type,
                )
        sign(self.client)

    def keep(self) -> Manifest:
        """A backup of the Secrets alone."""
        access = ObjectStoreAccess(
            endpoint_url="http://none", region="x", bucket="models", access_key="", secret_key=SecretText("")
        )
        stores = Stores(access=access, registry_url="", cache_dir=self.store.root)
        source = ClusterSource(self.stack, stores, SiteFolder(root=self.store.root), self.store.root / "none")
        return self.manifest(dict(source.secrets()))

    def manifest(self, files: dict[str, bytes]) -> Manifest:
        blobs = {name: self.store.put([content]) for name, content in files.items()}
        return Manifest(
            id="lab-20261126t010203z",
            site="lab",
            provider="libvirt",
            made_at="2026-11-26T01:02:03+00:00",
            made_by="ai-how",
            versions={},
            buckets=("models", "models-mlflow"),
            database=Dump(kind="postgresql", sha256="0" * 64, size_bytes=0),
            files=tuple(KeptFile(name=name, **vars(blob)) for name, blob in blobs.items()),
            objects=(),
            models=(),
        )

    def values(self) -> dict[str, dict[str, str]]:
        spaces = ("mlops", "models", "cert-manager", "monitoring")
        found = [one for space in spaces for one in self.client.list_objects("v1", "Secret", space).items]
        return {f"{one['metadata']['namespace']}/{one['metadata']['name']}": one["data"] for one in found}

    def lose(self) -> None:
        for space in ("mlops", "models", "cert-manager", "gateway", "monitoring"):
            for one in self.client.list_objects("v1", "Secret", space).items:
                self.client.delete(secret(space, one["metadata"]["name"]))

    def pods(self) -> dict[str, str]:
        found = [one for space in ("mlops", "models", "monitoring") for one in self._pods(space)]
        return {one["metadata"]["name"]: one["metadata"]["uid"] for one in found}

    def _pods(self, space: str) -> list[dict[str, Any]]:
        return self.client.list_objects("v1", "Pod", space).items

    def restore(self, manifest: Manifest) -> list[str]:
        """Restore, and wait until every workload has its pod again: nothing here says how well they are."""
        said: list[str] = []
        never = contextlib.nullcontext
        restore(self.stack, manifest, self.store, open_source=never, parts=[SECRETS], say=said.append)  # type: ignore[arg-type]  # not opened for Secrets
        wait_for(lambda: len(self.pods()) == len(WORKLOADS))
        return said


def secret(space: str, name: str) -> Ref:
    return Ref(api_version="v1", kind="Secret", namespace=space, name=name)


def sign(client: Client) -> None:
    """What cert-manager does: an authority where there is none, and a certificate by it where there is none."""
    if client.get(secret(*CA)) is None:
        _issued(client, CA, {"tls.crt": _random("crt"), "tls.key": _random("key")})
    if client.get(secret(*LEAF)) is None:
        authority = (client.get(secret(*CA)) or {})["data"]["tls.crt"]
        _issued(client, LEAF, {"tls.crt": _random("leaf"), "tls.key": _random("leafkey"), "ca.crt": authority})


_numbers = itertools.count()


def _random(what: str) -> str:
    return base64.b64encode(f"{what}-{next(_numbers)}".encode()).decode()


def _issued(client: Client, place: tuple[str, str], data: dict[str, str]) -> None:
    annotations = {"cert-manager.io/certificate-name": place[1]}
    metadata = {"name": place[1], "namespace": place[0], "annotations": annotations}
    client.create(
        {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    )


def make_workloads(client: Client) -> None:
    for (kind, space, name), used in WORKLOADS.items():
        env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": used, "key": "default"}}}] if used else []
        container = {"name": "server", "image": "x:1", "env": env}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
        more = {"serviceName": name} if kind == "StatefulSet" else {}
        metadata = {"name": name, "namespace": space}
        client.create({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {**spec, **more}})
        set_well(client, kind, space, name)
    certificate = {"secretName": LEAF[1], "issuerRef": {"name": "ai-how", "kind": "ClusterIssuer"}, "dnsNames": ["x"]}
    metadata = {"name": LEAF[1], "namespace": LEAF[0]}
    client.create(
        {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": metadata, "spec": certificate}
    )
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    _status(client, "cert-manager.io/v1", "Certificate", *LEAF, {"conditions": [ready]})


def set_well(client: Client, kind: str, space: str, name: str) -> None:
    counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
    _status(client, "apps/v1", kind, space, name, {"observedGeneration": 1, **dict.fromkeys(counts, 1)})


def _status(client: Client, api_version: str, kind: str, space: str, name: str, status: dict[str, Any]) -> None:
    path = client.kinds.find(api_version, kind).path(space, name) + "/status"
    client.connection.ask("PATCH", path, what="be well", body={"status": status}, content_type=MERGE)


def make_pods(client: Client) -> None:
    """What controllers do: each workload has a pod."""
    for (kind, space, name), _ in WORKLOADS.items():
        owner = client.get(Ref(api_version="apps/v1", kind=kind, namespace=space, name=name)) or {}
        if client.list_objects("v1", "Pod", space, labels=f"app={name}").items:
            continue
        template = owner["spec"]["template"]
        reference = {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": owner["metadata"]["uid"]}
        metadata = {
            "name": f"{name}-{next(_numbers)}",
            "namespace": space,
            "labels": {"app": name},
            "ownerReferences": [{**reference, "controller": True}],
        }
        client.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})


@contextlib.contextmanager
def controllers(endpoint: Endpoint) -> Iterator[None]:
    """They act until the block ends."""
    client, ended = endpoint.client("actor"), threading.Event()

    def act() -> None:
        while not ended.wait(0.1):
            with contextlib.suppress(AiHowError):
                make_pods(client)
                sign(client)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=10)
        client.close()


@pytest.fixture
def cluster(endpoint: Endpoint, tmp_path: Path) -> Iterator[Cluster]:
    client = endpoint.client()
    site, mistakes = check_site_text(HEAD + VARIANTS["document"], Path("ai-how.yaml"))
    assert site is not None, mistakes
    machines = ClusterMachines(cluster="cloud", nodes=(), there=frozenset())
    stack = RunningStack(site=site, setting=setting(), machines=machines, api=client, folder=SiteFolder(root=tmp_path))
    store = BackupStore(tmp_path / "backups")
    store.begin()
    made = Cluster(client, stack, store)
    made.up()
    make_workloads(client)
    make_pods(client)
    yield made
    made.lose()
    for (kind, space, name), _ in WORKLOADS.items():
        client.delete(Ref(api_version="apps/v1", kind=kind, namespace=space, name=name))
        for one in client.list_objects("v1", "Pod", space).items:
            client.delete(Ref(api_version="v1", kind="Pod", namespace=space, name=one["metadata"]["name"]))
    client.delete(Ref(api_version="cert-manager.io/v1", kind="Certificate", namespace=LEAF[0], name=LEAF[1]))


def test_secrets_come_back_into_a_cluster_that_was_made_anew(endpoint: Endpoint, cluster: Cluster) -> None:
    kept, manifest = cluster.values(), cluster.keep()
    cluster.lose()
    cluster.up()
    new, pods = cluster.values(), cluster.pods()
    assert new.keys() == kept.keys() and all(new[name] != kept[name] for name in kept)

    planned = secrets_plan(cluster.stack, manifest, cluster.store)
    said = "\n".join(planned.lines)
    assert "Secret mlops/object-store is replaced" in said and "Secret models/object-store is replaced" in said
    assert "Deployment models/smollm2-predictor is restarted" in said and "the gateway's certificate is signed" in said
    assert "monitoring/other" not in said
    # the store before those that use it
    owners = [one.owner.name for one in planned.restarts]
    assert owners == ["object-store", "mlflow", "smollm2-predictor"]
    for data in (*kept.values(), *new.values()):
        for value in data.values():
            text = base64.b64decode(value).decode()
            assert text in ("ai-how", "mlflow", "admin") or (text not in said and value not in repr(planned))
    assert cluster.values() == new

    with controllers(endpoint):
        cluster.restore(manifest)
        assert cluster.values() == kept
        after = cluster.pods()
        untouched = {name for name in pods if name in after}
        assert [name.rpartition("-")[0] for name in untouched] == ["other"] and len(after) == len(pods)
        # what it is signed by is the authority that clients know
        leaf = (cluster.client.get(secret(*LEAF)) or {})["data"]
        assert leaf["ca.crt"] == kept["/".join(CA)]["tls.crt"]
        live = cluster.client.get(secret("mlops", "object-store")) or {}
        assert live["immutable"] and live["metadata"]["labels"]["ai-how/component"] == "object-store"
        # the second time there is nothing to do
        assert cluster.restore(manifest) == ["the Secrets are as in the backup"]
        assert cluster.pods() == after


def test_a_restore_that_was_broken_off_restarts_what_is_left(endpoint: Endpoint, cluster: Cluster) -> None:
    manifest = cluster.keep()
    cluster.lose()
    cluster.up()
    pods = cluster.pods()
    planned = secrets_plan(cluster.stack, manifest, cluster.store)
    write_secrets(cluster.client, planned.secrets, say=lambda _: None)
    with controllers(endpoint):
        said = cluster.restore(manifest)
        assert not any("replaced" in line for line in said)
        assert "restarting Deployment mlops/mlflow" in said and "Secret gateway/gateway-tls is signed again" in said
        after = cluster.pods()
        assert len(after) == len(pods) and len(after.keys() & pods.keys()) == 1


def test_what_is_not_ours_or_does_not_fit_stays(cluster: Cluster) -> None:
    manifest = cluster.keep()
    cluster.lose()
    metadata = {"name": "object-store", "namespace": "mlops"}
    data = {"AWS_ACCESS_KEY_ID": "bWluZQ==", "AWS_SECRET_ACCESS_KEY": "bWluZQ=="}
    thing = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    cluster.client.connection.ask(
        "POST",
        cluster.client.kinds.find("v1", "Secret").path("mlops"),
        what="make one",
        body=thing,
        query={"fieldManager": "somebody"},
    )
    planned = {str(one.ref): one for one in secrets_plan(cluster.stack, manifest, cluster.store).secrets}
    assert planned["Secret mlops/object-store"].way is Way.LEAVE
    assert "did not make it" in str(planned["Secret mlops/object-store"])
    assert planned["Secret models/ai-how-api-keys"].way is Way.MAKE
    # a backup of a stack whose Secrets had other keys, or none
    old = cluster.manifest({"secrets/models/ai-how-api-keys.json": b'{"kind": "Secret", "data": {"other": "eA=="}}'})
    planned = {str(one.ref): one for one in secrets_plan(cluster.stack, old, cluster.store).secrets}
    assert "the backup's has no default" in str(planned["Secret models/ai-how-api-keys"])
    assert "the backup does not have it" in str(planned["Secret mlops/mlflow-login"])
    damaged = cluster.manifest({"secrets/models/ai-how-api-keys.json": b"hush"})
    with pytest.raises(SpecError, match="is no Secret") as refused:
        secrets_plan(cluster.stack, damaged, cluster.store)
    assert "hush" not in str(vars(refused.value))


def test_a_pod_that_nothing_makes_again_is_told_before(cluster: Cluster) -> None:
    manifest = cluster.keep()
    cluster.lose()
    cluster.up()
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "ai-how-api-keys", "key": "default"}}}]
    spec = {"containers": [{"name": "shell", "image": "x:1", "env": env}]}
    metadata = {"name": "by-hand", "namespace": "models"}
    cluster.client.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    before = cluster.values()
    with pytest.raises(NotFoundError, match="nothing would make them again") as refused:
        cluster.restore(manifest)
    assert "models/by-hand" in refused.value.evidence and cluster.values() == before
