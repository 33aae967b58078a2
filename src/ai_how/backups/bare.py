"""What of a cluster without a stack is kept in a backup: etcd, and what is kept of every site. Changes nothing there.

Its API server is not asked: a snapshot can be taken also where it does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ai_how import __version__
from ai_how.backups.cluster_files import control_plane, etcd_files, site_files
from ai_how.backups.clusters_of_site import name_of_backups
from ai_how.backups.manifest import ModelVersion
from ai_how.backups.on_nodes import etcd_bytes
from ai_how.errors import NotFoundError
from ai_how.kubernetes.cluster_of_site import SiteKubernetes
from ai_how.kubernetes.nodes import ClusterNode
from ai_how.kubernetes.with_kubernetes import WithKubernetes
from ai_how.models.s3 import Bucket
from ai_how.stack_access.running import machines_of


@dataclass(frozen=True, kw_only=True)
class BareSource:
    """A cluster without a stack, as ``backups.source.Source``. ``node`` is the control plane that is asked."""

    kubernetes: SiteKubernetes
    cluster: str
    node: ClusterNode
    authority_pem: str
    snapshot_bytes: int

    @property
    def site(self) -> str:
        return name_of_backups(self.kubernetes.site, self.cluster)

    @property
    def provider(self) -> str:
        return self.kubernetes.site.provider

    @property
    def versions(self) -> Mapping[str, str]:
        known = self.kubernetes.versions
        return {"ai-how": __version__, **{name: known[name] for name in ("kubernetes", "etcd") if name in known}}

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return ()

    def files(self) -> Iterator[tuple[str, bytes]]:
        """A snapshot of etcd and whose it is, what was applied and done, the site file."""
        yield from etcd_files(self.node, authority_pem=self.authority_pem)
        yield from site_files(self.kubernetes.folder, self.kubernetes.site_file)

    def models(self) -> tuple[ModelVersion, ...]:
        return ()

    def dump(self, to: Path) -> None:
        """There is no registry."""


def open_bare_source(provider: WithKubernetes, cluster: str) -> BareSource:
    """A site's cluster, once its etcd has answered.

    Raises:
        NotFoundError: Kubernetes was not set up there, or its kubeconfig is missing.
        ProviderError, TryAgainError: no control plane is on, or etcd does not answer there.
    """
    kubernetes = provider.kubernetes
    if cluster not in kubernetes.recorded():
        raise NotFoundError(f"Kubernetes is not set up on cluster {cluster}", next_step="ai-how up")
    node = control_plane(machines_of(provider, cluster))
    authority = kubernetes.kubeconfig(cluster).read().authority_pem
    return BareSource(
        kubernetes=kubernetes, cluster=cluster, node=node, authority_pem=authority, snapshot_bytes=etcd_bytes(node)
    )
