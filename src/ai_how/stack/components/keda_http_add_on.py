"""KEDA's HTTP add-on: holds the requests of a model that sleeps, and wakes it.

KServe's Standard mode brings nothing of the kind. Its interceptor waits until a Service has a ready pod, for as long as
the endpoint's route says. Source of the values: the chart's values.yaml of 0.15.0 and 0.11.0.
"""

from __future__ import annotations

from typing import Any

from ai_how.stack.components import gateway_api, keda, namespaces
from ai_how.stack.manifests import Object
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part, Workload
from ai_how.stack.policies import from_space, policy, to_space
from ai_how.stack.requests import Request
from ai_how.stack.setting import GATEWAY, KEDA, MODELS, Setting
from ai_how.stack.upstream import at_least, chart

NAME = "keda-http-add-on"
_PREFIX = "keda-add-ons-http"
"""The chart's own name, which its objects begin with."""
PROXY, PROXY_PORT = f"{_PREFIX}-interceptor-proxy", 8080
"""The Service that requests are sent to."""
SCALER_PORT = 9090
SCALER_ADDRESS = f"{_PREFIX}-external-scaler.{KEDA}:{SCALER_PORT}"
"""What KEDA asks how many requests are held."""
MODEL_PORTS = 1024
"""Ports of models: any that need no rights."""
INTERCEPTOR = Request(cpu_m=50, memory_mib=64, limit_mib=256)
SCALER = Request(cpu_m=20, memory_mib=32, limit_mib=128)
OPERATOR = Request(cpu_m=10, memory_mib=32, limit_mib=128)
RBAC_PROXY = Request(cpu_m=10, memory_mib=20, limit_mib=128)
"""Beside the operator before 0.14."""
MOST_INTERCEPTORS = 3
LONGEST_START_S, LONGEST_ANSWER_S = 600, 600
"""For routes that say nothing of their own."""
_USER = 1000
"""The chart's own."""


def render(setting: Setting) -> Part:
    """The chart, what may reach what, and that routes to models may lead to it."""
    newer = _is_newer(setting)
    workloads = tuple(
        Workload(name=f"{_PREFIX}-{part}", request=request)
        for part, request in (
            ("interceptor", INTERCEPTOR),
            ("external-scaler", SCALER),
            ("controller-manager", OPERATOR if newer else OPERATOR + RBAC_PROXY),
        )
    )
    return Part(
        title="KEDA HTTP add-on",
        version=setting.version(NAME),
        component=Component(
            name=NAME,
            namespace=KEDA,
            objects=(_grant(), *_policies()),
            charts=(chart(NAME, setting, namespace=KEDA, values=_values(setting)),),
            # routes are of a kind that the Gateway API brings; its own ScaledObject of one that KEDA does
            needs=(namespaces.NAME, keda.NAME, gateway_api.NAME),
            awaited=tuple(
                Awaited(api_version="apps/v1", kind="Deployment", name=each.name, namespace=KEDA) for each in workloads
            ),
        ),
        workloads=workloads,
    )


def _is_newer(setting: Setting) -> bool:
    """From then on values have other names, and the operator needs no proxy before its metrics."""
    return at_least(setting.version(NAME), "0.14")


def _values(setting: Setting) -> dict[str, Any]:
    newer = _is_newer(setting)
    start, answer = f"{LONGEST_START_S}s", f"{LONGEST_ANSWER_S}s"
    replicas: dict[str, Any] = {"min": 1, "max": MOST_INTERCEPTORS}
    interceptor: dict[str, Any] = {
        "pullPolicy": "IfNotPresent",
        "replicas": replicas,
        "responseHeaderTimeout": answer,
        "resources": _resources(INTERCEPTOR),
    }
    operator: dict[str, Any] = {"pullPolicy": "IfNotPresent", "resources": _resources(OPERATOR)}
    if newer:
        interceptor["readinessTimeout"] = start
    else:
        replicas["waitTimeout"] = start
        operator["kubeRbacProxy"] = {"resources": _resources(RBAC_PROXY)}
    container = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER}
    parts = ("operator", "scaler", "interceptor", *(() if newer else ("kuberbacproxy",)))
    return {
        "crds": {"install": True},
        "operator": operator,
        "scaler": {"pullPolicy": "IfNotPresent", "replicas": 1, "resources": _resources(SCALER)},
        "interceptor": interceptor,
        "securityContext": dict.fromkeys(parts, container),
        "podSecurityContext": dict.fromkeys(("operator", "scaler", "interceptor"), pod),
    }


def _resources(request: Request) -> dict[str, Any]:
    """Without the chart's limit of half a core, which would slow requests down on an idle node."""
    wanted = request.resources()
    return {**wanted, "limits": {"cpu": None, **wanted["limits"]}}


def _grant() -> Object:
    """An endpoint's route lies beside the endpoint, the interceptor in KEDA's namespace."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": "routes-to-models", "namespace": KEDA},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": MODELS}],
            "to": [{"group": "", "kind": "Service", "name": PROXY}],
        },
    }


def _policies() -> tuple[Object, ...]:
    any_port = [{"port": MODEL_PORTS, "endPort": 65535, "protocol": "TCP"}]
    return (
        policy(
            "allow-held-requests",
            KEDA,
            ingress=(from_space(GATEWAY, PROXY_PORT),),
            egress=({"to": to_space(MODELS)["to"], "ports": any_port},),
        ),
        policy("allow-held-requests", MODELS, ingress=({"from": from_space(KEDA)["from"], "ports": any_port},)),
        policy("allow-held-requests", GATEWAY, egress=(to_space(KEDA, PROXY_PORT),)),
    )
