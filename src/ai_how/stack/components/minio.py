"""MinIO, as the resource requirements name it. Its community edition is no longer maintained: a warning goes with it.

Source of the settings: MinIO's own help and docs/metrics of RELEASE.2025-09-07T16-13-09Z.
"""

from __future__ import annotations

from ai_how.stack.components import buckets, namespaces, object_store
from ai_how.stack.components.buckets import bucket_job
from ai_how.stack.manifests import NAME_LABEL, Object, container, http_probes, service
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Address, Part, Volume, Workload
from ai_how.stack.policies import from_space, policy
from ai_how.stack.requests import Request
from ai_how.stack.setting import GATEWAY, MLOPS, MODELS, MONITORING, Setting
from ai_how.stack.upstream import image

APP = object_store.APP
USER = 1000
S3_PORT, CONSOLE_PORT = object_store.S3_PORTS["minio"], object_store.CONSOLE_PORTS["minio"]
SERVER = Request(cpu_m=500, memory_mib=1024, limit_mib=2048)


def render(setting: Setting) -> Part:
    """The store, its volume, and a Job that makes the buckets."""
    used = image("minio", setting)
    return Part(
        title="Object store (MinIO)",
        version=setting.version("minio", "2025.9.7"),
        component=Component(
            name=object_store.NAME,
            namespace=MLOPS,
            objects=(
                service(APP, MLOPS, {"s3": S3_PORT, "console": CONSOLE_PORT}),
                _stateful_set(setting, used),
                *bucket_job(setting),
                _policy(),
            ),
            secrets=object_store.secrets(setting),
            needs=(namespaces.NAME,),
            awaited=(
                Awaited(api_version="apps/v1", kind="StatefulSet", name=APP, namespace=MLOPS),
                Awaited(api_version="batch/v1", kind="Job", name=buckets.NAME, namespace=MLOPS),
            ),
        ),
        workloads=(Workload(name=APP, request=SERVER),),
        volumes=(Volume(name="models", namespace=MLOPS, size_gib=setting.stack.object_store.size_gib),),
        addresses=(
            Address(title="Object store console", url=setting.url("console"), login=f"{MLOPS}/{object_store.KEYS}"),
        ),
        backups=object_store.backups(setting),
        images=(used, image("mlflow", setting)),
        notes=("MinIO's community edition is no longer maintained since 2026-02-12: holes in it stay open",),
    )


def _stateful_set(setting: Setting, used: str) -> Object:
    server = container(
        "server",
        used,
        command=("minio", "server", "/data", f"--address=:{S3_PORT}", f"--console-address=:{CONSOLE_PORT}"),
        request=SERVER,
        ports={"s3": S3_PORT, "console": CONSOLE_PORT},
        env={
            "MINIO_ROOT_USER": (object_store.KEYS, "AWS_ACCESS_KEY_ID"),
            "MINIO_ROOT_PASSWORD": (object_store.KEYS, "AWS_SECRET_ACCESS_KEY"),
            "MINIO_REGION": setting.stack.object_store.region,
            "MINIO_BROWSER_REDIRECT_URL": setting.url("console"),
            # a policy lets Prometheus in and nobody else
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",
            "MINIO_CALLHOME_ENABLE": "off",
        },
        mounts={"data": "/data", "tmp": "/tmp"},  # noqa: S108 - a path in the container
        probes=http_probes("/minio/health/live", "s3", start_s=120),
    )
    return object_store.stateful_set(setting, [server], user=USER)


def _policy() -> Object:
    inside = (
        from_space(MLOPS, "s3"),
        from_space(MODELS, "s3"),
        from_space(MONITORING, "s3"),
        from_space(GATEWAY, "console"),
    )
    return policy("object-store", MLOPS, pods={NAME_LABEL: APP}, ingress=inside)
