"""What the stack's parts are rendered from: the site's wishes, the cluster's layout, the versions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from ai_how.errors import NotFoundError
from ai_how.site.roles import SUBNETS
from ai_how.site.spec import Site
from ai_how.site.stack import Stack

ENDPOINT_LABEL = "ai-how/endpoint"
"""On everything of an endpoint, its pods among it."""
EVERYWHERE = "0.0.0.0/0"
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
    api_server_ranges: tuple[str, ...]
    """Networks that the API servers' own addresses are in, in CIDR form."""
    node_ranges: tuple[str, ...]
    """Networks that all nodes' own addresses are in."""
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


@dataclass(frozen=True, kw_only=True)
class NodeAddresses:
    """A cluster's IPv4 addresses as its servers have them: of its control plane, and of all its nodes."""

    control_plane: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


def setting_of(
    site: Site, name: str, versions: Mapping[str, str], *, addresses: NodeAddresses | None = None
) -> Setting:
    """The setting of the cluster of that name.

    Args:
        addresses: Of existing servers, which are in any network unless the site file names one. Without them nothing
            that is rendered keeps nodes apart from others.
    """
    cluster = site.planned_clusters[name]
    anywhere = site.provider == "inventory" and cluster.subnet is None
    subnet, known = (cluster.subnet or SUBNETS[cluster.kind],), addresses or NodeAddresses()
    return Setting(
        site=site.name,
        cluster=name,
        stack=cluster.stack,
        versions=versions,
        api_server_ranges=_ranges(known.control_plane) if anywhere else subnet,
        node_ranges=_ranges(known.nodes) if anywhere else subnet,
        pod_cidr=cluster.kubernetes.pod_cidr,
        service_cidr=cluster.kubernetes.service_cidr,
        retention_days=site.storage.metrics_retention_days,
        has_gpus=any(node.role == "gpu-worker" for node in cluster.node_groups),
        latency_p95_s=site.targets.latency_p95_ms / 1000,
        node_cache_gib=site.serving.node_cache_gib,
        keep_image=site.serving.keep_image,
    )


def _ranges(addresses: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{address}/32" for address in sorted(addresses, key=IPv4Address)) or (EVERYWHERE,)
