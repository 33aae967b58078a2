"""What the stack's parts are rendered from: the site's wishes, the cluster's layout, the versions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ai_how.errors import NotFoundError
from ai_how.site.roles import SUBNETS
from ai_how.site.spec import Site
from ai_how.site.stack import Stack

MLOPS = "mlops"
MODELS = "models"
MONITORING = "monitoring"
GATEWAY = "gateway"
CERT_MANAGER = "cert-manager"
NGINX_GATEWAY = "nginx-gateway"
CNPG_SYSTEM = "cnpg-system"
KSERVE = "kserve"
KEDA = "keda"
GPU_OPERATOR = "gpu-operator"
"""The namespaces; those of charts are the ones that their authors use."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One cluster's stack to be rendered."""

    site: str
    cluster: str
    stack: Stack
    versions: Mapping[str, str]
    """By component, from the release set with the site's pins."""
    node_subnet: str
    pod_cidr: str
    service_cidr: str
    retention_days: float
    has_gpus: bool
    latency_p95_s: float
    """The site's target for a warm request."""
    node_cache_gib: int = 0
    """Disk of each GPU node for models' weights; 0: none."""
    keep_image: bool = False
    """Whether GPU nodes hold vLLM's image before a pod needs it."""

    def host(self, name: str) -> str:
        """The host name of a part: ``mlflow.ai-how.internal``."""
        return f"{name}.{self.stack.domain}"

    def url(self, name: str) -> str:
        """Where a browser finds a part."""
        access = self.stack.access
        port = f":{access.https_port}" if access.type == "node-port" else ""
        return f"https://{self.host(name)}{port}"

    def version(self, component: str, default: str = "") -> str:
        """A component's version, or the default where the release set has none.

        Raises:
            NotFoundError: it has none, and there is no default.
        """
        found = self.versions.get(component, default)
        if not found:
            raise NotFoundError(
                f"the release set has no {component}, which the stack needs",
                evidence=f"it has: {', '.join(sorted(self.versions))}",
                next_step=f"add it to the site file: pins: {{{component}: ...}}; see: ai-how versions",
            )
        return found


def setting_of(site: Site, name: str, versions: Mapping[str, str]) -> Setting:
    """The setting of the cluster of that name."""
    cluster = site.planned_clusters[name]
    return Setting(
        site=site.name,
        cluster=name,
        stack=cluster.stack,
        versions=versions,
        node_subnet=cluster.subnet or SUBNETS[cluster.kind],
        pod_cidr=cluster.kubernetes.pod_cidr,
        service_cidr=cluster.kubernetes.service_cidr,
        retention_days=site.storage.metrics_retention_days,
        has_gpus=any(node.role == "gpu-worker" for node in cluster.node_groups),
        latency_p95_s=site.targets.latency_p95_ms / 1000,
        node_cache_gib=site.serving.node_cache_gib,
        keep_image=site.serving.keep_image,
    )
