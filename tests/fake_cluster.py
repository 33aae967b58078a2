"""A cluster's API server as the set-up of Kubernetes asks it, in memory; and the file that lets in as administrator."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_how.kubernetes.nodes import ClusterNode, labels, taints
from ai_how.kubernetes_api.client import Listing
from ai_how.kubernetes_api.objects import ApiObject, Ref, labels_of

PROXY_IMAGE = "docker.io/library/nginx:1.28.2-alpine"
SUCCEEDED = {"phase": "Succeeded"}


@dataclass
class FakeCluster:
    """What the API has of each kind; ``outcome`` is the status that a pod made here ends with."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    pods: list[dict[str, Any]] = field(default_factory=list)
    workloads: list[dict[str, Any]] = field(default_factory=list)
    outcome: Mapping[str, Any] = field(default_factory=lambda: SUCCEEDED)
    created: list[dict[str, Any]] = field(default_factory=list)
    said: str = "can't resolve 'kubernetes.default.svc.cluster.local'"

    def get(self, ref: Ref) -> dict[str, Any] | None:
        return next((pod for pod in self.pods if pod["metadata"]["name"] == ref.name), None)

    def list_objects(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing:
        of_kind = [thing for thing in self.workloads if thing["kind"] == kind]
        things = {"Node": self.nodes, "Pod": self.pods}.get(kind, of_kind)
        wanted = dict(part.split("=") for part in labels.split(",") if part)
        found = [
            thing
            for thing in things
            if wanted.items() <= labels_of(thing).items() and namespace in ("", thing["metadata"].get("namespace", ""))
        ]
        return Listing(items=found, version="1")

    def create(self, thing: ApiObject) -> dict[str, Any]:
        made = {**thing, "status": dict(self.outcome)}
        self.created.append(made)
        self.pods.append(made)
        return made

    def delete(self, ref: Ref) -> bool:
        before = len(self.pods)
        self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != ref.name]
        return len(self.pods) < before

    def log(self, namespace: str, pod: str) -> str:
        return self.said


def cluster_of(nodes: Sequence[ClusterNode]) -> FakeCluster:
    """A cluster whose nodes are all ready and bear what was planned."""
    return FakeCluster(
        nodes=[api_node(node, nodes) for node in nodes],
        pods=[proxy_pod(node.name) for node in nodes if node.role != "control-plane"],
    )


def api_node(node: ClusterNode, nodes: Sequence[ClusterNode], *, ready: str = "True", why: str = "") -> dict[str, Any]:
    """A node as the API shows it."""
    found = []
    for taint in taints(node, nodes):
        key, _, rest = taint.partition("=")
        value, _, effect = rest.partition(":")
        found.append({"key": key, "value": value, "effect": effect})
    return {
        "metadata": {"name": node.name, "labels": {**labels(node), "kubernetes.io/hostname": node.name}},
        "spec": {"taints": found},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "message": why}],
            "nodeInfo": {"kubeletVersion": "v1.35.4"},
        },
    }


def proxy_pod(node: str) -> dict[str, Any]:
    """What Kubespray puts in front of the API servers on a worker."""
    return {
        "metadata": {"name": f"nginx-proxy-{node}", "namespace": "kube-system", "labels": {"k8s-app": "kube-nginx"}},
        "spec": {"nodeName": node, "containers": [{"name": "nginx-proxy", "image": PROXY_IMAGE}]},
    }


def admin_conf(
    *,
    certificate: str = "CERTIFICATE",
    key: str = "KEY",
    authority: str = "AUTHORITY",
    server: str = "https://127.0.0.1:6443",
) -> str:
    """``/etc/kubernetes/admin.conf`` as kubeadm writes it."""
    texts = {"a": authority, "c": certificate, "k": key}
    coded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    return f"""apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {coded["a"]}
    server: {server}
  name: cluster.local
contexts:
- context:
    cluster: cluster.local
    user: kubernetes-admin
  name: kubernetes-admin@cluster.local
current-context: kubernetes-admin@cluster.local
kind: Config
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {coded["c"]}
    client-key-data: {coded["k"]}
"""
