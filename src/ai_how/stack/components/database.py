"""MLflow's PostgreSQL: a cluster of CloudNativePG, or a server that the user runs.

CloudNativePG makes the user's password in the cluster, in a Secret that it keeps.
Source of the fields: the CRD of CloudNativePG 1.30.0.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from ai_how.stack.components import namespaces, postgresql_operator
from ai_how.stack.manifests import Object
from ai_how.stack.objects import Awaited, Component
from ai_how.stack.part import Backup, Part, Volume, Workload
from ai_how.stack.policies import anywhere_outside, from_space, policy, ports
from ai_how.stack.requests import Request
from ai_how.stack.setting import CNPG_SYSTEM, MLOPS, MONITORING, Setting
from ai_how.stack.upstream import image

NAME = "database"
CLUSTER = "mlflow-db"
DATABASE = USER = "mlflow"
SECRET = f"{CLUSTER}-app"
"""CloudNativePG's name for the Secret of a database's owner."""
PODS = {"cnpg.io/cluster": CLUSTER}
METRICS_PORT = 9187
SERVER = Request(cpu_m=250, memory_mib=1024, limit_mib=1024)
SHARED_BUFFERS_MB = 256
"""A quarter of its memory. Source: PostgreSQL's documentation, shared_buffers."""
CLIENTS = "ai-how/uses-database"
"""Label of pods that may talk to it."""


def render(setting: Setting) -> Part:
    """The servers, their volumes and what may reach them; for an external one only the way to it."""
    if setting.stack.database.type == "external":
        return _external(setting)
    wanted, used = setting.stack.database, image("postgresql", setting)
    return Part(
        title="PostgreSQL",
        version=setting.version("postgresql"),
        component=Component(
            name=NAME,
            namespace=MLOPS,
            objects=(_cluster(setting, used), *_policies()),
            needs=(namespaces.NAME, postgresql_operator.NAME),
            awaited=(
                Awaited(
                    api_version="postgresql.cnpg.io/v1",
                    kind="Cluster",
                    name=CLUSTER,
                    namespace=MLOPS,
                    condition="Ready",
                ),
            ),
        ),
        workloads=(Workload(name=CLUSTER, request=SERVER, replicas=wanted.instances),),
        volumes=(Volume(name="database", namespace=MLOPS, size_gib=wanted.size_gib, claims=wanted.instances),),
        backups=(
            Backup(kind="postgresql", namespace=MLOPS, source=f"{CLUSTER}-rw", credentials=SECRET, items=(DATABASE,)),
        ),
        images=(used,),
    )


def uri(setting: Setting) -> str:
    """MLflow's address of it, without the password: the driver is named, as SQLAlchemy's default has changed."""
    if setting.stack.database.url:
        return setting.stack.database.url.replace("postgresql://", "postgresql+psycopg2://", 1)
    return f"postgresql+psycopg2://{USER}@{CLUSTER}-rw.{MLOPS}.svc:5432/{DATABASE}"


def password(setting: Setting) -> tuple[str, str]:
    """Secret and key of the password, in MLflow's namespace."""
    return setting.stack.database.password_secret or SECRET, "password"


def ssl_mode(setting: Setting) -> str:
    """How libpq checks the server: ours signs its own certificate."""
    return setting.stack.database.ssl_mode if setting.stack.database.type == "external" else "require"


def _cluster(setting: Setting, used: str) -> Object:
    wanted = setting.stack.database
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": CLUSTER, "namespace": MLOPS},
        "spec": {
            "instances": wanted.instances,
            "imageName": used,
            "bootstrap": {"initdb": {"database": DATABASE, "owner": USER}},
            "enableSuperuserAccess": False,
            "storage": {"size": f"{wanted.size_gib}Gi", "storageClass": setting.stack.storage_class},
            "resources": SERVER.resources(),
            "postgresql": {"parameters": {"shared_buffers": f"{SHARED_BUFFERS_MB}MB", "max_connections": "100"}},
        },
    }


def _policies() -> tuple[Object, ...]:
    operator = from_space(CNPG_SYSTEM, postgresql_operator.STATUS_PORT, postgresql_operator.SQL_PORT)
    clients = {"from": [{"podSelector": {"matchLabels": {CLIENTS: "true"}}}], "ports": ports(5432)}
    servers = {"from": [{"podSelector": {"matchLabels": PODS}}]}
    return (
        policy(
            NAME,
            MLOPS,
            pods=PODS,
            ingress=(operator, clients, servers, from_space(MONITORING, METRICS_PORT)),
            egress=({"to": [{"podSelector": {"matchLabels": PODS}}]},),
        ),
        policy(
            "use-database",
            MLOPS,
            pods={CLIENTS: "true"},
            egress=({"to": [{"podSelector": {"matchLabels": PODS}}], "ports": ports(5432)},),
        ),
    )


def _external(setting: Setting) -> Part:
    wanted = setting.stack.database
    address = urlsplit(wanted.url or "")
    out = anywhere_outside(setting, address.port or 5432)
    return Part(
        title="PostgreSQL",
        version="external",
        component=Component(
            name=NAME,
            namespace=MLOPS,
            objects=(policy("use-database", MLOPS, pods={CLIENTS: "true"}, egress=(out,)),),
            needs=(namespaces.NAME,),
        ),
        backups=(
            Backup(
                kind="postgresql",
                namespace=MLOPS,
                source=f"{address.hostname}:{address.port or 5432}",
                credentials=wanted.password_secret or "",
                items=(address.path.lstrip("/"),),
            ),
        ),
        notes=(f"make the Secret {wanted.password_secret} in {MLOPS} before the stack is applied",),
    )
