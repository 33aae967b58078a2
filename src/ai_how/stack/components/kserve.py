"""KServe: runs models as InferenceServices, in its Standard mode: plain Deployments, no Knative.

The chart's own default is Knative. Its images of model servers are not installed: endpoints bring theirs.
Source of the values: the charts' values.yaml of 0.20.0 and 0.15.2.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ai_how.stack.components import cert_manager, gateway_controller, namespaces, object_store
from ai_how.stack.manifests import Object
from ai_how.stack.objects import Awaited, Component, GeneratedSecret
from ai_how.stack.part import Backup, Part, Workload
from ai_how.stack.policies import from_api_servers, from_space, policy
from ai_how.stack.requests import Request
from ai_how.stack.setting import GATEWAY, KSERVE, MODELS, MONITORING, Setting
from ai_how.stack.upstream import at_least, chart, image

NAME = "kserve"
WEBHOOK_PORT, METRICS_PORT = 9443, 8080
MODEL_PORTS = 1024
"""Ports of models: any that need no rights."""
CONTROLLER = Request(cpu_m=100, memory_mib=300, limit_mib=512)
RBAC_PROXY = Request(cpu_m=10, memory_mib=32, limit_mib=128)
SERVICE_ACCOUNT = "models"
API_KEYS = "ai-how-api-keys"
"""The Secret with the keys of models' clients, by name; vLLM compares them itself."""
API_KEY = "default"
"""The one that is made."""


def render(setting: Setting) -> Part:
    """Both charts, the account that models fetch their files with, and the key of their clients."""
    awaited = (Awaited(api_version="apps/v1", kind="Deployment", name="kserve-controller-manager", namespace=KSERVE),)
    return Part(
        title="KServe",
        version=setting.version("kserve"),
        component=Component(
            name=NAME,
            namespace=KSERVE,
            objects=(*_policies(setting), _account(setting)),
            charts=(
                chart("kserve-crd", setting, namespace=KSERVE, values={}),
                chart("kserve", setting, namespace=KSERVE, values=_values(setting), needs=("kserve-crd",)),
            ),
            secrets=(GeneratedSecret(name=API_KEYS, namespace=MODELS, random={API_KEY: 48}),),
            needs=(namespaces.NAME, cert_manager.NAME, gateway_controller.NAME, object_store.NAME),
            awaited=awaited,
        ),
        backups=(Backup(kind="secrets", namespace=MODELS, items=(API_KEYS,)),),
        # what endpoints run: a bundle must hold it too
        images=(image("vllm", setting),),
        workloads=(Workload(name="kserve-controller-manager", request=CONTROLLER + RBAC_PROXY),),
    )


def _values(setting: Setting) -> dict[str, Any]:
    store = urlsplit(object_store.endpoint(setting))
    newer = at_least(setting.version("kserve"), "0.16")
    controller: dict[str, Any] = {
        # the same mode had another name before
        "deploymentMode": "Standard" if newer else "RawDeployment",
        "metricsBindAddress": "0.0.0.0",  # noqa: S104 - a policy lets Prometheus in and nobody else
        "resources": CONTROLLER.resources(),
        "rbacProxy": {"resources": RBAC_PROXY.resources()},
        "gateway": {
            "domain": setting.stack.domain,
            "urlScheme": "https",
            "disableIstioVirtualHost": True,
            "ingressGateway": {
                "enableGatewayApi": True,
                "createGateway": False,
                "kserveGateway": f"{GATEWAY}/ai-how",
                "className": "nginx",
            },
        },
    }
    if at_least(setting.version("kserve"), "0.17"):
        controller["imagePullPolicy"] = "IfNotPresent"
    s3 = {
        "endpoint": store.netloc,
        "useHttps": "1" if store.scheme == "https" else "0",
        "region": setting.stack.object_store.region,
        "verifySSL": "1" if store.scheme == "https" else "0",
        "useVirtualBucket": "false",
        "useAnonymousCredential": "false",
    }
    return {"kserve": {"controller": controller, "storage": {"s3": s3}}}


def _account(setting: Setting) -> Object:
    """KServe gives a model the S3 keys of the Secrets that its account names."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": SERVICE_ACCOUNT, "namespace": MODELS},
        "secrets": [{"name": object_store.credentials(setting)}],
        "automountServiceAccountToken": False,
    }


def _policies(setting: Setting) -> tuple[Object, ...]:
    ingress = (from_api_servers(setting, WEBHOOK_PORT), from_space(MONITORING, METRICS_PORT))
    any_port = [{"port": MODEL_PORTS, "endPort": 65535, "protocol": "TCP"}]
    peers = [{**from_space(space)["from"][0]} for space in (GATEWAY, MONITORING)]
    return (
        policy("allow-webhook-and-metrics", KSERVE, ingress=ingress),
        policy("allow-requests-and-metrics", MODELS, ingress=({"from": peers, "ports": any_port},)),
        policy("allow-model-files", MODELS, egress=(object_store.way_to(setting),)),
    )
