"""Whether a cluster is ready: its nodes are, they bear what was planned, names resolve in it, and a pod starts.

Asks through the API alone. One short pod is made for it, of an image that the nodes have already, and removed again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ai_how.errors import AiHowError, ProviderError, TryAgainError
from ai_how.kubernetes.nodes import CONTROL_PLANE, ClusterNode, labels, taints
from ai_how.kubernetes_api.client import Listing
from ai_how.kubernetes_api.objects import ApiObject, Ref, labels_of

_PAUSE_S = 2.0
CHECK_LABEL = "ai-how/check"
_NAMESPACE = "default"
_PROXIES = ("kube-nginx", "kube-haproxy")
"""Kubespray's pods in front of the API servers, one on each worker: their images have a shell."""
_POD_SECONDS = 120
_PRESSURES = {
    "DiskPressure": "has too little free disk for pods: free space under /var/lib, then wait 5 minutes",
    "MemoryPressure": "has too little free memory for pods",
    "PIDPressure": "has too many processes for pods",
}
"""What a node's conditions of that name say. Source: kubelet's ``eviction-pressure-transition-period``, 5m."""


class Api(Protocol):
    """What is asked of an API server here; ``kubernetes_api.client.Client`` does it."""

    def get(self, ref: Ref) -> dict[str, Any] | None: ...

    def list_objects(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> Listing: ...

    def create(self, thing: ApiObject) -> dict[str, Any]: ...

    def delete(self, ref: Ref) -> bool: ...

    def log(self, namespace: str, pod: str) -> str: ...


def check_ready(
    api: Api,
    nodes: Sequence[ClusterNode],
    *,
    domain: str = "cluster.local",
    timeout_s: float = 300,
    cancelled: Callable[[], bool] = lambda: False,
    pause_s: float = _PAUSE_S,
) -> str:
    """Wait until a cluster can be worked with; says what was seen.

    Raises:
        ProviderError: a node is not ready in time, lacks a label or taint, no pod starts, or names do not resolve.
        TryAgainError: it was broken off.
    """
    wait = _Wait(timeout_s=timeout_s, pause_s=pause_s, cancelled=cancelled)
    found = _wait_nodes(api, nodes, wait)
    _check_marks(found, nodes)
    # Kubespray puts back into use only what the same run took out: one that was broken off leaves its node so
    closed = cordoned(found, [node.name for node in nodes])
    asked = _check_pod(api, nodes, closed, domain, wait)
    told = f"; cordoned: {', '.join(closed)}, for new pods: kubectl uncordon {' '.join(closed)}" if closed else ""
    return f"{len(nodes)} nodes ready, {asked}{told}"


class _Wait:
    """Tries until a deadline, with pauses; broken off by Ctrl-C."""

    def __init__(self, *, timeout_s: float, pause_s: float, cancelled: Callable[[], bool]) -> None:
        self.timeout_s = timeout_s
        self.pause_s = pause_s
        self.cancelled = cancelled

    def __iter__(self) -> Iterator[None]:
        deadline = time.monotonic() + self.timeout_s
        while True:
            yield
            if self.cancelled():
                raise TryAgainError("the cluster was not waited for any longer", next_step="ai-how up goes on")
            if time.monotonic() >= deadline:
                return
            time.sleep(self.pause_s)


def _wait_nodes(api: Api, nodes: Sequence[ClusterNode], wait: _Wait) -> Sequence[Mapping[str, Any]]:
    """All nodes that the cluster has, once ours are ready."""
    trouble: dict[str, str] = {}
    for _ in wait:
        found = api.list_objects("v1", "Node").items
        trouble = node_troubles(found, [node.name for node in nodes])
        if not trouble:
            return found
    raise ProviderError(
        f"{', '.join(trouble)} {'is' if len(trouble) == 1 else 'are'} not ready after {wait.timeout_s:g} s",
        evidence="\n".join(f"{name}: {why}" for name, why in trouble.items()),
        next_step="look at its kubelet: sudo journalctl -u kubelet on the machine; then: ai-how up",
    )


def node_troubles(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
    """Of each node that is not Ready, or short of disk, memory or processes, why, in the cluster's words. Pure."""
    known = {node["metadata"]["name"]: node for node in found}
    said = {name: _not_ready(known.get(name)) for name in names}
    return {name: why for name, why in said.items() if why}


def _not_ready(node: Mapping[str, Any] | None) -> str:
    if node is None:
        return "is no node of the cluster"
    conditions = {each.get("type"): each for each in node.get("status", {}).get("conditions") or []}
    ready: Mapping[str, Any] = conditions.get("Ready", {})
    if ready.get("status") != "True":
        return str(ready.get("message") or ready.get("reason") or "its kubelet has not reported")
    # such a node is Ready, takes no pods, and throws off those that it has
    return next((why for name, why in _PRESSURES.items() if conditions.get(name, {}).get("status") == "True"), "")


def cordoned(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Of the named nodes those that take no new pods. Pure."""
    closed = {node["metadata"]["name"] for node in found if node.get("spec", {}).get("unschedulable")}
    return [name for name in names if name in closed]


def _check_marks(found: Sequence[Mapping[str, Any]], nodes: Sequence[ClusterNode]) -> None:
    missing = mark_troubles(found, nodes)
    if missing:
        raise ProviderError(
            "nodes do not bear what was planned",
            evidence="\n".join(missing),
            next_step="put it back with kubectl label node or kubectl taint node, then: ai-how up",
        )


def mark_troubles(found: Sequence[Mapping[str, Any]], nodes: Sequence[ClusterNode]) -> list[str]:
    """Labels and taints that nodes lack. Pure."""
    known = {node["metadata"]["name"]: node for node in found}
    lines: list[str] = []
    for node in nodes:
        there = known.get(node.name, {})
        have = labels_of(there)
        lines += [f"{node.name}: no label {k}={v}" for k, v in labels(node).items() if have.get(k) != v]
        tainted = {_taint(each) for each in there.get("spec", {}).get("taints") or []}
        lines += [f"{node.name}: no taint {each}" for each in taints(node, nodes) if each not in tainted]
    return lines


def _taint(taint: Mapping[str, Any]) -> str:
    return f"{taint.get('key')}={taint.get('value', '')}:{taint.get('effect')}"


def _check_pod(api: Api, nodes: Sequence[ClusterNode], closed: Sequence[str], domain: str, wait: _Wait) -> str:
    free = [node for node in nodes if node.role != CONTROL_PLANE and not taints(node, nodes)]
    worker = next((node for node in free if node.name not in closed), None)
    image = _image_on(api, worker.name) if worker else ""
    if worker is None or not image:
        return "DNS and starting a pod not checked: no node that takes pods has an image with a shell"
    for old in api.list_objects("v1", "Pod", _NAMESPACE, labels=f"{CHECK_LABEL}=ready").items:
        api.delete(_ref(old["metadata"]["name"]))
    name = f"ai-how-check-{secrets.token_hex(4)}"
    api.create(check_pod(name, node=worker.name, image=image, domain=domain))
    try:
        return _outcome(api, name, wait)
    finally:
        api.delete(_ref(name))


def _image_on(api: Api, node: str) -> str:
    for proxy in _PROXIES:
        pods = api.list_objects("v1", "Pod", "kube-system", labels=f"k8s-app={proxy}").items
        for pod in pods:
            if pod["spec"].get("nodeName") == node:
                return str(pod["spec"]["containers"][0]["image"])
    return ""


def check_pod(name: str, *, node: str, image: str, domain: str) -> dict[str, Any]:
    """A pod that resolves the API server's own name and ends. Pure."""
    ask = f"getent hosts kubernetes.default.svc.{domain} || nslookup kubernetes.default.svc.{domain}"
    labelled = {CHECK_LABEL: "ready", "app.kubernetes.io/managed-by": "ai-how"}
    resources = {"cpu": "10m", "memory": "32Mi"}
    container = {
        "name": "ask",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", ask],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": _NAMESPACE, "labels": labelled},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _POD_SECONDS,
            "automountServiceAccountToken": False,
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [container],
        },
    }


def _ref(name: str) -> Ref:
    return Ref(api_version="v1", kind="Pod", namespace=_NAMESPACE, name=name)


def _outcome(api: Api, name: str, wait: _Wait) -> str:
    pod: Mapping[str, Any] = {}
    for _ in wait:
        pod = api.get(_ref(name)) or {}
        phase = pod.get("status", {}).get("phase")
        if phase == "Succeeded":
            return "a pod starts, DNS answers"
        if phase == "Failed":
            break
    if pod.get("status", {}).get("phase") == "Failed" and pod.get("status", {}).get("reason") != "DeadlineExceeded":
        raise ProviderError(
            "names do not resolve in the cluster: DNS did not answer a pod",
            evidence=_log_of(api, name),
            next_step="look at it: kubectl -n kube-system get pods -l k8s-app=kube-dns; then: ai-how up",
        )
    raise ProviderError(
        "a pod does not start in the cluster",
        evidence=pod_trouble(pod),
        next_step="look at it: kubectl get events -A --sort-by=.lastTimestamp; then: ai-how up",
    )


def _log_of(api: Api, name: str) -> str:
    try:
        return api.log(_NAMESPACE, name).strip()[-500:] or "it said nothing"
    except AiHowError as error:
        return f"its log cannot be read: {error.brief}"


def pod_trouble(pod: Mapping[str, Any]) -> str:
    """Why a pod does not run, in the cluster's words. Pure."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    for condition in status.get("conditions") or []:
        if condition.get("status") == "False" and condition.get("message"):
            return f"{condition.get('reason')}: {condition['message']}"
    return str(status.get("message") or status.get("reason") or status.get("phase") or "it is gone")
