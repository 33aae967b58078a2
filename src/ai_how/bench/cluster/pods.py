"""The probes' namespace and pods. Pure: what is made, for whom, and until when.

Pods keep to the restricted level of Pod Security, ask for little, end by themselves, and get no key of the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from ai_how.kubernetes_api.marks import Mark

COMPONENT = "bench-cluster"
DEADLINE_S = 300
"""No probe's pod lives longer, whatever becomes of this program."""
CONTAINER = "probe"
_CPU, _MEMORY = "100m", "64Mi"
_USER = 65534
GPU_PREFIX = "nvidia.com/"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where probes run: the site whose they are, their namespace, an image with Python."""

    site: str
    namespace: str
    image: str

    @property
    def mark(self) -> Mark:
        """Whose the probes' objects are."""
        return Mark(site=self.site, component=COMPONENT)


def namespace(place: Place) -> dict[str, Any]:
    """The probes' own namespace."""
    prefix = "pod-security.kubernetes.io"
    labels = {**place.mark.labels, **{f"{prefix}/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace, "labels": labels}}


def idle_pod(place: Place, name: str) -> dict[str, Any]:
    """A pod that does nothing and ends: only its start counts."""
    return _pod(place, name, command=("python3", "-c", "pass"))


def gpu_pod(place: Place, name: str, *, resource: str) -> dict[str, Any]:
    """A pod that names the GPU it got; that takes the driver."""
    return _pod(
        place,
        name,
        command=("nvidia-smi", "-L"),
        gpu=resource,
        env={"NVIDIA_DRIVER_CAPABILITIES": "utility"},
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    )


def dns_pod(place: Place, name: str, *, looked_up: str, count: int) -> dict[str, Any]:
    """A pod that looks a name up again and again."""
    return _pod(place, name, command=_python("dns", looked_up, str(count)))


def echo_pod(place: Place, name: str, *, node: str, port: int) -> dict[str, Any]:
    """A pod on a node that sends back what it gets."""
    return _pod(place, name, command=_python("serve", str(port), str(DEADLINE_S)), node=node)


def ping_pod(place: Place, name: str, *, node: str, host: str, port: int, count: int) -> dict[str, Any]:
    """A pod on a node that sends one byte to and fro."""
    return _pod(place, name, command=_python("ping", host, str(port), str(count)), node=node)


def gpu_resource(nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """By what name a node of the cluster gives GPUs to pods; None where none does."""
    for node in nodes:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        for name, count in sorted(allocatable.items()):
            if name.startswith(GPU_PREFIX) and str(count) not in ("", "0"):
                return str(name)
    return None


def worker_names(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Nodes that take any pod now: ready, not cordoned, without a taint that keeps pods away."""
    return sorted(node["metadata"]["name"] for node in nodes if _takes_pods(node))


def _takes_pods(node: Mapping[str, Any]) -> bool:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
    kept_away = any(taint.get("effect") in ("NoSchedule", "NoExecute") for taint in spec.get("taints") or [])
    return ready and not spec.get("unschedulable") and not kept_away


def _python(*words: str) -> tuple[str, ...]:
    source = resources.files("ai_how.bench.cluster").joinpath("in_pod.py").read_text(encoding="utf-8")
    return ("python3", "-c", source, *words)


def _pod(
    place: Place,
    name: str,
    *,
    command: Sequence[str],
    node: str = "",
    gpu: str = "",
    env: Mapping[str, str] | None = None,
    tolerations: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    requests = {"cpu": _CPU, "memory": _MEMORY, **({gpu: "1"} if gpu else {})}
    container = {
        "name": CONTAINER,
        "image": place.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "resources": {"requests": requests, "limits": {gpu: "1"} if gpu else {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": DEADLINE_S,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [container],
        **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
        **({"tolerations": [dict(each) for each in tolerations]} if tolerations else {}),
    }
    metadata = {"name": name, "namespace": place.namespace, "labels": place.mark.labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
