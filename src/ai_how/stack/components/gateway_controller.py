"""NGINX Gateway Fabric: runs the nginx that a Gateway asks for.

Source of the values: the chart's values.yaml of 2.6.7 and 2.2.0.
"""

from __future__ import annotations

from typing import Any

from ai_how.stack.components import gateway_api, namespaces
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part, Workload
from ai_how.stack.policies import from_space, policy
from ai_how.stack.requests import Request
from ai_how.stack.setting import GATEWAY, MONITORING, NGINX_GATEWAY, Setting
from ai_how.stack.upstream import chart

NAME = "nginx-gateway-fabric"
AGENT_PORT, METRICS_PORT = 8443, 9113
CONTROLLER = Request(cpu_m=50, memory_mib=128, limit_mib=256)
NGINX = Request(cpu_m=200, memory_mib=128, limit_mib=512)


def render(setting: Setting) -> Part:
    """The chart; its class of gateways is called nginx."""
    ingress = (from_space(GATEWAY, AGENT_PORT), from_space(MONITORING, METRICS_PORT))
    return Part(
        title="NGINX Gateway Fabric",
        version=setting.version("nginx-gateway-fabric"),
        component=Component(
            name=NAME,
            namespace=NGINX_GATEWAY,
            objects=(policy("allow-agents-and-metrics", NGINX_GATEWAY, ingress=ingress),),
            charts=(chart("nginx-gateway-fabric", setting, namespace=NGINX_GATEWAY, values=_values(setting)),),
            needs=(namespaces.NAME, gateway_api.NAME),
            awaited=(
                Awaited(api_version="apps/v1", kind="Deployment", name=NAME, namespace=NGINX_GATEWAY),
                Awaited(
                    api_version="gateway.networking.k8s.io/v1",
                    kind="GatewayClass",
                    name="nginx",
                    condition="Accepted",
                ),
            ),
        ),
        workloads=(Workload(name="nginx-gateway-fabric", request=CONTROLLER),),
    )


def _values(setting: Setting) -> dict[str, Any]:
    access = setting.stack.access
    if access.type == "node-port":
        # Cluster: every node answers, not only the one that nginx runs on
        service: dict[str, Any] = {
            "type": "NodePort",
            "externalTrafficPolicy": "Cluster",
            "nodePorts": [
                {"port": access.http_port, "listenerPort": 80},
                {"port": access.https_port, "listenerPort": 443},
            ],
        }
    else:
        service = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    return {
        "nginxGateway": {"resources": CONTROLLER.resources(), "productTelemetry": {"enable": False}},
        "nginx": {"container": {"resources": NGINX.resources()}, "service": service},
    }
