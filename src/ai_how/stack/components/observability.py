"""What Prometheus is told to ask and to warn of, and Grafana's dashboards: what needs monitoring's own kinds first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ai_how.stack.alerts import rule_groups
from ai_how.stack.components import database, mlflow, monitoring, namespaces, object_store
from ai_how.stack.dashboards import cluster, gpus, inference, mlops
from ai_how.stack.dashboards.board import Dashboard, grafana_json
from ai_how.stack.manifests import NAME_LABEL, Object, monitor
from ai_how.stack.objects import Component
from ai_how.stack.part import Part
from ai_how.stack.setting import (
    CERT_MANAGER,
    CNPG_SYSTEM,
    ENDPOINT_LABEL,
    GATEWAY,
    KEDA,
    KSERVE,
    MLOPS,
    MODELS,
    MONITORING,
    NGINX_GATEWAY,
    Setting,
)

NAME = "observability"


def render(setting: Setting) -> Part:
    """Monitors, rules and dashboards."""
    rules = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "ai-how", "namespace": MONITORING},
        "spec": {"groups": rule_groups(setting)},
    }
    return Part(
        title="Dashboards and alerts",
        version="",
        component=Component(
            name=NAME,
            namespace=MONITORING,
            objects=(*_monitors(setting), rules, *(_config_map(board) for board in boards(setting))),
            needs=(namespaces.NAME, monitoring.NAME),
        ),
    )


def boards(setting: Setting) -> tuple[Dashboard, ...]:
    """The dashboards for what the cluster has."""
    return (cluster.BOARD, mlops.BOARD, inference.BOARD, *((gpus.BOARD,) if setting.has_gpus else ()))


def _config_map(board: Dashboard) -> Object:
    """Grafana's sidecar takes every ConfigMap with this label."""
    text = json.dumps(grafana_json(board), indent=1)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": board.uid, "namespace": MONITORING, "labels": {"grafana_dashboard": "1"}},
        "data": {f"{board.uid}.json": text},
    }


def _monitors(setting: Setting) -> Iterator[Object]:
    yield monitor("cert-manager", CERT_MANAGER, port="http-metrics", app="cert-manager")
    yield monitor("nginx-gateway-fabric", NGINX_GATEWAY, port="metrics")
    yield monitor("keda-operator", KEDA, port="metrics")
    yield monitor("kserve", KSERVE, port="metrics", app="kserve-controller-manager")
    yield _nginx()
    yield _mlflow()
    yield _models()
    if setting.stack.object_store.type == "seaweedfs":
        yield monitor("object-store", MLOPS, port="metrics", app=object_store.APP)
    if setting.stack.object_store.type == "minio":
        yield monitor("object-store", MLOPS, port="s3", app=object_store.APP, path="/minio/v2/metrics/cluster")
    if setting.stack.database.type == "cloudnative-pg":
        yield monitor("cloudnative-pg", CNPG_SYSTEM, port="metrics")
        yield _matching("mlflow-db", MLOPS, database.PODS, port="metrics")


def _matching(name: str, space: str, labels: dict[str, str], **endpoint: Any) -> Object:
    found = monitor(name, space, port="")
    found["spec"]["selector"]["matchLabels"] = labels
    found["spec"]["podMetricsEndpoints"] = [{"path": "/metrics", "interval": "30s", **endpoint}]
    return found


def _nginx() -> Object:
    labels = {"gateway.networking.k8s.io/gateway-name": "ai-how"}
    return _matching("gateway", GATEWAY, labels, port="metrics")


def _mlflow() -> Object:
    """It answers to its own names alone: asked by a pod's address it would refuse."""
    name = {"action": "replace", "targetLabel": "__address__", "replacement": f"mlflow.{MLOPS}.svc:{mlflow.PORT}"}
    return _matching("mlflow", MLOPS, {NAME_LABEL: mlflow.APP}, port="http", relabelings=[name])


def _models() -> Object:
    """Every model that KServe runs at port 8080, but endpoints: theirs are read by PodMonitors of their own.

    Read twice, each of their figures would count double, and twice as many replicas be wanted.
    """
    found = _matching("models", MODELS, {}, targetPort=8080)
    found["spec"]["selector"] = {
        "matchExpressions": [
            {"key": "serving.kserve.io/inferenceservice", "operator": "Exists"},
            {"key": ENDPOINT_LABEL, "operator": "DoesNotExist"},
        ]
    }
    return found
