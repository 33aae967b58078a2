"""The embedded stack as resources: what the site file wants, in terms that ``plan`` compares. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ai_how.local.components import database, gateway, object_store, registry, watchdog
from ai_how.local.components.base import Setting
from ai_how.local.process import ProcessSpec
from ai_how.plan.model import Resource

SECRETS = "secrets"
ENVIRONMENT = "environment/mlflow"
SUPERVISOR = "supervisor"
BUCKETS = "buckets"
DATABASE_FILES = "database-files"
PROCESS = "process/"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The rendered stack: its processes in starting order, and the address of the object store."""

    processes: tuple[ProcessSpec, ...]
    s3_url: str
    resources: tuple[Resource, ...]

    def process(self, name: str) -> ProcessSpec | None:
        return next((spec for spec in self.processes if spec.name == name), None)


def render_stack(setting: Setting, *, environment: Path, postgres_bin: Path | None) -> Stack:
    """Everything that the site wants on this machine."""
    store = object_store.object_store(setting)
    s3_url = object_store.address(setting, store)
    db = database.database(setting, bin_dir=postgres_bin)
    backend = database.backend_uri(setting, db)
    mlflow = registry.registry(setting, environment=environment, backend_uri=backend, s3_url=s3_url)
    front = gateway.gateway(setting, s3_url=s3_url)
    watch = watchdog.watchdog(setting, [spec for spec in (store, db, mlflow, front) if spec])
    bucket = setting.site.object_store.bucket
    buckets = Resource(
        name=BUCKETS,
        settings={"endpoint_url": s3_url, "names": [bucket, f"{bucket}-mlflow"]},
        needs=(f"{PROCESS}{store.name}",) if store else (SECRETS,),
    )
    db_needs: tuple[str, ...] = ()
    resources = [
        Resource(name=SECRETS, settings=_secret_sources(setting)),
        Resource(name=ENVIRONMENT, settings={"path": str(environment)}),
        Resource(name=SUPERVISOR, settings={"socket": str(setting.layout.supervisor_socket)}, needs=(SECRETS,)),
        buckets,
    ]
    if store:
        resources.append(_process_resource(store, needs=()))
    if db and postgres_bin:
        resources.append(
            Resource(
                name=DATABASE_FILES,
                settings={"path": str(setting.layout.data / database.NAME), "bin": str(postgres_bin)},
                needs=(SECRETS,),
            )
        )
        resources.append(_process_resource(db, needs=(DATABASE_FILES,)))
        db_needs = (f"{PROCESS}{db.name}",)
    # not the buckets: MLflow touches them only when a run logs an artifact
    resources.append(_process_resource(mlflow, needs=(ENVIRONMENT, *db_needs)))
    resources.append(_process_resource(front, needs=()))
    resources.append(
        _process_resource(watch, needs=tuple(f"{PROCESS}{s.name}" for s in (store, db, mlflow, front) if s))
    )
    return Stack(
        processes=tuple(spec for spec in (store, db, mlflow, front, watch) if spec),
        s3_url=s3_url,
        resources=tuple(resources),
    )


def _process_resource(spec: ProcessSpec, *, needs: tuple[str, ...]) -> Resource:
    return Resource(name=f"{PROCESS}{spec.name}", settings=spec.to_settings(), needs=(SECRETS, SUPERVISOR, *needs))


def _secret_sources(setting: Setting) -> dict[str, str | None]:
    return {
        "object_store": setting.site.object_store.credentials_file,
        "database": setting.site.registry.password_file,
    }
