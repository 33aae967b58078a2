"""cert-manager: makes and renews the certificates of the gateway and of other parts' webhooks.

Source of the values: cert-manager's chart, values.yaml of 1.21.1 and 1.19.1.
"""

from __future__ import annotations

from typing import Any

from ai_how.stack.components import gateway_api, namespaces
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part, Workload
from ai_how.stack.policies import anywhere_outside, from_api_servers, from_space, policy
from ai_how.stack.requests import Request
from ai_how.stack.setting import CERT_MANAGER, MONITORING, Setting
from ai_how.stack.upstream import chart

NAME = "cert-manager"
WEBHOOK_PORT, METRICS_PORT = 10250, 9402
CONTROLLER = Request(cpu_m=25, memory_mib=96, limit_mib=256)
WEBHOOK = Request(cpu_m=10, memory_mib=32, limit_mib=128)
INJECTOR = Request(cpu_m=25, memory_mib=128, limit_mib=384)
"""It keeps all Secrets and CRDs in memory."""


def render(setting: Setting) -> Part:
    """The chart, its CRDs with it."""
    needs = (namespaces.NAME, gateway_api.NAME)
    return Part(
        title="cert-manager",
        version=setting.version("cert-manager"),
        component=Component(
            name=NAME,
            namespace=CERT_MANAGER,
            objects=_policies(setting),
            charts=(chart("cert-manager", setting, namespace=CERT_MANAGER, values=_values(setting)),),
            needs=needs,
            awaited=tuple(
                Awaited(api_version="apps/v1", kind="Deployment", name=name, namespace=CERT_MANAGER)
                for name in ("cert-manager", "cert-manager-webhook", "cert-manager-cainjector")
            ),
        ),
        workloads=(
            Workload(name="cert-manager", request=CONTROLLER),
            Workload(name="cert-manager-webhook", request=WEBHOOK),
            Workload(name="cert-manager-cainjector", request=INJECTOR),
        ),
    )


def _values(setting: Setting) -> dict[str, Any]:
    values: dict[str, Any] = {
        "crds": {"enabled": True, "keep": True},
        "global": {"leaderElection": {"namespace": CERT_MANAGER}},
        "resources": CONTROLLER.resources(),
        "webhook": {"resources": WEBHOOK.resources()},
        "cainjector": {"resources": INJECTOR.resources()},
        # a Job that only tells whether the API answers: what is awaited tells that too
        "startupapicheck": {"enabled": False},
    }
    if setting.stack.access.issuer == "acme":
        # challenges are answered through the gateway
        values["config"] = {
            "apiVersion": "controller.config.cert-manager.io/v1alpha1",
            "kind": "ControllerConfiguration",
            "enableGatewayAPI": True,
        }
    return values


def _policies(setting: Setting) -> tuple[dict[str, Any], ...]:
    webhook = from_api_servers(setting, WEBHOOK_PORT)
    found = [
        policy("allow-webhook", CERT_MANAGER, pods={"app.kubernetes.io/component": "webhook"}, ingress=(webhook,)),
        policy("allow-metrics", CERT_MANAGER, ingress=(from_space(MONITORING, METRICS_PORT),)),
    ]
    if setting.stack.access.issuer == "acme":
        found.append(policy("allow-acme", CERT_MANAGER, egress=(anywhere_outside(setting, 80, 443),)))
    return tuple(found)
