"""The API server of a cluster of a site, for whoever has the site open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ai_how.errors import NotFoundError, TryAgainError
from ai_how.kubernetes.cluster_of_site import ClusterMachines, SiteKubernetes
from ai_how.kubernetes.reach import open_api
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import Patience


@contextmanager
def open_cluster_api(
    kubernetes: SiteKubernetes, machines: ClusterMachines, *, patience: Patience | None = None
) -> Iterator[Client]:
    """A client of a cluster's API server for the time of the block; whether it answers is not asked.

    Raises:
        NotFoundError: the cluster has no Kubernetes that runs, or its kubeconfig is missing.
        TryAgainError: its first control plane is off, or the way to it does not open.
    """
    setup = kubernetes.setups([machines]).get(machines.cluster)
    if setup is None or setup.recorded is None:
        raise NotFoundError(f"cluster {machines.cluster} has no Kubernetes that runs", next_step="ai-how up")
    first = setup.first_control_plane
    if first.name in machines.off or first.name not in machines.there:
        raise TryAgainError(f"{first.name} is {'off' if first.name in machines.there else 'gone'}")
    access = kubernetes.kubeconfig(machines.cluster).read()
    with open_api(access, first.access, patience=patience) as client:
        yield client
