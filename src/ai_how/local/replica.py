"""Becomes an engine replica: ``python -m ai_how.local.replica SPEC.json``.

What KServe's storage initializer and container are on the cluster, in one process: fetches the model from the object
store into the site's cache (once, verified), lets the engine derive what it needs, and replaces itself by the engine.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ai_how.endpoints.engines.base import ReplicaLaunch
from ai_how.endpoints.engines.choose import engine_named
from ai_how.errors import AiHowError
from ai_how.models.checkpoint import inspect
from ai_how.models.object_store import download_model
from ai_how.models.types import ObjectStoreAccess, SecretText


def main(spec_file: Path) -> None:
    """Fetch, prepare, and become the engine; ends with code 1 and the error's text where that fails."""
    spec: dict[str, Any] = json.loads(spec_file.read_text(encoding="utf-8"))
    try:
        launch = _launch(spec)
        engine = engine_named(spec["engine"])
        engine.prepare(launch)
        command = engine.command(launch)
    except AiHowError as error:
        print(f"Error: {error}", flush=True)  # noqa: T201 - into the replica's log
        raise SystemExit(1) from None
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    os.execve(command.argv[0], list(command.argv), {**env, **command.env})  # noqa: S606 - becoming it is the purpose


def _launch(spec: dict[str, Any]) -> ReplicaLaunch:
    access = ObjectStoreAccess(
        endpoint_url=spec["s3"]["endpoint_url"],
        region=spec["s3"]["region"],
        bucket=spec["s3"]["bucket"],
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=SecretText(os.environ["AWS_SECRET_ACCESS_KEY"]),
    )
    cache = Path(spec["cache"])
    model_dir = _fetch(access, cache, spec["model_uri"], spec["model_digest"])
    base_dir = None
    if spec.get("base_uri"):
        base_dir = _fetch(access, cache, spec["base_uri"], spec["base_digest"])
    # an adapter's derived files depend on its base too
    derived = "-".join(digest[:16] for digest in (spec["model_digest"], spec.get("base_digest")) if digest)
    scratch = cache / "derived" / derived
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    return ReplicaLaunch(
        served_name=spec["served_name"],
        model_dir=model_dir,
        info=inspect(model_dir).info,
        scratch_dir=scratch,
        host="127.0.0.1",
        port=spec["port"],
        **spec["serving"],
        gpu_count=len(spec["gpus"]),
        base_dir=base_dir,
    )


def _fetch(access: ObjectStoreAccess, cache: Path, uri: str, digest: str) -> Path:
    target = cache / "models" / digest
    if not target.exists():
        print(f"fetching {uri}", flush=True)  # noqa: T201 - into the replica's log
        download_model(access, uri, digest, target)
    return target


if __name__ == "__main__":
    main(Path(sys.argv[1]))
