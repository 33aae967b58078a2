"""Prometheus, Alertmanager and Grafana, by kube-prometheus-stack.

Source of the values: the charts' values.yaml of 88.5.3 and 78.5.0; of what Kubespray lets others see: its defaults
``kube_proxy_metrics_bind_address`` (the node alone) and ``etcd_metrics_port`` (none).
"""

from __future__ import annotations

import math
from typing import Any

from ai_how.stack.components import cert_manager, namespaces
from ai_how.stack.manifests import Object
from ai_how.stack.objects import Awaited, Component, GeneratedSecret
from ai_how.stack.part import Address, Backup, Part, Volume, Workload
from ai_how.stack.policies import (
    anywhere_outside,
    blocks,
    from_api_servers,
    from_space,
    policy,
    ports,
    to_space,
    within,
)
from ai_how.stack.requests import Request
from ai_how.stack.setting import GATEWAY, KEDA, MONITORING, Setting
from ai_how.stack.upstream import chart

NAME = "monitoring"
LOGIN = "grafana-login"
PROMETHEUS_PORT, GRAFANA_PORT, WEBHOOK_PORT = 9090, 3000, 10250
USED_PART = 0.9
"""How much of its volume Prometheus fills before the oldest metrics go: what it writes meanwhile needs the rest."""

PROMETHEUS = Request(cpu_m=500, memory_mib=2048, limit_mib=3072)
ALERTMANAGER = Request(cpu_m=10, memory_mib=64, limit_mib=256)
GRAFANA = Request(cpu_m=100, memory_mib=256, limit_mib=512)
SIDECAR = Request(cpu_m=10, memory_mib=96, limit_mib=192)
RELOADER = Request(cpu_m=10, memory_mib=32, limit_mib=64)
OPERATOR = Request(cpu_m=50, memory_mib=96, limit_mib=256)
STATE = Request(cpu_m=20, memory_mib=96, limit_mib=256)
NODE = Request(cpu_m=20, memory_mib=32, limit_mib=128)


def render(setting: Setting) -> Part:
    """The chart, Grafana's login, and what may reach what."""
    size = setting.stack.monitoring.size_gib
    return Part(
        title="Prometheus and Grafana",
        version=setting.version("kube-prometheus-stack"),
        component=Component(
            name=NAME,
            namespace=MONITORING,
            objects=_policies(setting),
            charts=(chart("kube-prometheus-stack", setting, namespace=MONITORING, values=_values(setting)),),
            secrets=(
                GeneratedSecret(name=LOGIN, namespace=MONITORING, random={"password": 24}, texts={"user": "admin"}),
            ),
            needs=(namespaces.NAME, cert_manager.NAME),
            awaited=_awaited(),
        ),
        workloads=(
            Workload(name="prometheus", request=PROMETHEUS + RELOADER),
            Workload(name="alertmanager", request=ALERTMANAGER + RELOADER),
            Workload(name="grafana", request=GRAFANA + SIDECAR + SIDECAR),
            Workload(name="monitoring-operator", request=OPERATOR),
            Workload(name="kube-state-metrics", request=STATE),
            Workload(name="prometheus-node-exporter", request=NODE, place="every-node"),
        ),
        volumes=(Volume(name="metrics", namespace=MONITORING, size_gib=size),),
        addresses=(Address(title="Grafana", url=setting.url("grafana"), login=f"{MONITORING}/{LOGIN}"),),
        backups=(Backup(kind="secrets", namespace=MONITORING, items=(LOGIN,)),),
        notes=_notes(setting),
    )


def _notes(setting: Setting) -> tuple[str, ...]:
    full = f"{_used_gib(setting):g} GiB"
    kept = f"metrics are kept {setting.retention_days:g} days, fewer where {full} are full before"
    if setting.stack.monitoring.webhook_url_secret:
        return (kept,)
    return (kept, "alerts are shown in Grafana and sent to nobody: see monitoring.webhook_url_secret")


def _awaited() -> tuple[Awaited, ...]:
    return (
        *(
            Awaited(api_version="apps/v1", kind="Deployment", name=name, namespace=MONITORING)
            for name in ("monitoring-operator", "grafana", "kube-state-metrics")
        ),
        Awaited(api_version="apps/v1", kind="DaemonSet", name="prometheus-node-exporter", namespace=MONITORING),
        Awaited(
            api_version="monitoring.coreos.com/v1",
            kind="Prometheus",
            name="monitoring-prometheus",
            namespace=MONITORING,
            condition="Available",
        ),
        Awaited(
            api_version="monitoring.coreos.com/v1",
            kind="Alertmanager",
            name="monitoring-alertmanager",
            namespace=MONITORING,
            condition="Available",
        ),
    )


def _retention_size(setting: Setting) -> str:
    return f"{math.floor(_used_gib(setting) * 1024)}MB"


def _used_gib(setting: Setting) -> float:
    """What of the volume metrics may fill."""
    return setting.stack.monitoring.size_gib * USED_PART


def _values(setting: Setting) -> dict[str, Any]:
    return {
        "fullnameOverride": "monitoring",
        "crds": {"enabled": True},
        "prometheusOperator": {
            "resources": OPERATOR.resources(),
            "prometheusConfigReloader": {"resources": RELOADER.resources()},
            "admissionWebhooks": {"certManager": {"enabled": True}},
        },
        "prometheus": {"prometheusSpec": _prometheus(setting)},
        "alertmanager": _alertmanager(setting),
        "grafana": _grafana(setting),
        "kube-state-metrics": {"fullnameOverride": "kube-state-metrics", "resources": STATE.resources()},
        "prometheus-node-exporter": {"fullnameOverride": "prometheus-node-exporter", "resources": NODE.resources()},
        # Kubespray's kube-proxy and etcd show their metrics to nobody
        "kubeProxy": {"enabled": False},
        "kubeEtcd": {"enabled": False},
    }


def _prometheus(setting: Setting) -> dict[str, Any]:
    kinds = ("rule", "serviceMonitor", "podMonitor", "probe", "scrapeConfig")
    return {
        # of every part, not only of this chart
        **{f"{kind}SelectorNilUsesHelmValues": False for kind in kinds},
        "retention": f"{math.ceil(setting.retention_days * 24)}h",
        "retentionSize": _retention_size(setting),
        "resources": PROMETHEUS.resources(),
        "storageSpec": {
            "volumeClaimTemplate": {
                "spec": {
                    "storageClassName": setting.stack.storage_class,
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": f"{setting.stack.monitoring.size_gib}Gi"}},
                }
            }
        },
    }


def _alertmanager(setting: Setting) -> dict[str, Any]:
    spec: dict[str, Any] = {"resources": ALERTMANAGER.resources()}
    secret = setting.stack.monitoring.webhook_url_secret
    if not secret:
        return {"alertmanagerSpec": spec}
    file = f"/etc/alertmanager/secrets/{secret}/url"
    return {
        "alertmanagerSpec": {**spec, "secrets": [secret]},
        "config": {
            "route": {
                "receiver": "webhook",
                "routes": [{"receiver": "null", "matchers": ['alertname =~ "Watchdog|InfoInhibitor"']}],
            },
            "receivers": [{"name": "null"}, {"name": "webhook", "webhook_configs": [{"url_file": file}]}],
        },
    }


def _grafana(setting: Setting) -> dict[str, Any]:
    return {
        "fullnameOverride": "grafana",
        "admin": {"existingSecret": LOGIN, "userKey": "user", "passwordKey": "password"},
        "resources": GRAFANA.resources(),
        "sidecar": {"resources": SIDECAR.resources()},
        # dashboards come from ConfigMaps, and users are few: nothing is kept
        "persistence": {"enabled": False},
        "testFramework": {"enabled": False},
        "grafana.ini": {
            "server": {"root_url": setting.url("grafana")},
            "analytics": {"check_for_updates": False, "check_for_plugin_updates": False, "reporting_enabled": False},
            "security": {"cookie_secure": True, "disable_gravatar": True},
        },
    }


def _policies(setting: Setting) -> tuple[Object, ...]:
    everything: Object = {"ipBlock": {"cidr": setting.pod_cidr}}
    found = [
        within(MONITORING),
        # it asks every part for its metrics, each of which lets it in or not
        policy(
            "allow-scraping",
            MONITORING,
            pods={"app.kubernetes.io/name": "prometheus"},
            ingress=(from_space(KEDA, PROMETHEUS_PORT),),
            egress=({"to": [everything, *blocks(setting.node_ranges), *to_space("kube-system")["to"]]},),
        ),
        policy(
            "allow-webhook", MONITORING, pods={"app": "kube-prometheus-stack-operator"}, ingress=(_webhook(setting),)
        ),
        policy(
            "allow-browsers",
            MONITORING,
            pods={"app.kubernetes.io/name": "grafana"},
            ingress=(from_space(GATEWAY, GRAFANA_PORT),),
        ),
    ]
    if setting.stack.monitoring.webhook_url_secret:
        out = {"to": anywhere_outside(setting)["to"], "ports": ports(80, 443)}
        pods = {"app.kubernetes.io/name": "alertmanager"}
        found.append(policy("allow-alerts-out", MONITORING, pods=pods, egress=(out,)))
    return tuple(found)


def _webhook(setting: Setting) -> Object:
    return from_api_servers(setting, WEBHOOK_PORT)
