"""What a test needs of an API server, the real one or the stand-in: its address, its authority, users' certificates.

Also acts the part of the controllers that neither has: what is deleted with its dependants goes, and namespaces are
emptied.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import AiHowError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import Patience
from ai_how.kubernetes_api.discovery import Kind
from ai_how.kubernetes_api.objects import ref_of
from ai_how.kubernetes_api.refusals import AlreadyThereError
from tests.fake_cluster import admin_conf

from .certificates import Authority, Pair

MERGE = "application/merge-patch+json"
CONTROLLERS = {"foregroundDeletion", "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"}
"""Finalizers that Kubernetes' own controllers take away."""
QUIET = {"Event", "Lease", "FlowSchema", "PriorityLevelConfiguration", "Node", "ClusterRole", "ClusterRoleBinding"}
"""Kinds that the tests delete nothing of: not looked at in every round."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A running API server."""

    url: str
    authority: Authority
    admin: Pair
    folder: Path
    is_real: bool

    def kubeconfig(
        self, name: str = "admin", *, pair: Pair | None = None, authority: Path | None = None, **cluster: object
    ) -> Path:
        """Write a kubeconfig for a user; the admin's certificate where none is given."""
        shown = pair or self.admin
        path = self.folder / f"{name}.kubeconfig"
        trusted = str(authority or self.authority.pair.certificate)
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [
                {"name": "test", "cluster": {"server": self.url, "certificate-authority": trusted, **cluster}}
            ],
            "users": [
                {
                    "name": name,
                    "user": {"client-certificate": str(shown.certificate), "client-key": str(shown.key)},
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": "test", "user": name}}],
        }
        path.write_text(json.dumps(document))
        return path

    def leave_admin_conf(self, folder: Path, *, pair: Pair | None = None) -> None:
        """What kubeadm leaves on a control plane; the admin's certificate where none is given."""
        shown = pair or self.admin
        text = admin_conf(
            certificate=shown.certificate.read_text(),
            key=shown.key.read_text(),
            authority=self.authority.pair.certificate.read_text(),
            server=self.url,
        )
        (folder / "admin.conf").write_text(text)

    def client(self, name: str = "admin", *, pair: Pair | None = None) -> Client:
        """A client as that user."""
        path = self.kubeconfig(name, pair=pair)
        return Client.from_kubeconfig(path)


class LittleControllers:
    """Garbage collector and namespace controller, as small as the tests need them."""

    def __init__(self, endpoint: Endpoint) -> None:
        path = endpoint.kubeconfig("controllers")
        self._client = Client.from_kubeconfig(path)
        self._client.connection._patience = Patience(total_s=1, answer_s=5)
        self._furnished: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="little-controllers", daemon=True)

    def __enter__(self) -> LittleControllers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10)
        self._client.close()

    def _run(self) -> None:
        kinds: list[Kind] = []
        for number in itertools.count():
            if self._ended.wait(0.4):
                return
            try:
                if number % 3 == 0 or not kinds:
                    kinds = [k for k in self._client.kinds.all()[0] if k.verbs >= {"list", "delete", "patch"}]
                self._round([kind for kind in kinds if kind.kind not in QUIET])
            except AiHowError:
                continue  # it went meanwhile, or the test broke the server: the next round sees

    def _round(self, served: list[Kind]) -> None:
        for kind in served:
            for thing in self._client.list_kind(kind, metadata_only=True).items:
                if thing["metadata"].get("deletionTimestamp"):
                    self._let_go(kind, thing, served)
                elif kind.kind == "Namespace" and (name := thing["metadata"]["name"]) not in self._furnished:
                    self._furnish(name)
                    self._furnished.add(name)

    def _furnish(self, namespace: str) -> None:
        """What Kubernetes' controllers put into every namespace."""
        query = {"fieldManager": "kube-controller-manager"}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        root = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "kube-root-ca.crt"},
            "data": {"ca.crt": "-"},
        }
        for plural, body in (("serviceaccounts", account), ("configmaps", root)):
            path = f"/api/v1/namespaces/{namespace}/{plural}"
            with contextlib.suppress(AlreadyThereError):
                self._client.connection.ask("POST", path, what="furnish a namespace", query=query, body=body)

    def _let_go(self, kind: Kind, thing: dict, kinds: list[Kind]) -> None:
        metadata = thing["metadata"]
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        left = [name for name in metadata.get("finalizers", []) if name not in CONTROLLERS]
        if left != metadata.get("finalizers", []):
            body = {"metadata": {"finalizers": left or None}}
            self._client.connection.ask("PATCH", path, what="let go", body=body, content_type=MERGE)
        if kind.kind == "Namespace":
            self._empty(self._client.get(ref_of(thing)) or thing, kinds)

    def _empty(self, namespace: dict, kinds: list[Kind]) -> None:
        name = namespace["metadata"]["name"]
        holders = []
        for kind in kinds:
            if not kind.namespaced:
                continue
            for thing in self._client.list_kind(kind, name).items:
                holders.append(f"{kind.plural} has 1 resource instances")
                path = kind.path(name, thing["metadata"]["name"])
                self._client.connection.ask("DELETE", path, what="empty a namespace")
        path = f"/api/v1/namespaces/{name}"
        if not holders:
            body = {**namespace, "spec": {"finalizers": []}}
            self._client.connection.ask("PUT", f"{path}/finalize", what="end a namespace", body=body)
            return
        condition = {
            "type": "NamespaceContentRemaining",
            "status": "True",
            "reason": "SomeResourcesRemain",
            "message": f"Some resources are remaining: {', '.join(sorted(set(holders)))}",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        status = {"status": {"conditions": [condition]}}
        self._client.connection.ask("PATCH", f"{path}/status", what="say why", body=status, content_type=MERGE)
