"""Alert rules: what somebody should look at, why, and what to type next. Pure.

kube-prometheus-stack brings rules for nodes and Kubernetes itself; these are for what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ai_how.stack.promql import ROOT_DISKS
from ai_how.stack.setting import Setting


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A rule. It fires when ``expr`` has held for ``for_s`` seconds; ``remedy`` is the next step."""

    name: str
    expr: str
    for_s: int
    severity: Literal["warning", "critical"]
    summary: str
    remedy: str


_STORE_DOWN = Alert(
    name="ObjectStoreDown",
    expr='kube_statefulset_status_replicas_ready{namespace="mlops",statefulset="object-store"} < 1',
    for_s=300,
    severity="critical",
    summary="The object store does not answer: models cannot be loaded, artifacts cannot be kept.",
    remedy="kubectl -n mlops describe pod object-store-0",
)
_DATABASE_DOWN = Alert(
    name="DatabaseDown",
    expr="(cnpg_collector_up == 0) or absent(cnpg_collector_up)",
    for_s=300,
    severity="critical",
    summary="PostgreSQL does not answer, so MLflow does not either.",
    remedy="kubectl -n mlops describe cluster mlflow-db",
)
_ALWAYS = (
    Alert(
        name="MlflowDown",
        expr='kube_deployment_status_replicas_available{namespace="mlops",deployment="mlflow"} < 1',
        for_s=300,
        severity="critical",
        summary="MLflow does not answer.",
        remedy="kubectl -n mlops logs deployment/mlflow",
    ),
    Alert(
        name="MlflowErrors",
        expr='sum(rate(mlflow_http_request_total{status=~"5.."}[5m])) '
        "/ sum(rate(mlflow_http_request_total[5m])) > 0.05",
        for_s=600,
        severity="warning",
        summary="MLflow fails at {{ $value | humanizePercentage }} of its requests.",
        remedy="kubectl -n mlops logs deployment/mlflow",
    ),
    Alert(
        name="CertificateNotRenewed",
        expr="certmanager_certificate_expiration_timestamp_seconds - time() < 14 * 86400",
        for_s=3600,
        severity="warning",
        summary="Certificate {{ $labels.exported_namespace }}/{{ $labels.name }} ends within two weeks.",
        remedy="kubectl describe certificate -A",
    ),
    Alert(
        name="VolumeNearlyFull",
        expr="kubelet_volume_stats_available_bytes / kubelet_volume_stats_capacity_bytes < 0.12",
        for_s=900,
        severity="warning",
        summary="Volume {{ $labels.namespace }}/{{ $labels.persistentvolumeclaim }} has "
        "{{ $value | humanizePercentage }} left.",
        remedy="delete what is not needed, or give the node a larger disk",
    ),
    # of local-path's volumes, folders on that disk, the kubelet tells nothing
    Alert(
        name="NodeDiskNearlyFull",
        expr=f"node_filesystem_avail_bytes{{{ROOT_DISKS}}} / node_filesystem_size_bytes{{{ROOT_DISKS}}} < 0.2",
        for_s=900,
        severity="warning",
        summary="{{ $labels.instance }} has {{ $value | humanizePercentage }} of its disk left: at 18 % an object "
        "store there takes no writes, at 15 % its pods are evicted.",
        remedy="delete models that are not needed, or give the node a larger disk",
    ),
)
_GPU = (
    Alert(
        name="GpuError",
        expr="DCGM_FI_DEV_XID_ERRORS > 0",
        for_s=60,
        severity="critical",
        summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} reported XID {{ $value }}.",
        remedy="ai-how doctor on that node; NVIDIA's documentation explains the number",
    ),
    Alert(
        name="GpuTooWarm",
        expr="DCGM_FI_DEV_GPU_TEMP > 90",
        for_s=300,
        severity="warning",
        summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} is at {{ $value }} C and runs slower.",
        remedy="look at its fans and the air around it",
    ),
    Alert(
        name="GpuNodeWithoutGpus",
        expr='kube_node_status_allocatable{resource="nvidia_com_gpu"} == 0',
        for_s=900,
        severity="critical",
        summary="Node {{ $labels.node }} offers no GPU any more.",
        remedy="kubectl -n gpu-operator get pods",
    ),
    Alert(
        name="InferenceQueueGrows",
        expr="sum by (model_name) (vllm:num_requests_waiting) > 10",
        for_s=300,
        severity="warning",
        summary="{{ $value }} requests wait for {{ $labels.model_name }}.",
        remedy="give the endpoint more replicas, or see why it does not scale: ai-how status",
    ),
    Alert(
        name="InferenceTooSlow",
        expr="histogram_quantile(0.95, sum by (le, model_name) "
        "(rate(vllm:e2e_request_latency_seconds_bucket[5m]))) > {latency_p95_s}",
        for_s=900,
        severity="warning",
        summary="P95 of {{ $labels.model_name }} is {{ $value | humanizeDuration }}, above the site's target.",
        remedy="ai-how bench says where the time goes",
    ),
)


def alerts(setting: Setting) -> tuple[Alert, ...]:
    """The rules for what the cluster has."""
    found = list(_ALWAYS)
    if setting.stack.object_store.type != "external":
        found.append(_STORE_DOWN)
    if setting.stack.database.type == "cloudnative-pg":
        found.append(_DATABASE_DOWN)
    return (*found, *(_GPU if setting.has_gpus else ()))


def rule_groups(setting: Setting) -> list[dict[str, Any]]:
    """The rules as Prometheus reads them."""
    return [{"name": "ai-how", "rules": [_rule(each, setting) for each in alerts(setting)]}]


def _rule(alert: Alert, setting: Setting) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr.replace("{latency_p95_s}", f"{setting.latency_p95_s:g}"),
        "for": f"{alert.for_s}s",
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.remedy},
    }
