"""The S3 store of model files and run artifacts: SeaweedFS, MinIO, or one that the user runs.

Owns what the three have in common: their address, keys and buckets. The keys are made in the cluster, in the namespaces
of the store and of the models, which fetch their files with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from ai_how.stack.components import namespaces
from ai_how.stack.manifests import NAME_LABEL, Object, claim, metadata, pod_security
from ai_how.stack.objects import Component, GeneratedSecret
from ai_how.stack.part import Backup, Part
from ai_how.stack.policies import anywhere_outside, to_space
from ai_how.stack.setting import MLOPS, MODELS, Setting

NAME = "object-store"
APP = "object-store"
KEYS = "object-store"
"""The Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
LOGIN = "object-store-console"
"""The Secret with user and password of the console."""
S3_PORTS = {"seaweedfs": 8333, "minio": 9000}
CONSOLE_PORTS = {"seaweedfs": 23646, "minio": 9001}


def endpoint(setting: Setting) -> str:
    """Address of the S3 API, from within the cluster."""
    store = setting.stack.object_store
    if store.endpoint_url:
        return store.endpoint_url
    return f"http://{APP}.{MLOPS}.svc:{S3_PORTS[store.type]}"


def credentials(setting: Setting) -> str:
    """Name of the Secret with the keys, in the namespaces of the store and of the models."""
    return setting.stack.object_store.credentials_secret or KEYS


def buckets(setting: Setting) -> tuple[str, str]:
    """The bucket of model files, and that of run artifacts."""
    bucket = setting.stack.object_store.bucket
    return bucket, f"{bucket}-mlflow"


def secrets(setting: Setting) -> tuple[GeneratedSecret, ...]:
    """What is made in the cluster for a store of ours; MinIO's console takes the keys themselves."""
    keys = GeneratedSecret(
        name=KEYS,
        namespace=MLOPS,
        random={"AWS_SECRET_ACCESS_KEY": 40},
        texts={"AWS_ACCESS_KEY_ID": "ai-how"},
        also_in=(MODELS,),
    )
    if setting.stack.object_store.type == "minio":
        return (keys,)
    return keys, GeneratedSecret(name=LOGIN, namespace=MLOPS, random={"password": 24}, texts={"user": "admin"})


def way_to(setting: Setting) -> Object:
    """The rule that lets pods out to it."""
    store = setting.stack.object_store
    if store.type != "external":
        return to_space(MLOPS, S3_PORTS[store.type], app=APP)
    address = urlsplit(endpoint(setting))
    return anywhere_outside(setting, address.port or (443 if address.scheme == "https" else 80))


def backups(setting: Setting) -> tuple[Backup, ...]:
    """All objects of both buckets, and the keys that were made for them."""
    objects = Backup(
        kind="objects",
        namespace=MLOPS,
        source=endpoint(setting),
        credentials=credentials(setting),
        items=buckets(setting),
    )
    if setting.stack.object_store.type == "external":
        return (objects,)
    return objects, Backup(kind="secrets", namespace=MLOPS, items=tuple(secret.name for secret in secrets(setting)))


def stateful_set(setting: Setting, containers: Sequence[Object], *, user: int) -> Object:
    """The one pod of a store in the cluster, with its volume; ``user`` is the id that its containers run as."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(APP, MLOPS),
        "spec": {
            "replicas": 1,
            "serviceName": APP,
            "selector": {"matchLabels": {NAME_LABEL: APP}},
            "template": {
                "metadata": {"labels": {NAME_LABEL: APP}},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 60,
                    "securityContext": pod_security(user),
                    "containers": list(containers),
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
                },
            },
            "volumeClaimTemplates": [
                claim("data", size_gib=setting.stack.object_store.size_gib, storage_class=setting.stack.storage_class)
            ],
        },
    }


def render(setting: Setting) -> Part:
    """The store that the site wants."""
    from ai_how.stack.components import minio, seaweedfs

    kind = setting.stack.object_store.type
    if kind == "seaweedfs":
        return seaweedfs.render(setting)
    if kind == "minio":
        return minio.render(setting)
    return Part(
        title="Object store",
        version="external",
        component=Component(name=NAME, namespace=MLOPS, needs=(namespaces.NAME,)),
        backups=backups(setting),
        notes=(
            f"{endpoint(setting)} is yours: it must have the buckets {' and '.join(buckets(setting))}",
            f"make the Secret {credentials(setting)} in {MLOPS} and in {MODELS} before the stack is applied",
        ),
    )
