"""What of a cluster's stack is kept in a backup. Reads, changes nothing on the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from ai_how import __version__
from ai_how.apply.site_folder import SiteFolder
from ai_how.backups.cluster_files import control_plane, etcd_files, site_files
from ai_how.backups.clusters_of_site import name_of_backups
from ai_how.backups.databases import PostgresServer, dump_postgresql, external_server
from ai_how.backups.manifest import ModelVersion
from ai_how.backups.on_nodes import database_pod, etcd_bytes
from ai_how.backups.source import kept_version
from ai_how.kubernetes.with_kubernetes import WithKubernetes
from ai_how.kubernetes_api.connection import Patience
from ai_how.kubernetes_api.objects import Ref
from ai_how.models.registry import Registry
from ai_how.models.s3 import Bucket
from ai_how.models.types import Stores
from ai_how.stack.components import database, object_store
from ai_how.stack.setting import MLOPS
from ai_how.stack.stack import render_parts
from ai_how.stack_access.running import RunningStack, open_running_stack, read_secret, value_of
from ai_how.stack_access.stores import open_cluster_stores

MLFLOW = "mlflow"
PATIENCE = Patience(total_s=60)


@dataclass(frozen=True)
class ClusterSource:
    """A cluster whose stack runs, as ``backups.source.Source``. The site's own SSH keys are not kept."""

    stack: RunningStack
    stores: Stores
    folder: SiteFolder
    site_file: Path

    @property
    def site(self) -> str:
        return name_of_backups(self.stack.site, self.stack.cluster)

    @property
    def provider(self) -> str:
        return self.stack.site.provider

    @property
    def versions(self) -> Mapping[str, str]:
        wanted = (MLFLOW, "seaweedfs", "minio", "postgresql", "kubernetes", "etcd")
        return {"ai-how": __version__, **{name: found for name in wanted if (found := self._version(name))}}

    def _version(self, name: str) -> str:
        return self.stack.setting.versions.get(name, "")

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        names = object_store.buckets(self.stack.setting)
        return tuple(Bucket(replace(self.stores.access, bucket=name)) for name in names)

    @cached_property
    def snapshot_bytes(self) -> int:
        return etcd_bytes(control_plane(self.stack.machines))

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The stack's Secrets, a snapshot of etcd and whose it is, what was applied and done, the site file."""
        yield from self.secrets()
        authority = self.stack.api.connection.access.authority_pem
        yield from etcd_files(control_plane(self.stack.machines), authority_pem=authority)
        yield from site_files(self.folder, self.site_file)

    def secrets(self) -> Iterator[tuple[str, bytes]]:
        """The Secrets alone, as ``files`` has them."""
        for namespace, name in kept_secrets(self.stack):
            found = self._secret(namespace, name)
            if found is not None:
                yield f"secrets/{namespace}/{name}.json", found

    def _secret(self, namespace: str, name: str) -> bytes | None:
        """A Secret as it can be applied again; None where it is not there."""
        found = self.stack.api.get(Ref(api_version="v1", kind="Secret", namespace=namespace, name=name))
        if found is None:
            return None
        metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels") if key in found["metadata"]}
        kept = {key: found[key] for key in ("type", "immutable", "data") if key in found}
        return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **kept}, indent=1).encode()

    def models(self) -> tuple[ModelVersion, ...]:
        return tuple(kept_version(version) for version in Registry(self.stores.registry_url).versions())

    def dump(self, to: Path) -> Literal["sqlite", "postgresql"]:
        server = external_database(self.stack)
        if server is None:
            database_pod(self.stack).dump(to)
        else:
            dump_postgresql(server, to)
        return "postgresql"


@contextmanager
def open_cluster_source(
    provider: WithKubernetes, folder: SiteFolder, site_file: Path, cluster: str | None = None
) -> Iterator[ClusterSource]:
    """A site's cluster for the time of the block.

    Raises:
        As ``open_running_stack`` and ``open_cluster_stores``.
    """
    with (
        open_running_stack(provider, cluster, patience=PATIENCE) as stack,
        source_of(stack, folder, site_file) as source,
    ):
        yield source


@contextmanager
def source_of(stack: RunningStack, folder: SiteFolder, site_file: Path) -> Iterator[ClusterSource]:
    """A running stack as what a backup keeps, its stores open for the time of the block.

    Raises:
        As ``open_cluster_stores``.
    """
    with open_cluster_stores(stack) as stores:
        yield ClusterSource(stack, stores, folder, site_file)


def kept_secrets(stack: RunningStack) -> list[tuple[str, str]]:
    """Namespace and name of each Secret that the stack's parts want kept. Pure."""
    backups = [one for part in render_parts(stack.setting) for one in part.backups if one.kind == "secrets"]
    return [(one.namespace, item) for one in backups for item in one.items]


def external_database(stack: RunningStack) -> PostgresServer | None:
    """The registry's database where it is a server of the user's."""
    wanted = stack.setting.stack.database
    if wanted.type != "external":
        return None
    secret, key = database.password(stack.setting)
    return external_server(
        wanted.url or "",
        value_of(read_secret(stack, MLOPS, secret), key, of=f"{MLOPS}/{secret}"),
        key=f"clusters.{stack.cluster}.stack.database.url",
        ssl_mode=wanted.ssl_mode,
    )
