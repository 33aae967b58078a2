"""Makes the site's buckets in the object store."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ai_how.errors import ProviderError


def ensure_buckets(
    endpoint_url: str, names: Sequence[str], *, region: str, access_key: str, secret_key: str, timeout_s: float = 60
) -> list[str]:
    """Make the buckets that are missing; returns their names.

    A store that has just started may answer before it can write: refusals with a server's error are tried again.

    Raises:
        ProviderError: the store refuses the keys, or did not get ready within ``timeout_s``.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=30, s3={"addressing_style": "path"}),
    )
    made = []
    deadline = time.monotonic() + timeout_s
    for name in names:
        while True:
            try:
                existing = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
                if name not in existing:
                    client.create_bucket(Bucket=name)
                    made.append(name)
                break
            except (ClientError, BotoCoreError) as error:
                status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
                if status < 500 or time.monotonic() > deadline:
                    raise ProviderError(
                        f"bucket {name} could not be made",
                        evidence=str(error),
                        next_step="look at the object store: ai-how logs object-store",
                    ) from error
                time.sleep(0.2)
    return made
