"""Weights that stay on the node: how a pod's volume, init container and command become what keeps them. Pure.

The stack makes one claim, ``models-on-nodes``, of a volume that is a folder of whatever node a pod runs on; the init
container puts the model's files there once, and every later pod of that node finds them. KServe's own LocalModelCache
is not used: see docs/decisions/0006-weights-on-nodes.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_how.kserve import filler
from ai_how.kserve.revision import KServeRevision
from ai_how.kserve.setting import ServingSetting
from ai_how.stack.components.warm_nodes import CLAIM

VOLUME = "models-on-node"
FOLDER = "/mnt/models"
FETCHER = "/storage-initializer/scripts/initializer-entrypoint"
"""Source: kserve/kserve v0.20.0, python/storage-initializer.Dockerfile."""
INITIALIZER = "storage-initializer"
"""KServe's name of the container that fetches, so that states and waterfalls know this one too."""

HOLD = "\n".join(
    (
        "import fcntl, os, sys",
        "at = sys.argv.index('--')",
        "for digest in sys.argv[1:at]:",
        f"    held = os.open(f'{FOLDER}/{{digest}}.lock', os.O_RDONLY)",
        "    fcntl.flock(held, fcntl.LOCK_SH)",
        "    os.set_inheritable(held, True)",
        "os.execvp(sys.argv[at + 1], sys.argv[at + 1:])",
    )
)
"""Python that holds the locks of models' files and becomes the program behind ``--``, which has them until it ends."""


def keeps(setting: ServingSetting) -> bool:
    """Whether weights stay on the nodes of this cluster."""
    return setting.serving.node_cache_gib > 0


def sources(revision: KServeRevision) -> Mapping[str, str]:
    """Where the files of a revision come from, by the digest that is their folder's name; a base comes first."""
    spec = revision.spec
    own = {spec.model_digest: spec.model_uri, **{one.model_digest: one.model_uri for one in spec.adapters}}
    if revision.base is None or not spec.adapter_base_digest:
        return own
    return {spec.adapter_base_digest: str(spec.adapter_base_uri), **own}


def folder(digest: str) -> str:
    """Where the serving container finds a model."""
    return f"{FOLDER}/{digest}"


def volume() -> dict[str, Any]:
    """The volume of a pod."""
    return {"name": VOLUME, "persistentVolumeClaim": {"claimName": CLAIM}}


def mount() -> dict[str, Any]:
    """The mount of the container that serves: it only reads."""
    return {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}


def command(revision: KServeRevision) -> list[str]:
    """What starts vLLM so that nobody removes the files that it serves."""
    return ["python3", "-c", HOLD, *sources(revision), "--", "vllm", "serve"]


def init_container(revision: KServeRevision, setting: ServingSetting) -> dict[str, Any]:
    """The container that fetches what the node does not have yet."""
    program = Path(filler.__file__).read_text(encoding="utf-8")
    words = [FOLDER, f"{setting.serving.node_cache_gib:g}", FETCHER]
    return {
        "name": INITIALIZER,
        "image": setting.initializer_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", program],
        "args": [*words, *(f"{digest}={uri}" for digest, uri in sources(revision).items())],
        "env": s3_environment(setting),
        "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}, "limits": {"memory": "1Gi"}},
        # the folder is the node's, and root's
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": False,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": VOLUME, "mountPath": FOLDER}],
    }


def s3_environment(setting: ServingSetting) -> list[dict[str, Any]]:
    """The object store's address and keys, as boto3 and KServe's storage initializer read them.

    Source of the names: kserve/kserve v0.20.0, pkg/credentials/s3/s3_secret.go.
    """
    plain = {
        "AWS_ENDPOINT_URL": setting.s3_url,
        "AWS_DEFAULT_REGION": setting.s3_region,
        "S3_VERIFY_SSL": "1" if setting.s3_url.startswith("https:") else "0",
        "S3_USER_VIRTUAL_BUCKET": "false",
        "awsAnonymousCredential": "false",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    keys = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": setting.credentials_secret, "key": key}}}
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    ]
    return [*({"name": name, "value": value} for name, value in plain.items()), *keys]
