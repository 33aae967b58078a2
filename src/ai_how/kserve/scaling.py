"""What scales a revision: KEDA, by vLLM's own metrics, and by the requests that are held while it sleeps. Pure.

Three measures, of which the highest wants: requests at work and waiting (as many a replica as it may work on at once),
the queue (a queue while sequences are free means that memory is short), and the KV cache. Names of metrics:
vllm-project/vllm, docs/design/metrics.md. KEDA's fields: kedacore/keda-docs, content/docs/2.20, scaledobject-spec.md
and scalers/prometheus.md; those of its HTTP add-on: kedacore/http-add-on v0.15.0, scaler/handlers.go.
"""

from __future__ import annotations

import math
from typing import Any

from ai_how.endpoints.types import EndpointSpec
from ai_how.errors import NotFoundError
from ai_how.kserve.names import service_name
from ai_how.kserve.revision import KServeRevision
from ai_how.kserve.setting import ServingSetting
from ai_how.stack.components import keda_http_add_on as add_on
from ai_how.stack.objects import KubernetesObject
from ai_how.stack.upstream import at_least

LONGEST_WINDOW_S = 3600
"""What the HPA allows at most."""
FULL_CACHE = 0.8
"""Part of the KV cache in use from which on one more replica is wanted; at 1 vLLM puts requests back. Chosen."""
ROUTES_SINCE = "0.14"
"""The add-on's version that InterceptorRoute begins with; before, HTTPScaledObject says the same."""


def sleeps(spec: EndpointSpec) -> bool:
    """Whether an endpoint may be without replicas until a request wakes it."""
    return spec.autoscaling.min_replicas == 0 and not spec.stopped


def scaled_object(revision: KServeRevision, setting: ServingSetting, *, sleeping: bool) -> KubernetesObject:
    """What KEDA keeps the revision's Deployment at."""
    bounds, serving = revision.spec.autoscaling, setting.serving
    triggers = [*_by_metrics(revision, setting), *((_by_held_requests(revision, setting),) if sleeping else ())]
    annotations = {"autoscaling.keda.sh/paused-replicas": "0"} if revision.spec.stopped else {}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": revision.name,
            "namespace": setting.namespace,
            "labels": revision.labels,
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": service_name(revision.spec.name, revision.number),
            },
            "minReplicaCount": 0 if sleeping else max(1, bounds.min_replicas),
            "maxReplicaCount": bounds.max_replicas,
            "pollingInterval": 15,
            "cooldownPeriod": math.ceil(serving.idle_after_s),
            # not put to sleep before it was awake once
            "initialCooldownPeriod": math.ceil(serving.start_timeout_s),
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(setting)}},
            "triggers": triggers,
        },
    }


def _behavior(setting: ServingSetting) -> dict[str, Any]:
    serving = setting.serving
    return {
        "scaleUp": {"stabilizationWindowSeconds": min(LONGEST_WINDOW_S, math.ceil(serving.scale_out_after_s))},
        "scaleDown": {
            "stabilizationWindowSeconds": min(LONGEST_WINDOW_S, math.ceil(serving.idle_after_s)),
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        },
    }


def _by_metrics(revision: KServeRevision, setting: ServingSetting) -> list[dict[str, Any]]:
    pods = f'namespace="{setting.namespace}",pod=~"{service_name(revision.spec.name, revision.number)}-.+"'
    running, waiting = (f"sum(vllm:num_requests_{what}{{{pods}}})" for what in ("running", "waiting"))
    return [
        _prometheus(
            "requests",
            f"{running} + {waiting}",
            setting=setting,
            threshold=str(setting.serving.parallel_requests),
            kind="AverageValue",
        ),
        _prometheus(
            "queue",
            # nothing where there is no queue: it would keep replicas that nobody needs
            f"({waiting} > bool 0) * ({running} + {waiting}) / clamp_min({running}, 1)",
            setting=setting,
            threshold="1",
            kind="Value",
        ),
        _prometheus(
            "kv-cache",
            f"avg(vllm:kv_cache_usage_perc{{{pods}}})",
            setting=setting,
            threshold=f"{FULL_CACHE:g}",
            kind="Value",
        ),
    ]


def _prometheus(name: str, query: str, *, setting: ServingSetting, threshold: str, kind: str) -> dict[str, Any]:
    """A trigger; with ``Value`` replicas change by what the metric is of the threshold."""
    return {
        "type": "prometheus",
        "name": name,
        "metricType": kind,
        "metadata": {"serverAddress": setting.prometheus_url, "query": query, "threshold": threshold},
    }


def _by_held_requests(revision: KServeRevision, setting: ServingSetting) -> dict[str, Any]:
    version = add_on_version(revision.spec, setting)
    key = "interceptorRoute" if at_least(version, ROUTES_SINCE) else "httpScaledObject"
    return {
        "type": "external-push",
        "name": "held-requests",
        "metadata": {"scalerAddress": add_on.SCALER_ADDRESS, key: revision.spec.name},
    }


def add_on_version(spec: EndpointSpec, setting: ServingSetting) -> str:
    """The version of what holds requests.

    Raises:
        NotFoundError: the release set has none.
    """
    version = setting.versions.get(add_on.NAME, "")
    if not version:
        raise NotFoundError(
            f"endpoint {spec.name} may go down to no replica, and nothing here would hold the request that wakes it",
            evidence=f"the release set has no {add_on.NAME}",
            next_step="write min_replicas: 1 in the deploy file, or take the current release set",
        )
    return version


def wake_objects(revision: KServeRevision, setting: ServingSetting) -> tuple[KubernetesObject, ...]:
    """What tells the add-on which requests to hold and for whom: the revision that gets most and may sleep."""
    spec, serving = revision.spec, setting.serving
    service, host = service_name(spec.name, revision.number), setting.host(spec.name)
    metadata: dict[str, Any] = {
        "name": spec.name,
        "namespace": setting.namespace,
        "labels": {key: value for key, value in revision.labels.items() if key != "ai-how/revision"},
    }
    ready, answer = f"{math.ceil(serving.start_timeout_s)}s", f"{LONGEST_ANSWER_S}s"
    if at_least(add_on_version(spec, setting), ROUTES_SINCE):
        route = {
            "apiVersion": "http.keda.sh/v1beta1",
            "kind": "InterceptorRoute",
            "metadata": metadata,
            "spec": {
                "target": {"service": service, "port": 80},
                "rules": [{"hosts": [host]}],
                "scalingMetric": {"concurrency": {"targetValue": serving.parallel_requests}},
                "timeouts": {"readiness": ready, "responseHeader": answer, "request": "0s"},
            },
        }
        return (route,)
    older = {
        "apiVersion": "http.keda.sh/v1alpha1",
        "kind": "HTTPScaledObject",
        # the ScaledObject is ours: it has vLLM's metrics as well
        "metadata": {**metadata, "annotations": {"httpscaledobject.keda.sh/skip-scaledobject-creation": "true"}},
        "spec": {
            "hosts": [host],
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": service,
                "service": service,
                "port": 80,
            },
            "replicas": {"min": 0, "max": spec.autoscaling.max_replicas},
            "scalingMetric": {"concurrency": {"targetValue": serving.parallel_requests}},
            "timeouts": {"conditionWait": ready, "responseHeader": answer},
        },
    }
    return (older,)


LONGEST_ANSWER_S = 600
"""How long the first byte of an answer may take: all of an answer that is not streamed. Chosen."""
