"""Kubernetes objects that several parts have: namespaces, services, containers that may do little, monitors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.stack.requests import Request

Object = dict[str, Any]
NAME_LABEL = "app.kubernetes.io/name"


def namespace(name: str, *, security: str, warn: str = "restricted") -> Object:
    """A namespace whose pods must keep to a Pod Security level.

    Args:
        security: What is enforced: restricted, baseline or privileged.
        warn: What is warned of and logged.
    """
    prefix = "pod-security.kubernetes.io"
    levels = {f"{prefix}/enforce": security, f"{prefix}/warn": warn, f"{prefix}/audit": warn}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": levels}}


def metadata(name: str, space: str, **labels: str) -> Object:
    """Metadata with the label that selects by."""
    return {"name": name, "namespace": space, "labels": {NAME_LABEL: labels.pop("app", name), **labels}}


def service(name: str, space: str, ports: Mapping[str, int], *, app: str = "") -> Object:
    """A Service in the cluster, its ports by name; each leads to the container port of that name."""
    app = app or name
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, space, app=app),
        "spec": {
            "type": "ClusterIP",
            "selector": {NAME_LABEL: app},
            "ports": [
                {"name": each, "port": port, "targetPort": each, "protocol": "TCP"} for each, port in ports.items()
            ],
        },
    }


def pod_security(user: int) -> Object:
    """A pod's security context that the restricted level takes."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container(
    name: str,
    image: str,
    *,
    command: Sequence[str],
    request: Request,
    ports: Mapping[str, int] | None = None,
    env: Mapping[str, Any] | None = None,
    mounts: Mapping[str, str] | None = None,
    probes: Mapping[str, Any] | None = None,
) -> Object:
    """A container that runs one program and writes to its volumes only.

    Args:
        env: By name, a text, or (secret, key).
        mounts: Path by volume.
        probes: ``startupProbe`` and the like, as the API takes them.
    """
    found: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "resources": request.resources(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if ports:
        found["ports"] = [{"name": each, "containerPort": port, "protocol": "TCP"} for each, port in ports.items()]
    if env:
        found["env"] = [_variable(each, value) for each, value in env.items()]
    if mounts:
        found["volumeMounts"] = [{"name": volume, "mountPath": path} for volume, path in mounts.items()]
    return {**found, **(probes or {})}


def _variable(name: str, value: Any) -> Object:
    if isinstance(value, str):
        return {"name": name, "value": value}
    secret, key = value
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def http_probes(path: str, port: str, *, start_s: int) -> Object:
    """Probes of one address: it may take ``start_s`` to start, then is asked every 10 seconds."""
    get = {"httpGet": {"path": path, "port": port}}
    return {
        "startupProbe": {**get, "periodSeconds": 5, "failureThreshold": max(1, start_s // 5), "timeoutSeconds": 5},
        "readinessProbe": {**get, "periodSeconds": 10, "failureThreshold": 3, "timeoutSeconds": 5},
        "livenessProbe": {**get, "periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 5},
    }


def claim(name: str, *, size_gib: int, storage_class: str) -> Object:
    """A volume claim template of a StatefulSet."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": f"{size_gib}Gi"}},
        },
    }


def monitor(name: str, space: str, *, port: str, app: str = "", path: str = "/metrics", interval_s: int = 30) -> Object:
    """A PodMonitor: Prometheus asks each pod of an app at a port by name."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(name, space),
        "spec": {
            "selector": {"matchLabels": {NAME_LABEL: app or name}},
            "podMetricsEndpoints": [{"port": port, "path": path, "interval": f"{interval_s}s"}],
        },
    }
