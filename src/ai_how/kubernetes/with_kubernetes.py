"""What a provider of clusters offers to the commands that are about Kubernetes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ai_how.kubernetes.cluster_of_site import ClusterMachines, SiteKubernetes


@runtime_checkable
class WithKubernetes(Protocol):
    """A provider whose clusters can have Kubernetes."""

    kubernetes: SiteKubernetes

    def clusters(self) -> tuple[ClusterMachines, ...]:
        """The clusters as they are now; asks the machines' hosts."""
