"""What an endpoint's objects are rendered from beside the endpoint: names, versions, wishes of one cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ai_how.kserve.nodes import GpuNode
from ai_how.site.spec import Serving, Site
from ai_how.stack.components import gateway, kserve, monitoring, object_store
from ai_how.stack.setting import GATEWAY, MODELS, MONITORING, setting_of
from ai_how.stack.upstream import image

if TYPE_CHECKING:
    from ai_how.stack.setting import Setting


@dataclass(frozen=True, kw_only=True)
class ServingSetting:
    """One cluster that models are served on.

    ``https_port`` is the port that clients use. ``versions`` are by component (kserve, keda, vllm, ...). ``api_key``
    is the name of the key in the Secret ``api_keys_secret`` that clients send; vLLM reads it at its start.
    ``s3_url`` is the object store's address within the cluster, whose keys are in the Secret ``credentials_secret``.
    """

    site: str
    cluster: str
    domain: str
    https_port: int
    image: str
    initializer_image: str
    s3_url: str
    s3_region: str
    versions: Mapping[str, str]
    serving: Serving
    namespace: str = MODELS
    gateway_name: str = gateway.GATEWAY_NAME
    gateway_namespace: str = GATEWAY
    service_account: str = kserve.SERVICE_ACCOUNT
    credentials_secret: str = object_store.KEYS
    api_keys_secret: str = kserve.API_KEYS
    api_key: str = kserve.API_KEY
    storage_class: str = ""
    prometheus_url: str = f"http://monitoring-prometheus.{MONITORING}.svc:{monitoring.PROMETHEUS_PORT}"
    nodes: tuple[GpuNode, ...] = ()

    def host(self, name: str) -> str:
        """An endpoint's host name: ``my-model-models.ai-how.internal``."""
        return f"{name}-{self.namespace}.{self.domain}"

    def url(self, name: str) -> str:
        """Where clients reach an endpoint, without ``/v1``."""
        port = "" if self.https_port == gateway.HTTPS else f":{self.https_port}"
        return f"https://{self.host(name)}{port}"


def serving_setting(
    site: Site, cluster: str, versions: Mapping[str, str], *, nodes: tuple[GpuNode, ...] = ()
) -> ServingSetting:
    """The setting of a site's cluster.

    Args:
        versions: By component: those of the release set, with the site's pins.

    Raises:
        NotFoundError: the release set lacks what is needed.
    """
    found: Setting = setting_of(site, cluster, versions)
    access = found.stack.access
    return ServingSetting(
        site=site.name,
        cluster=cluster,
        domain=found.stack.domain,
        https_port=access.https_port if access.type == "node-port" else gateway.HTTPS,
        image=image("vllm", found),
        initializer_image=image("storage-initializer", found),
        s3_url=object_store.endpoint(found),
        s3_region=found.stack.object_store.region,
        versions=versions,
        serving=site.serving,
        credentials_secret=object_store.credentials(found),
        storage_class=found.stack.storage_class,
        nodes=nodes,
    )
