"""A real control plane for tests: beside the API server its controllers and its scheduler, on nodes that run nothing.

A thread acts the part of what no node here can run: the kubelets, the provisioner of volumes, and the operators that
charts bring. Pods are made, admitted and placed for real; they say that they run, and do not.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ai_how.errors import AiHowError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import Ref, ref_of
from tests.process_backend import free_port

from .api_endpoint import MERGE, Endpoint
from .real_api_server import ASSETS, end, start

PROVISIONER = "rancher.io/local-path"
_HOOKS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
_HOOKS_API = "admissionregistration.k8s.io/v1"

_DEMANDED = {"ClusterPolicy": {"state": "ready"}}
"""What a kind's schema wants in a status beside conditions."""


@contextmanager
def real_controllers(endpoint: Endpoint) -> Iterator[None]:
    """kube-controller-manager and kube-scheduler from the folder that ``KUBEBUILDER_ASSETS`` names."""
    assets = Path(os.environ.get(ASSETS, ""))
    for name in ("kube-controller-manager", "kube-scheduler"):
        if not (assets / name).exists():
            pytest.skip(f"{ASSETS} has no {name}")
    folder, kubeconfig = endpoint.folder, endpoint.kubeconfig("control-plane")
    common = [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1"]
    controllers = [assets / "kube-controller-manager", *common, f"--secure-port={free_port()}"]
    controllers += [f"--cert-dir={folder / 'controllers'}", f"--root-ca-file={endpoint.authority.pair.certificate}"]
    # nobody renews the nodes' leases
    controllers += ["--node-monitor-grace-period=1h"]
    scheduler = [assets / "kube-scheduler", *common, f"--secure-port={free_port()}"]
    scheduler += [f"--cert-dir={folder / 'scheduler'}"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(start(controllers, folder / "kube-controller-manager.log"))
        started.append(start(scheduler, folder / "kube-scheduler.log"))
        yield
    finally:
        end(started)


def storage_class() -> dict[str, Any]:
    """What Kubespray installs for volumes on the nodes' disks."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local-path",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


@dataclass
class Played:
    """Says that pods run and custom objects are well; ``conditions`` by kind and name, then by kind."""

    endpoint: Endpoint
    conditions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    usual: Mapping[str, str] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[Played]:
        ended = threading.Event()
        client = Client.from_kubeconfig(self.endpoint.kubeconfig("played"))

        def run() -> None:
            while not ended.wait(0.3):
                for act in (self._volumes, self._pods, self._hooks, self._aggregated, self._gateways, self._custom):
                    try:
                        act(client)
                    except AiHowError as error:  # it went or changed meanwhile: the next round sees
                        self.troubles.append(f"{error.brief}: {error.evidence}")

        thread = threading.Thread(target=run, name="played", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join(timeout=30)
            client.close()

    def patch(self, client: Client, thing: Mapping[str, Any], body: object, part: str = "") -> None:
        """A merge patch of an object, or of a part of it: ``/status``."""
        ref = ref_of(thing)
        path = client.kinds.find(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        client.connection.ask("PATCH", f"{path}{part}", what=f"play {ref}", body=body, content_type=MERGE)

    def _pods(self, client: Client) -> None:
        for pod in _each(client, "v1", "Pod"):
            metadata, status = pod["metadata"], pod.get("status", {})
            if metadata.get("deletionTimestamp"):
                path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
                client.connection.ask("DELETE", path, what="end a pod", body={"gracePeriodSeconds": 0})
            elif pod["spec"].get("nodeName") and status.get("phase", "Pending") == "Pending":
                self.patch(client, pod, {"status": _pod_status(pod)}, "/status")

    def _volumes(self, client: Client) -> None:
        for claim in _each(client, "v1", "PersistentVolumeClaim"):
            metadata = claim["metadata"]
            node = metadata.get("annotations", {}).get("volume.kubernetes.io/selected-node")
            if not node or claim["spec"].get("volumeName") or metadata.get("deletionTimestamp"):
                continue
            name = f"pvc-{metadata['uid']}"
            if client.get(Ref(api_version="v1", kind="PersistentVolume", namespace="", name=name)) is None:
                client.create(_volume(name, claim, node))

    def _hooks(self, client: Client) -> None:
        """Nothing answers the charts' webhooks: the server is told to go on without."""
        for kind in _HOOKS:
            for thing in _each(client, _HOOKS_API, kind):
                hooks = thing.get("webhooks", [])
                if any(hook.get("failurePolicy") != "Ignore" for hook in hooks):
                    self.patch(client, thing, {"webhooks": [{**hook, "failurePolicy": "Ignore"} for hook in hooks]})

    def _aggregated(self, client: Client) -> None:
        """APIs that a chart's pod would serve count as served by the API server itself."""
        for thing in _each(client, "apiregistration.k8s.io/v1", "APIService"):
            if thing["spec"].get("service"):
                self.patch(client, thing, {"spec": {"service": None, "caBundle": None, "insecureSkipTLSVerify": False}})

    def _gateways(self, client: Client) -> None:
        """What NGINX Gateway Fabric makes for a Gateway of its class; it goes with its owner."""
        kinds = [kind for kind in client.kinds.all()[0] if kind.kind == "Gateway"]
        for thing in (one for kind in kinds for one in _each(client, kind.api_version, kind.kind)):
            metadata = thing["metadata"]
            name = f"{metadata['name']}-nginx"
            ref = Ref(api_version="apps/v1", kind="Deployment", namespace=metadata["namespace"], name=name)
            if client.get(ref) is None:
                client.create(_nginx(ref, thing))

    def _custom(self, client: Client) -> None:
        kinds = {kind for kind, _ in self.conditions} | set(self.usual)
        for kind in client.kinds.all()[0]:
            if kind.kind not in kinds or "." not in kind.api_version.partition("/")[0]:
                continue
            for thing in client.list_kind(kind).items:
                name = thing["metadata"]["name"]
                wanted = self.conditions.get((kind.kind, name)) or self.usual.get(kind.kind)
                known = {"apiVersion": kind.api_version, "kind": kind.kind, **thing}
                generation = thing["metadata"].get("generation", 1)
                if wanted and not _is_true(thing, wanted, generation):
                    status = {"conditions": [_condition(wanted, generation)], **_DEMANDED.get(kind.kind, {})}
                    self.patch(client, known, {"status": status}, "/status")


def _each(client: Client, api_version: str, kind: str) -> Sequence[dict[str, Any]]:
    return [{"apiVersion": api_version, "kind": kind, **one} for one in client.list_objects(api_version, kind).items]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _condition(name: str, generation: int) -> dict[str, Any]:
    said = {"type": name, "status": "True", "reason": "Played", "message": "as a test has it"}
    return {**said, "observedGeneration": generation, "lastTransitionTime": _now()}


def _is_true(thing: Mapping[str, Any], name: str, generation: int) -> bool:
    conditions = thing.get("status", {}).get("conditions") or []
    return any(
        one["type"] == name and one["status"] == "True" and one.get("observedGeneration", generation) == generation
        for one in conditions
    )


def _pod_status(pod: Mapping[str, Any]) -> dict[str, Any]:
    """Of a pod that ends by itself: that it did; of another: that it runs."""
    containers = pod["spec"]["containers"]
    ends = pod["spec"].get("restartPolicy", "Always") != "Always"
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}}
    if not ends:
        state = {"running": {"startedAt": _now()}}
    told = {"ready": not ends, "restartCount": 0, "imageID": "played", "state": state}
    conditions = [] if ends else [{"type": name, "status": "True"} for name in ("ContainersReady", "Ready")]
    kept = [one for one in pod.get("status", {}).get("conditions") or [] if one["type"] == "PodScheduled"]
    return {
        "phase": "Succeeded" if ends else "Running",
        "startTime": _now(),
        "conditions": [*kept, *({**one, "lastTransitionTime": _now()} for one in conditions)],
        "containerStatuses": [{"name": one["name"], "image": one["image"], **told} for one in containers],
    }


def _nginx(ref: Ref, gateway: Mapping[str, Any]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": ref.name}
    owner = {"apiVersion": gateway["apiVersion"], "kind": gateway["kind"], "name": gateway["metadata"]["name"]}
    allowed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    container = {
        "name": "nginx",
        "image": "registry.test/nginx:1",
        "securityContext": {**allowed, "runAsUser": 101, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    return {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {
            "name": ref.name,
            "namespace": ref.namespace,
            "ownerReferences": [{**owner, "uid": gateway["metadata"]["uid"], "controller": True}],
        },
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def _volume(name: str, claim: Mapping[str, Any], node: str) -> dict[str, Any]:
    metadata, spec = claim["metadata"], claim["spec"]
    at = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "hostPath": {"path": f"/opt/local-path-provisioner/{name}"},
            "claimRef": {
                **{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": metadata["uid"]},
                **{"name": metadata["name"], "namespace": metadata["namespace"]},
            },
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [at]}]}},
        },
    }
