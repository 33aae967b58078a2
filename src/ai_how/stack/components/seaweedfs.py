"""SeaweedFS: the whole store in one pod. Only S3, the console and metrics are to be reached from other pods.

Master, volume server and filer listen on the pod's own loopback. Source of the flags: ``weed server -h`` and
``weed admin -h`` of SeaweedFS 4.48; of the paths in the image: its Dockerfile.
"""

from __future__ import annotations

from ai_how.stack.components import buckets, namespaces, object_store
from ai_how.stack.components.buckets import bucket_job
from ai_how.stack.manifests import NAME_LABEL, Object, container, http_probes, service
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Address, DiskFloor, Part, Volume, Workload
from ai_how.stack.policies import from_space, policy
from ai_how.stack.requests import Request
from ai_how.stack.setting import GATEWAY, MLOPS, MODELS, MONITORING, Setting
from ai_how.stack.upstream import image

APP = object_store.APP
USER = 1000
S3_PORT, CONSOLE_PORT, METRICS_PORT = object_store.S3_PORTS["seaweedfs"], object_store.CONSOLE_PORTS["seaweedfs"], 9327
SERVER = Request(cpu_m=500, memory_mib=768, limit_mib=2048)
CONSOLE = Request(cpu_m=10, memory_mib=64, limit_mib=256)
_KEYS = {name: (object_store.KEYS, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


def render(setting: Setting) -> Part:
    """The store, its volume, its console, and a Job that makes the buckets."""
    size = setting.stack.object_store.size_gib
    used = image("seaweedfs", setting)
    return Part(
        title="Object store (SeaweedFS)",
        version=setting.version("seaweedfs", "4.48"),
        component=Component(
            name=object_store.NAME,
            namespace=MLOPS,
            objects=(
                service(APP, MLOPS, {"s3": S3_PORT, "console": CONSOLE_PORT}),
                _stateful_set(setting, used),
                *bucket_job(setting),
                *_policies(),
            ),
            secrets=object_store.secrets(setting),
            needs=(namespaces.NAME,),
            awaited=(
                Awaited(api_version="apps/v1", kind="StatefulSet", name=APP, namespace=MLOPS),
                Awaited(api_version="batch/v1", kind="Job", name=buckets.NAME, namespace=MLOPS),
            ),
        ),
        workloads=(Workload(name=APP, request=SERVER + CONSOLE),),
        volumes=(Volume(name="models", namespace=MLOPS, size_gib=size),),
        addresses=(
            Address(title="Object store console", url=setting.url("console"), login=f"{MLOPS}/{object_store.LOGIN}"),
        ),
        backups=object_store.backups(setting),
        images=(used, image("mlflow", setting)),
        disk_floor=_disk_floor(setting),
    )


def server_arguments(free_percent: int = 2) -> tuple[str, ...]:
    """How the server is started, the program's name left out; it takes no writes while less of its disk is free."""
    return (
        "-logtostderr=true",
        "server",
        "-dir=/data",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        # one node elects itself: the default of 10 s only makes every start slower
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=1024",
        # no limit but the disk's room
        "-volume.max=100000",
        "-volume.preStopSeconds=0",
        f"-volume.minFreeSpace={free_percent}",
        "-filer",
        "-s3",
        f"-s3.port={S3_PORT}",
        "-s3.ip.bind=0.0.0.0",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-metricsIp=0.0.0.0",
        f"-metricsPort={METRICS_PORT}",
    )


def console_arguments() -> tuple[str, ...]:
    """How the console is started; with a password it listens on all addresses."""
    return (
        "-logtostderr=true",
        "admin",
        f"-port={CONSOLE_PORT}",
        "-master=127.0.0.1:9333",
        "-dataDir=/data/admin",
        "-iceberg.port=0",
        "-lance.port=0",
    )


def _disk_floor(setting: Setting) -> DiskFloor | None:
    """On the node's own disk it stops before the kubelet, which evicts pods when 15 % are left where images lie."""
    if setting.stack.storage_class != "local-path":
        return None
    return DiskFloor(pods=f"{NAME_LABEL}={APP}", free_percent=18, without="takes no writes")


def _stateful_set(setting: Setting, used: str) -> Object:
    floor = _disk_floor(setting)
    server = container(
        "server",
        used,
        command=("/usr/bin/weed", *(server_arguments(floor.free_percent) if floor else server_arguments())),
        request=SERVER,
        ports={"s3": S3_PORT, "metrics": METRICS_PORT},
        # bounds what transfers leave behind; with less than it keeps for good it would collect garbage without end
        env={**_KEYS, "GOMEMLIMIT": "1536MiB"},
        mounts={"data": "/data", "tmp": "/tmp"},  # noqa: S108 - a path in the container
        probes=http_probes("/healthz", "s3", start_s=120),
    )
    console = container(
        "console",
        used,
        command=("/usr/bin/weed", *console_arguments()),
        request=CONSOLE,
        ports={"console": CONSOLE_PORT},
        env={
            "WEED_ADMIN_USER": (object_store.LOGIN, "user"),
            "WEED_ADMIN_PASSWORD": (object_store.LOGIN, "password"),
        },
        mounts={"data": "/data", "tmp": "/tmp"},  # noqa: S108 - a path in the container
        probes={"readinessProbe": {"httpGet": {"path": "/health", "port": "console"}, "periodSeconds": 10}},
    )
    return object_store.stateful_set(setting, [server, console], user=USER)


def _policies() -> tuple[Object, ...]:
    pods = {NAME_LABEL: APP}
    users = [from_space(MLOPS, "s3"), from_space(MODELS, "s3")]
    inside = (*users, from_space(GATEWAY, "console"), from_space(MONITORING, "metrics"))
    return (policy("object-store", MLOPS, pods=pods, ingress=inside),)
