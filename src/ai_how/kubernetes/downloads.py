"""Where nodes get what their set-up downloads, as Kubernetes' set-up sees it: variables, and having it ready in time.

Who makes that true is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ai_how.kubernetes.nodes import ClusterNode
from ai_how.models.meter import Progress
from ai_how.run.route import address_towards
from ai_how.site.kubernetes import Kubernetes
from ai_how.site.spec import Site


class Downloads(Protocol):
    """A place of ours where nodes get files and images."""

    @property
    def variables(self) -> dict[str, Any]:
        """For Kubespray; asks nobody.

        Raises:
            SpecError: nodes cannot be told to take something from elsewhere.
        """

    def prepare(self, folder: Path, *, progress: Progress | None = None) -> None:
        """Have everything there, and served; ``folder`` is the server's own, in the site's.

        Raises:
            ProviderError, TryAgainError: something could not be fetched, is damaged, or the server did not start.
            SpecError: it does not suit this machine.
        """

    def trouble(self, folder: Path) -> str:
        """What is wrong with the serving now; empty where nothing is."""


class Offering(Protocol):
    """Who offers such places."""

    def offer(
        self, wanted: Kubernetes, versions: Mapping[str, str], *, site_folder: Path, address: Callable[[], str]
    ) -> Downloads | None:
        """Where the nodes of a cluster get their downloads; None: each asks the internet.

        Args:
            versions: By component: those of the site's release set, with its pins taken in.
            address: Tells this machine's, as the nodes reach it; asked where there is something to offer.

        Raises:
            SpecError, NotFoundError: the site file names what is not there or does not suit it.
        """

    def stop(self, folder: Path) -> bool:
        """End the server of a folder; whether one ran."""


class NoneOffered:
    """Each node asks the internet."""

    def offer(
        self, _wanted: Kubernetes, _versions: Mapping[str, str], *, site_folder: Path, address: Callable[[], str]
    ) -> None:
        """Nothing."""

    def stop(self, folder: Path) -> bool:  # noqa: ARG002 - there is none
        """Nothing."""
        return False


class SiteDownloads:
    """Those of every cluster of a site, each looked up once."""

    def __init__(self, offering: Offering, *, site: Site, site_folder: Path, kept: Path) -> None:
        """``kept`` has a folder for each cluster, whose server gets a folder of its own in it."""
        self._offering, self._site, self._site_folder, self._kept = offering, site, site_folder, kept
        self._found: dict[str, Downloads | None] = {}

    def variables(
        self, cluster: str, versions: Mapping[str, str], nodes: Sequence[ClusterNode], *, host_address: str = ""
    ) -> Mapping[str, Any] | None:
        """What Kubespray is told; None where each node asks the internet.

        Args:
            host_address: This machine's in the nodes' network; empty: the way to them tells it.
        """
        if cluster not in self._found:
            wanted = self._site.planned_clusters[cluster].kubernetes
            self._found[cluster] = self._offering.offer(
                wanted,
                versions,
                site_folder=self._site_folder,
                address=lambda: host_address or address_towards([node.address for node in nodes]),
            )
        found = self._found[cluster]
        return found.variables if found else None

    def prepare(self, cluster: str, *, say: Callable[[str], None]) -> None:
        """As ``Downloads``; what served a cluster that has none any more is ended. ``say`` is told how far it is."""
        found = self._found.get(cluster)
        if found is None:
            self.stop(cluster)
        else:
            say("getting ready what the nodes download")
            found.prepare(self._folder(cluster), progress=lambda *far: say(_progress_line(*far)))

    def trouble(self, cluster: str) -> str:
        """As ``Downloads``."""
        found = self._found.get(cluster)
        return found.trouble(self._folder(cluster)) if found else ""

    def stop(self, cluster: str) -> None:
        """End a cluster's server; the next ``up`` starts it again."""
        self._offering.stop(self._folder(cluster))

    def _folder(self, cluster: str) -> Path:
        return self._kept / cluster / "downloads"


def _progress_line(stage: str, done_bytes: int, total_bytes: int) -> str:
    return f"{stage}: {done_bytes >> 20} of {total_bytes >> 20} MiB"
