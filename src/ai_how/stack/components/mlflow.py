"""MLflow: tracking server and model registry, on PostgreSQL and the object store.

Source of the options: ``mlflow server --help`` of MLflow 3.17; of the image: mlflow/mlflow, docker/README.md.
"""

from __future__ import annotations

from typing import Any

from ai_how.stack.components import database, namespaces, object_store
from ai_how.stack.manifests import NAME_LABEL, Object, container, http_probes, metadata, pod_security, service
from ai_how.stack.objects import Awaited, Component, GeneratedSecret
from ai_how.stack.part import Address, Backup, Part, Workload
from ai_how.stack.policies import from_space, policy
from ai_how.stack.requests import Request
from ai_how.stack.setting import GATEWAY, MLOPS, MONITORING, Setting
from ai_how.stack.upstream import at_least, image

NAME = APP = "mlflow"
PORT = 5000
USER = 1000
LOGIN = "mlflow-login"
SERVER = Request(cpu_m=250, memory_mib=1024, limit_mib=2048)
"""Measured on this project's embedded provider: 0.5 GB for the server and one worker."""
WORKERS = 2
TEMPORARY_GIB = 10
"""Artifacts that pass through the server lie here meanwhile."""
MIGRATION = """\
import os, sys
import sqlalchemy
address = os.environ["MLFLOW_BACKEND_STORE_URI"]
if not sqlalchemy.inspect(sqlalchemy.create_engine(address)).has_table("alembic_version"):
    print("the database is empty: the server makes its tables")
    sys.exit()
os.execv(sys.executable, [sys.executable, "-m", "mlflow", "db", "upgrade", address])
"""
"""Changes the tables of an older version before the server starts, which would refuse them; done twice, it is the same.

PostgreSQL changes tables in a transaction: one that is broken off has changed nothing. The address has no password.
"""


def render(setting: Setting) -> Part:
    """The server, its service, and the login that the gateway asks for."""
    used = image("mlflow", setting)
    asked = login_asked(setting)
    note = "" if asked else "the gateway's version cannot ask for a login: MLflow has no address outside the cluster"
    return Part(
        title="MLflow",
        version=setting.version("mlflow"),
        component=Component(
            name=NAME,
            namespace=MLOPS,
            objects=(service(APP, MLOPS, {"http": PORT}), _deployment(setting, used), *_policies(setting)),
            secrets=(_login(),) if asked else (),
            needs=(namespaces.NAME, database.NAME, object_store.NAME),
            awaited=(Awaited(api_version="apps/v1", kind="Deployment", name=APP, namespace=MLOPS),),
        ),
        workloads=(Workload(name=APP, request=SERVER),),
        addresses=((Address(title="MLflow", url=setting.url("mlflow"), login=f"{MLOPS}/{LOGIN}"),) if asked else ()),
        backups=(Backup(kind="secrets", namespace=MLOPS, items=(LOGIN,)),) if asked else (),
        images=(used,),
        notes=(note,) if note else (),
        version_note="its tables are changed when it starts, and no older version reads them afterwards: "
        "make a backup first: ai-how backup create FOLDER",
    )


def login_asked(setting: Setting) -> bool:
    """Whether the gateway can ask for user and password: NGINX Gateway Fabric's filter for it begins with 2.4."""
    return at_least(setting.version("nginx-gateway-fabric"), "2.4")


def _login() -> GeneratedSecret:
    """User and password, and the line that nginx compares with, in one Secret of the kind that it wants."""
    return GeneratedSecret(
        name=LOGIN,
        namespace=MLOPS,
        random={"password": 24},
        texts={"user": "mlflow", "auth": "mlflow:{PLAIN}${password}"},
        type="nginx.org/htpasswd",
    )


def allowed_hosts(setting: Setting) -> tuple[str, ...]:
    """The names that it answers to: a page in somebody's browser must not reach it under another."""
    inside = (APP, f"{APP}.{MLOPS}", f"{APP}.{MLOPS}.svc", f"{APP}.{MLOPS}.svc.cluster.local")
    outside = setting.host("mlflow")
    access = setting.stack.access
    port = (f"{outside}:{access.https_port}",) if access.type == "node-port" else ()
    # what a tunnel from the workstation is called there; its port is another each time
    near = "127.0.0.1:*"
    return (outside, *port, *(f"{name}:{PORT}" for name in inside), *inside, near)


def command(setting: Setting) -> tuple[str, ...]:
    """How the server is started."""
    return (
        "mlflow",
        "server",
        *("--host", "0.0.0.0"),  # noqa: S104 - policies say who reaches it
        *("--port", str(PORT)),
        *("--workers", str(WORKERS)),
        "--serve-artifacts",
        *("--artifacts-destination", f"s3://{object_store.buckets(setting)[1]}"),
        *("--allowed-hosts", ",".join(allowed_hosts(setting))),
        *("--cors-allowed-origins", setting.url("mlflow")),
        *("--expose-prometheus", "/tmp/metrics"),  # noqa: S108 - a path in the container
    )


def _environment(setting: Setting) -> dict[str, Any]:
    keys = object_store.credentials(setting)
    return {
        "MLFLOW_BACKEND_STORE_URI": database.uri(setting),
        "PGPASSWORD": database.password(setting),
        "PGSSLMODE": database.ssl_mode(setting),
        "MLFLOW_S3_ENDPOINT_URL": object_store.endpoint(setting),
        "AWS_DEFAULT_REGION": setting.stack.object_store.region,
        "AWS_ACCESS_KEY_ID": (keys, "AWS_ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": (keys, "AWS_SECRET_ACCESS_KEY"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # seven worker processes for features that a registry does not have
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        "HOME": "/tmp",  # noqa: S108 - a path in the container
    }


def _deployment(setting: Setting, used: str) -> Object:
    labels = {NAME_LABEL: APP, database.CLIENTS: "true"}
    migration = container(
        "migration",
        used,
        command=("python", "-c", MIGRATION),
        request=SERVER,
        env=_environment(setting),
        mounts={"tmp": "/tmp"},  # noqa: S108 - a path in the container
    )
    server = container(
        "server",
        used,
        command=command(setting),
        request=SERVER,
        ports={"http": PORT},
        env=_environment(setting),
        mounts={"tmp": "/tmp"},  # noqa: S108 - a path in the container
        # it makes its tables at the first start
        probes=http_probes("/health", "http", start_s=300),
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(APP, MLOPS),
        "spec": {
            "replicas": 1,
            # two versions must not change the tables at once
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {NAME_LABEL: APP}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pod_security(USER),
                    "initContainers": [migration],
                    "containers": [server],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": f"{TEMPORARY_GIB}Gi"}}],
                },
            },
        },
    }


def _policies(setting: Setting) -> tuple[Object, ...]:
    inside = (from_space(GATEWAY, "http"), from_space(MONITORING, "http"))
    return (policy(NAME, MLOPS, pods={NAME_LABEL: APP}, ingress=inside, egress=(object_store.way_to(setting),)),)
