"""KEDA: scales endpoints by what Prometheus knows of their queues.

Source of the values: the chart's values.yaml of 2.20.2 and 2.18.0.
"""

from __future__ import annotations

from ai_how.stack.components import namespaces
from ai_how.stack.manifests import Object
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part, Workload
from ai_how.stack.policies import from_api_servers, from_space, policy, to_space, within
from ai_how.stack.requests import Request
from ai_how.stack.setting import KEDA, MONITORING, Setting
from ai_how.stack.upstream import chart

NAME = "keda"
API_PORT, WEBHOOK_PORT, METRICS_PORT = 6443, 9443, 8080
PROMETHEUS_PORT = 9090
OPERATOR = Request(cpu_m=50, memory_mib=128, limit_mib=512)
METRICS = Request(cpu_m=50, memory_mib=96, limit_mib=256)
WEBHOOKS = Request(cpu_m=10, memory_mib=32, limit_mib=128)


def render(setting: Setting) -> Part:
    """The chart, its CRDs with it."""
    values = {
        "crds": {"install": True},
        "image": {"pullPolicy": "IfNotPresent"},
        "resources": {
            "operator": OPERATOR.resources(),
            "metricServer": METRICS.resources(),
            "webhooks": WEBHOOKS.resources(),
        },
        "prometheus": {"operator": {"enabled": True}},
    }
    return Part(
        title="KEDA",
        version=setting.version("keda"),
        component=Component(
            name=NAME,
            namespace=KEDA,
            objects=_policies(setting),
            charts=(chart("keda", setting, namespace=KEDA, values=values),),
            needs=(namespaces.NAME,),
            awaited=(
                *(
                    Awaited(api_version="apps/v1", kind="Deployment", name=name, namespace=KEDA)
                    for name in ("keda-operator", "keda-operator-metrics-apiserver", "keda-admission-webhooks")
                ),
                Awaited(
                    api_version="apiregistration.k8s.io/v1",
                    kind="APIService",
                    name="v1beta1.external.metrics.k8s.io",
                    condition="Available",
                ),
            ),
        ),
        workloads=(
            Workload(name="keda-operator", request=OPERATOR),
            Workload(name="keda-operator-metrics-apiserver", request=METRICS),
            Workload(name="keda-admission-webhooks", request=WEBHOOKS),
        ),
    )


def _policies(setting: Setting) -> tuple[Object, ...]:
    ingress = (from_api_servers(setting, API_PORT, WEBHOOK_PORT), from_space(MONITORING, METRICS_PORT))
    return (
        within(KEDA),
        policy("allow-api-servers-and-metrics", KEDA, ingress=ingress),
        policy("allow-prometheus", KEDA, egress=(to_space(MONITORING, PROMETHEUS_PORT, app="prometheus"),)),
    )
