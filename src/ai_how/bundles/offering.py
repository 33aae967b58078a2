"""Offers a site's clusters what is on this host: a bundle, or its own downloads. Quick where neither is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ai_how.apply.files import shared_cache
from ai_how.bundles.wanted import Wanted
from ai_how.kubernetes.downloads import Downloads
from ai_how.site.kubernetes import Kubernetes


class HostOffering:
    """What this host offers; ``kubernetes.downloads.Offering``."""

    def __init__(self, more: Callable[[], Sequence[Wanted]] = tuple) -> None:
        """``more`` tells what the clusters run beside Kubernetes; asked when this host fetches for them."""
        self._more = more

    def offer(
        self, wanted: Kubernetes, versions: Mapping[str, str], *, site_folder: Path, address: Callable[[], str]
    ) -> Downloads | None:
        """As ``Offering``."""
        if not wanted.bundle and wanted.download == "nodes" and not _anything_loaded():
            return None
        from ai_how.bundles.offer import offer_for

        return offer_for(wanted, versions, site_folder=site_folder, host_address=address(), more=self._more)

    def stop(self, folder: Path) -> bool:
        """As ``Offering``."""
        if not folder.is_dir():
            return False
        from ai_how.bundles.service import stop_serving

        return stop_serving(folder)


def _anything_loaded() -> bool:
    return any((shared_cache() / "bundles").glob("[0-9a-f]*"))
