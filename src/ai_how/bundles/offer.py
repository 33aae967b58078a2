"""What a bundle means for one cluster: the variables that Kubespray is told, and what must be there before it runs.

``offer_for`` only reads; ``Offer.prepare`` starts the server and fills the user's caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ai_how.bundles.load import Bundle, bundle_for, install_wheels, take_source
from ai_how.bundles.service import PORT, serve_bundle
from ai_how.bundles.wanted import parse_reference
from ai_how.kubernetes.offline import offline_vars
from ai_how.site.kubernetes import Kubernetes


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A bundle for a cluster. ``server`` is where nodes find it; ``listen`` is empty where somebody else serves it."""

    bundle: Bundle
    server: str
    listen: str
    port: int = PORT

    @property
    def variables(self) -> dict[str, Any]:
        """For Kubespray.

        Raises:
            SpecError: the bundle has files that nodes cannot be told to take from elsewhere.
        """
        return bundle_vars(self.bundle, self.server)

    def prepare(self, folder: Path) -> None:
        """Fill the user's caches from the bundle and serve it, before Kubespray runs.

        Args:
            folder: Of the server, in the site's own.

        Raises:
            ProviderError: the server did not start, or the bundle is damaged.
            SpecError: its wheels are for another Python.
        """
        checkout = take_source(self.bundle)
        if checkout is not None:
            install_wheels(self.bundle, checkout)
        if self.listen:
            serve_bundle(self.bundle, folder, listen=self.listen, port=self.port)


def offer_for(wanted: Kubernetes, versions: Mapping[str, str], *, site_folder: Path, host_address: str) -> Offer | None:
    """The bundle that a cluster is set up from; None where nodes take everything from the internet.

    Args:
        versions: By component: those of the site's release set, with its pins taken in.
        host_address: This machine's address in the cluster's network.

    Raises:
        SpecError, NotFoundError: the site names a bundle that is not there, not whole, or for other versions.
    """
    named = site_folder / Path(wanted.bundle).expanduser() if wanted.bundle else None
    bundle = bundle_for(versions, named=named)
    if bundle is None:
        return None
    if wanted.bundle_server:
        return Offer(bundle=bundle, server=wanted.bundle_server.rstrip("/"), listen="")
    return Offer(bundle=bundle, server=f"http://{host_address}:{PORT}", listen=host_address)


def bundle_vars(bundle: Bundle, server: str) -> dict[str, Any]:
    """The variables that lead nodes to a bundle's server, as ``offline_vars``."""
    hosts = {urlsplit(entry.source).netloc for entry in bundle.manifest.of_kind("file")}
    registries = {parse_reference(entry.name).registry for entry in bundle.manifest.of_kind("image")}
    return offline_vars(server, hosts=hosts, registries=registries)
