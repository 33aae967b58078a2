"""The part of a cluster's section that says what runs on its Kubernetes, and how it is reached.

Owns the meaning of these keys. What spans sections is ``stack_rules``'; whether a chart knows the names under
``values`` is checked where its values are. No key holds a password: those are made in the cluster, or lie in a Secret
that the user has made.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ai_how.site.section import Section

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DomainName = Annotated[str, Field(pattern=rf"^{_LABEL}(\.{_LABEL})+$", max_length=200)]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
NodePort = Annotated[int, Field(ge=30000, le=32767)]
CHARTS = (
    "cert-manager",
    "nginx-gateway-fabric",
    "kube-prometheus-stack",
    "cloudnative-pg",
    "kserve-crd",
    "kserve",
    "keda",
    "keda-http-add-on",
    "gpu-operator",
)
"""The charts that ``values`` may name."""
IMAGES = (
    "mlflow",
    "seaweedfs",
    "minio",
    "minio-client",
    "postgresql",
    "vllm",
    "storage-initializer",
    "cuda-sample",
)
"""The images that ``images`` may name."""
SizeGib = Annotated[int, Field(ge=1, le=1_000_000)]
BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]


class Access(Section):
    """How the world reaches the stack: one gateway for MLflow, Grafana, the object store's console and inference."""

    type: Literal["node-port", "load-balancer"] = "node-port"
    """node-port: two ports of every node; load-balancer: an address of its own, which the cluster must have a way to
    give."""
    http_port: NodePort = 30080
    """Port of every node that leads to HTTPS, and answers ACME's challenges (node-port)."""
    https_port: NodePort = 30443
    """Port of every node for HTTPS (node-port)."""
    issuer: Literal["self-signed", "acme", "existing"] = "self-signed"
    """Who signs: an authority of the cluster's own, an ACME server such as Let's Encrypt, or your ClusterIssuer."""
    acme_email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    """Whom the ACME server writes to (acme)."""
    acme_server: Annotated[str, Field(pattern=r"^https://\S+$")] = "https://acme-v02.api.letsencrypt.org/directory"
    """Directory of the ACME server (acme); it must reach port 80 of every host name."""
    cluster_issuer: ObjectName | None = None
    """Name of your ClusterIssuer; it must sign wildcard names (existing)."""

    @model_validator(mode="after")
    def _issuer_is_whole(self) -> Access:
        if self.issuer == "acme" and not self.acme_email:
            raise ValueError("issuer: acme needs acme_email")
        if self.issuer == "existing" and not self.cluster_issuer:
            raise ValueError("issuer: existing needs cluster_issuer")
        if self.http_port == self.https_port:
            raise ValueError("http_port and https_port must differ")
        return self


class ClusterStore(Section):
    """The S3-compatible store of model files and run artifacts, in the cluster."""

    type: Literal["seaweedfs", "minio", "external"] = "seaweedfs"
    """seaweedfs; minio, which nobody maintains any more; external is a store that you run."""
    size_gib: SizeGib = 100
    """Its volume, GiB. Source: the resource requirements' storage table."""
    bucket: BucketName = "models"
    """Bucket for model files; run artifacts go to <bucket>-mlflow. An external store must have both."""
    region: str = "us-east-1"
    """Region name that requests are signed for."""
    endpoint_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+$")] | None = None
    """Address of the store, such as https://s3.example.org (external)."""
    credentials_secret: ObjectName | None = None
    """A Secret of yours in namespace mlops, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (external)."""

    @model_validator(mode="after")
    def _external_is_whole(self) -> ClusterStore:
        if self.type == "external" and not (self.endpoint_url and self.credentials_secret):
            raise ValueError("an external object store needs endpoint_url and credentials_secret")
        if self.type != "external" and (self.endpoint_url or self.credentials_secret):
            raise ValueError("endpoint_url and credentials_secret are for type: external only")
        return self


class ClusterDatabase(Section):
    """MLflow's PostgreSQL."""

    type: Literal["cloudnative-pg", "external"] = "cloudnative-pg"
    """cloudnative-pg runs it in the cluster; external is a server that you run."""
    size_gib: SizeGib = 20
    """Volume of each instance, GiB. Source: the resource requirements' storage table."""
    instances: Annotated[int, Field(ge=1, le=5)] = 1
    """How many PostgreSQL servers; beyond one they are copies that take over (cloudnative-pg)."""
    url: Annotated[str, Field(pattern=r"^postgresql://[^\s:@/]+@[^\s:@/]+(:[0-9]+)?/[^\s/?]+$")] | None = None
    """postgresql://user@host:port/name, without a password (external)."""
    password_secret: ObjectName | None = None
    """A Secret of yours in namespace mlops, with the key password (external)."""
    ssl_mode: Literal["disable", "require", "verify-full"] = "require"
    """libpq's sslmode towards an external server."""

    @model_validator(mode="after")
    def _external_is_whole(self) -> ClusterDatabase:
        if self.type == "external" and not (self.url and self.password_secret):
            raise ValueError("an external database needs url and password_secret")
        if self.type != "external" and (self.url or self.password_secret):
            raise ValueError("url and password_secret are for type: external only")
        return self


class ClusterMonitoring(Section):
    """Prometheus, Alertmanager and Grafana. How long metrics are kept is `storage.metrics_retention_days`."""

    size_gib: SizeGib = 50
    """Prometheus' volume, GiB; the oldest metrics go before it is full. Source: the resource requirements."""
    webhook_url_secret: ObjectName | None = None
    """A Secret of yours in namespace monitoring, with the key url: alerts are sent there; default: nowhere."""


class ClusterGpus(Section):
    """How GPUs are handed to pods. Only where the cluster has GPU workers."""

    driver: Literal["auto", "image", "operator"] = "auto"
    """Where the NVIDIA driver comes from: the nodes' image, or the operator; auto: the image on Debian, which the
    operator has no driver for."""
    time_slices: Annotated[int, Field(ge=1, le=64)] = 1
    """How many pods may share one GPU in turns; they share its memory too, without limits. 1: none."""
    mig: Annotated[str, Field(pattern=r"^all-[a-z0-9.+-]+$")] = "all-disabled"
    """A profile of the operator's MIG manager, such as all-1g.10gb or all-balanced; cards without MIG ignore it."""

    @model_validator(mode="after")
    def _one_way_to_share(self) -> ClusterGpus:
        if self.time_slices > 1 and self.mig != "all-disabled":
            raise ValueError("time_slices and mig are two ways to share a card: write one of them")
        return self


class Stack(Section):
    """What runs on a cloud cluster's Kubernetes beside models; `ai-how up` applies it."""

    enabled: bool = True
    """Whether there is a stack; without it the cluster is bare Kubernetes."""
    domain: DomainName = "ai-how.internal"
    """Hosts are names below it: mlflow, grafana, console, and one for each model."""
    storage_class: ObjectName = "local-path"
    """Storage class of all volumes; local-path lies on the node's own disk and does not enforce sizes."""
    access: Access = Access()
    object_store: ClusterStore = ClusterStore()
    database: ClusterDatabase = ClusterDatabase()
    monitoring: ClusterMonitoring = ClusterMonitoring()
    gpus: ClusterGpus = ClusterGpus()
    images: dict[str, Annotated[str, Field(pattern=r"^[^\s]+[:@][^\s]+$")]] = Field(default_factory=dict)
    """Other images by name, with a tag or digest: `mlflow: registry.example.org/mlflow:3.18.0`."""
    values: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Helm values by chart, over those of ai-how; a name that the chart does not have is refused."""
    helm_path: str | None = None
    """Helm's program, 3.13 or newer; relative to the site file. Default: the one on PATH, or one that is fetched."""
