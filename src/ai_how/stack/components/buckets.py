"""A Job that makes the buckets through S3; what is there already is left as it is.

It runs in MLflow's image, which has an S3 client and is needed anyway.
"""

from __future__ import annotations

from ai_how.stack.components import object_store
from ai_how.stack.manifests import NAME_LABEL, Object, container, metadata, pod_security
from ai_how.stack.policies import policy
from ai_how.stack.requests import Request
from ai_how.stack.setting import MLOPS, Setting
from ai_how.stack.upstream import image

NAME = "object-store-buckets"
MAKER = Request(cpu_m=10, memory_mib=128, limit_mib=512)
USER = 1000
SCRIPT = """\
import os, sys
import boto3
from botocore.exceptions import ClientError
client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
for bucket in sys.argv[1:]:
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        client.create_bucket(Bucket=bucket)
    print(bucket, "is there")
"""


def bucket_job(setting: Setting) -> tuple[Object, ...]:
    """The Job and what its pod may reach. It is tried until the store answers."""
    keys = {name: (object_store.KEYS, name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    where = {
        "AWS_ENDPOINT_URL": object_store.endpoint(setting),
        "AWS_DEFAULT_REGION": setting.stack.object_store.region,
    }
    pod = {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(USER),
        "containers": [
            container(
                "buckets",
                image("mlflow", setting),
                command=("python", "-c", SCRIPT, *object_store.buckets(setting)),
                request=MAKER,
                env={**where, **keys},
            )
        ],
    }
    labels = {NAME_LABEL: NAME}
    job: Object = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(NAME, MLOPS),
        "spec": {"backoffLimit": 30, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    return job, policy(NAME, MLOPS, pods=labels, egress=(object_store.way_to(setting),))
