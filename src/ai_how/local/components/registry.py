"""The registry: MLflow's tracking server in an environment of its own.

Source of the options: ``mlflow server --help`` of MLflow 3.17.
"""

from __future__ import annotations

from pathlib import Path

from ai_how.local.components.base import Setting, local_url
from ai_how.local.process import ProcessSpec

NAME = "registry"


def registry(setting: Setting, *, environment: Path, backend_uri: str, s3_url: str) -> ProcessSpec:
    """The process: MLflow on loopback, its metadata in the database, run artifacts in the object store."""
    site = setting.site
    port = setting.ports.port("registry", wanted=site.registry.port)
    return ProcessSpec(
        name=NAME,
        argv=(
            str(environment / "bin" / "python"),
            *("-m", "mlflow", "server"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1"),
            "--serve-artifacts",
            *("--artifacts-destination", f"s3://{site.object_store.bucket}-mlflow"),
            # a page in the user's browser must not reach it under another host name
            *("--allowed-hosts", f"127.0.0.1:{port},localhost:{port}"),
        ),
        env={
            "MLFLOW_BACKEND_STORE_URI": backend_uri,
            "MLFLOW_S3_ENDPOINT_URL": s3_url,
            "AWS_DEFAULT_REGION": site.object_store.region,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            # seven worker processes for features that a registry does not have
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "GIT_PYTHON_REFRESH": "quiet",
        },
        env_files=(str(setting.secrets.s3_env), str(setting.secrets.database_env)),
        ports={"registry": port},
        health=f"{local_url(port)}/health",
        start_timeout_s=180,
        stop_wait_s=15,
    )
