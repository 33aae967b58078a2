"""CloudNativePG: runs PostgreSQL servers and lets a copy take over when one is lost.

Source of the values: the chart's values.yaml of 0.29.0 and 0.26.1; of the ports: its documentation, "Networking".
"""

from __future__ import annotations

from ai_how.stack.components import namespaces
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Part, Workload
from ai_how.stack.policies import from_api_servers, from_space, policy, to_space
from ai_how.stack.requests import Request
from ai_how.stack.setting import CNPG_SYSTEM, MLOPS, MONITORING, Setting
from ai_how.stack.upstream import chart

NAME = "cloudnative-pg"
WEBHOOK_PORT, METRICS_PORT = 9443, 8080
STATUS_PORT, SQL_PORT = 8000, 5432
OPERATOR = Request(cpu_m=50, memory_mib=128, limit_mib=384)


def render(setting: Setting) -> Part:
    """The chart, its CRDs with it."""
    ingress = (from_api_servers(setting, WEBHOOK_PORT), from_space(MONITORING, METRICS_PORT))
    return Part(
        title="CloudNativePG",
        version=setting.version("cloudnative-pg"),
        component=Component(
            name=NAME,
            namespace=CNPG_SYSTEM,
            objects=(
                policy("allow-webhook-and-metrics", CNPG_SYSTEM, ingress=ingress),
                policy("allow-servers", CNPG_SYSTEM, egress=(to_space(MLOPS, STATUS_PORT, SQL_PORT),)),
            ),
            charts=(
                chart(
                    "cloudnative-pg",
                    setting,
                    namespace=CNPG_SYSTEM,
                    values={"crds": {"create": True}, "resources": OPERATOR.resources()},
                ),
            ),
            needs=(namespaces.NAME,),
            awaited=(Awaited(api_version="apps/v1", kind="Deployment", name=NAME, namespace=CNPG_SYSTEM),),
        ),
        workloads=(Workload(name=NAME, request=OPERATOR),),
    )
