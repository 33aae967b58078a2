"""The site file's data model: every key of ``ai-how.yaml``, its unit, range and default.

Owns the meaning of the keys; those of machines and clusters are ``clusters``'. Reading YAML and naming lines is
``load``'s. Unknown keys are refused.
Defaults of ``targets`` are the performance targets of the cloud cluster's resource requirements.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ai_how.site.clusters import Cluster, ClusterName, Host, Placement, Storage
from ai_how.site.section import Section
from ai_how.site.servers import Ssh

ComponentName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]
Port = Annotated[int, Field(ge=1, le=65535)] | Literal["auto"]


def _host(text: str) -> str:
    """An IP address, or what may be a host name: labels of letters, digits and dashes, the last one no number."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        if not re.fullmatch(rf"({label}\.)*(?=[A-Za-z0-9-]*[A-Za-z]){label}\.?", text) or len(text) > 253:
            raise ValueError(
                f"{text!r} is no address; write an IP address of this machine, such as 127.0.0.1"
            ) from None
    return text


class Gateway(Section):
    """The one address that clients talk to."""

    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    """Address to listen on. Anything but a loopback address lets other machines in."""
    port: Port = "auto"
    """TCP port, or auto: a free one is chosen once and kept."""
    max_request_mib: Annotated[float, Field(gt=0, le=1024)] = 16
    """Largest request body, MiB; a larger one gets 413."""
    hold_timeout_s: Annotated[float, Field(gt=0, le=86400)] = 300
    """How long a request waits for a replica to wake or to have room, seconds."""
    max_held_requests: Annotated[int, Field(ge=1, le=1000000)] = 1024
    """How many requests may wait at once for one endpoint; the next one gets 429."""


class ObjectStore(Section):
    """The S3-compatible store of model files and run artifacts."""

    type: Literal["seaweedfs", "external"] = "seaweedfs"
    """seaweedfs runs as a process here; external is a store that you run."""
    port: Port = "auto"
    """Port of the S3 API (seaweedfs)."""
    endpoint_url: str | None = None
    """Address of an external store, such as https://s3.example.org."""
    region: str = "us-east-1"
    """Region name that requests are signed for."""
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = "models"
    """Bucket for model files; run artifacts go to <bucket>-mlflow."""
    credentials_file: str | None = None
    """INI file with aws_access_key_id and aws_secret_access_key (external); mode 0600."""

    @model_validator(mode="after")
    def _external_is_complete(self) -> ObjectStore:
        if self.type == "external" and not (self.endpoint_url and self.credentials_file):
            raise ValueError("an external object store needs endpoint_url and credentials_file")
        return self


class Registry(Section):
    """The MLflow tracking server and model registry."""

    database: Annotated[str, Field(pattern=r"^(sqlite|postgresql|postgresql://[^\s]+)$")] = "sqlite"
    """sqlite (a file here), postgresql (a process here), or postgresql://user@host:port/name."""
    password_file: str | None = None
    """File with the password of an external PostgreSQL; mode 0600."""
    port: Port = "auto"
    """Port of MLflow's web interface and API."""


class Serving(Section):
    """How endpoints run and scale."""

    engine: Literal["auto", "llamacpp", "vllm"] = "auto"
    """auto takes vLLM where an NVIDIA GPU and vllm are present, llama.cpp otherwise."""
    context_tokens: Annotated[int, Field(ge=128, le=16777216)] = 2048
    """Longest prompt plus answer of one request, tokens."""
    parallel_requests: Annotated[int, Field(ge=1, le=256)] = 4
    """Requests that one replica works on at once; scaling aims at this."""
    threads: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    """CPU threads of a llama.cpp replica; auto is the number of physical cores."""
    scale_out_after_s: Annotated[float, Field(ge=0, le=86400)] = 2
    """How long demand must exceed the ready replicas before one more is started, seconds."""
    idle_after_s: Annotated[float, Field(gt=0, le=31536000)] = 300
    """How long a replica must be unneeded before it is stopped (or sent to sleep: when_idle), seconds."""
    when_idle: Literal["stop", "sleep"] = "stop"
    """The last replica that nobody needs (min_replicas 0): stop ends it; sleep (vLLM, provider local) keeps its weights
    in main memory, so that it wakes instead of loading again."""
    loader: Literal["default", "streamer"] = "default"
    """How vLLM reads weights. streamer: into the GPU while it reads (Run:ai Model Streamer); in a cluster from the
    object store itself, with no copy on the node unless node_cache_gib keeps one."""
    node_cache_gib: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Disk of each GPU node that keeps models' weights for the next start, GiB; 0: none. Not for provider local."""
    keep_image: bool = False
    """Whether GPU nodes pull and hold vLLM's image before a replica needs it. Not for provider local."""
    start_timeout_s: Annotated[float, Field(gt=0, le=86400)] = 600
    """How long a replica may take until it is ready, seconds."""
    drain_timeout_s: Annotated[float, Field(gt=0, le=86400)] = 60
    """How long requests in flight may take to finish when a replica or the gateway stops, seconds."""


class Targets(Section):
    """What the benchmark compares with. Source: the resource requirements' inference performance table."""

    cold_start_s: Annotated[float, Field(gt=0)] = 10
    """From deploy to the first answer, seconds; lower is better."""
    latency_p95_ms: Annotated[float, Field(gt=0)] = 500
    """95th percentile of warm request latency, milliseconds; lower is better."""
    throughput_rps_per_gpu: Annotated[float, Field(gt=0)] = 50
    """Requests a second for each GPU; higher is better."""
    gpu_utilization_percent: Annotated[float, Field(gt=0, le=100)] = 70
    """Average GPU utilization at peak load, percent; higher is better."""
    scale_out_s: Annotated[float, Field(gt=0)] = 120
    """From the start of load to the wanted number of replicas, seconds; lower is better."""
    error_percent: Annotated[float, Field(ge=0, lt=100)] = 1
    """Requests that may fail while a new version is rolled out, percent; our own default, the table has none."""


class Site(Section):
    """One site: everything that ``ai-how up`` makes and keeps."""

    version: Literal[1] = 1
    """Version of this file format."""
    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
    """Name of the site: lower-case letters, digits and dashes, 32 at most."""
    provider: Literal["local", "libvirt", "inventory"] = "local"
    """Where it runs. local: processes on this machine; libvirt: virtual machines; inventory: servers that are there."""
    release: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")] = "current"
    """Release set of the clusters' software: a name of `ai-how versions`. Not for provider local."""
    pins: dict[ComponentName, str] = Field(default_factory=dict)
    """Versions that must hold instead of the set's, by component: `kubernetes: "1.34"`. Not for provider local."""
    state_dir: Annotated[str, Field(pattern=r"^.+$")] | None = None
    """Where data, logs and secrets lie: a folder of its own; default .ai-how/<name> beside this file."""
    gateway: Gateway = Gateway()
    object_store: ObjectStore = ObjectStore()
    registry: Registry = Registry()
    serving: Serving = Serving()
    targets: Targets = Targets()
    virtualization: Literal["auto", "kvm", "emulated"] = "auto"
    """How machines run (libvirt). auto: KVM where `ai-how doctor` saw a guest run, else emulated, which is slow."""
    hosts: list[Host] = Field(default_factory=list)
    """Machines for the clusters; default: this machine. Not for provider local."""
    ssh: Ssh = Ssh()
    clusters: dict[ClusterName, Cluster] = Field(default_factory=dict)
    """Clusters by name; default: one cloud cluster called cloud. Not for provider local."""
    schedule: Literal["side-by-side", "in-turns"] = "side-by-side"
    """side-by-side: all clusters run at once; in-turns: one at a time, the others stopped, their disks kept."""
    placement: Placement = Placement()
    storage: Storage = Storage()

    @property
    def planned_clusters(self) -> dict[str, Cluster]:
        """The clusters to plan, ordered by name: those written, or the default one; none for provider local."""
        if self.provider == "local":
            return {}
        return {name: self.clusters[name] for name in sorted(self.clusters)} or {"cloud": Cluster()}
