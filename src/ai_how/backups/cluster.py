"""What of a cluster's stack is kept in a backup. Reads, changes nothing on the cluster."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from ai_how import __version__
from ai_how.apply.site_folder import SiteFolder
from ai_how.backups.databases import PostgresServer, dump_postgresql, external_server
from ai_how.backups.manifest import SITE_FILE, ModelVersion
from ai_how.backups.on_nodes import database_pod, save_etcd
from ai_how.backups.source import kept_version
from ai_how.errors import TryAgainError
from ai_how.kubernetes.nodes import CONTROL_PLANE
from ai_how.kubernetes.with_kubernetes import WithKubernetes
from ai_how.kubernetes_api.connection import Patience
from ai_how.kubernetes_api.objects import Ref
from ai_how.models.registry import Registry
from ai_how.models.s3 import Bucket
from ai_how.models.types import Stores
from ai_how.site.spec import Site
from ai_how.stack.components import database, object_store
from ai_how.stack.setting import MLOPS
from ai_how.stack.stack import render_parts
from ai_how.stack_access.running import RunningStack, open_running_stack, read_secret, value_of
from ai_how.stack_access.stores import open_cluster_stores

MLFLOW = "mlflow"
ETCD, AUTHORITY = "etcd/snapshot.db", "etcd/authority.pem"
"""The snapshot, and the certificate of the authority of the cluster that it is of."""
PATIENCE = Patience(total_s=60)
_ALONE = ("state.json", "events.jsonl")


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

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The stack's Secrets, a snapshot of etcd and whose it is, what was applied and done, the site file."""
        yield from self.secrets()
        yield ETCD, self._etcd()
        yield AUTHORITY, self.stack.api.connection.access.authority_pem.encode("ascii")
        for name in _ALONE:
            if (self.folder.root / name).exists():
                yield name, (self.folder.root / name).read_bytes()
        yield SITE_FILE, self.site_file.read_bytes()

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

    def _etcd(self) -> bytes:
        machines = self.stack.machines
        running = (node for node in machines.nodes if node.name in machines.there and node.name not in machines.off)
        node = next((node for node in running if node.role == CONTROL_PLANE), None)
        if node is None:
            raise TryAgainError(f"no control plane of cluster {machines.cluster} is on", next_step="ai-how up")
        with tempfile.TemporaryDirectory(prefix="ai-how-") as folder:
            save_etcd(node, Path(folder) / "snapshot")
            return (Path(folder) / "snapshot").read_bytes()

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


def name_of_backups(site: Site, cluster: str) -> str:
    """Under which name a cluster's backups are listed: the site's, with the cluster's where there are several."""
    several = sum(each.has_stack for each in site.planned_clusters.values()) > 1
    return f"{site.name}-{cluster}" if several else site.name


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
