"""Where a cluster's nodes get files and images: the variables that Kubespray is told, and what must be there before.

``offer_for`` only reads. What it gives says what to tell Kubespray, without asking it, and ``prepare`` does the rest
before Kubespray runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ai_how.apply.files import shared_cache
from ai_how.bundles.create import Purpose, create_bundle
from ai_how.bundles.load import Bundle, bundle_for, install_wheels, take_source
from ai_how.bundles.needs import kubernetes_needs
from ai_how.bundles.service import PORT, serve_bundle, served
from ai_how.bundles.wanted import Wanted, parse_reference
from ai_how.errors import SpecError
from ai_how.kubernetes.downloads import Downloads
from ai_how.kubernetes.offline import FILE_HOSTS, offline_vars
from ai_how.models.meter import Progress
from ai_how.site.kubernetes import Kubernetes

REGISTRIES = ("docker.io", "gcr.io", "ghcr.io", "nvcr.io", "quay.io", "registry.k8s.io")
"""Where images come from: Kubespray's ``*_image_repo`` defaults, and NVIDIA's for the stack on GPUs."""
_PLATFORM = "linux/amd64"


@dataclass(frozen=True, kw_only=True)
class FromBundle:
    """A bundle. ``server`` is where nodes find it; ``listen`` is empty where somebody else serves it."""

    bundle: Bundle
    server: str
    listen: str
    port: int = PORT

    @property
    def variables(self) -> dict[str, Any]:
        """As ``Downloads``."""
        manifest = self.bundle.manifest
        hosts = {urlsplit(entry.source).netloc for entry in manifest.of_kind("file")}
        registries = {parse_reference(entry.name).registry for entry in manifest.of_kind("image")}
        return offline_vars(self.server, hosts=hosts, registries=registries)

    def prepare(self, folder: Path, *, progress: Progress | None = None) -> None:  # noqa: ARG002 - nothing is fetched
        """As ``Downloads``: Kubespray and its environment come from the bundle too."""
        checkout = take_source(self.bundle)
        if checkout is not None:
            install_wheels(self.bundle, checkout)
        if self.listen:
            serve_bundle(self.bundle, folder, listen=self.listen, port=self.port)

    def trouble(self, folder: Path) -> str:
        """As ``Downloads``."""
        running = served(folder)
        if self.listen and (running is None or running.bundle != self.bundle.manifest.identity):
            return f"its bundle is not served at {self.server}"
        return ""


@dataclass(frozen=True, kw_only=True)
class FromHost:
    """This host fetches what Kubespray names, once for all nodes, and keeps it for the next time."""

    wanted: Kubernetes
    versions: Mapping[str, str]
    site_folder: Path
    listen: str
    port: int = PORT
    more: Callable[[], Sequence[Wanted]] = tuple

    @property
    def variables(self) -> dict[str, Any]:
        """As ``Downloads``; the same whatever the cluster needs, so that planning asks nobody."""
        return offline_vars(f"http://{self.listen}:{self.port}", hosts=FILE_HOSTS, registries=REGISTRIES)

    def prepare(self, folder: Path, *, progress: Progress | None = None) -> None:
        """As ``Downloads``."""
        needs = kubernetes_needs(
            [self.wanted],
            self.versions,
            platform=_PLATFORM,
            pythons=(),
            site_folder=self.site_folder,
            more=self.more(),
        )
        purpose = Purpose(release="", versions=self.versions, platform=_PLATFORM)
        place = shared_cache() / "downloads" / _key(needs.wanted)
        manifest = create_bundle(place, needs.wanted, purpose, progress=progress)
        serve_bundle(Bundle(path=place, manifest=manifest), folder, listen=self.listen, port=self.port)

    def trouble(self, folder: Path) -> str:
        """As ``Downloads``."""
        running = served(folder)
        at = (self.listen, self.port)
        return "" if running and (running.listen, running.port) == at else "this host's downloads are not served"


def offer_for(
    wanted: Kubernetes,
    versions: Mapping[str, str],
    *,
    site_folder: Path,
    host_address: str,
    more: Callable[[], Sequence[Wanted]] = tuple,
) -> Downloads | None:
    """Where the nodes of a cluster get what they download; None where each asks the internet.

    Args:
        versions: By component: those of the site's release set, with its pins taken in.
        host_address: This machine's address in the cluster's network.
        more: Tells what is wanted beside Kubespray's own; asked when it is fetched.

    Raises:
        SpecError, NotFoundError: the site names a bundle that is not there, not whole, or for other versions.
    """
    named = site_folder / Path(wanted.bundle).expanduser() if wanted.bundle else None
    bundle = bundle_for(versions, named=named)
    if bundle is not None and wanted.bundle_server:
        return FromBundle(bundle=bundle, server=wanted.bundle_server.rstrip("/"), listen="")
    if not host_address and (bundle is not None or wanted.download == "host"):
        raise SpecError(
            "this host has no address that the nodes could reach",
            evidence="there is no route to them",
            next_step="serve the bundle elsewhere (ai-how bundle serve) and write kubernetes.bundle_server",
        )
    if bundle is not None:
        return FromBundle(bundle=bundle, server=f"http://{host_address}:{PORT}", listen=host_address, port=PORT)
    if wanted.download == "host":
        return FromHost(
            wanted=wanted, versions=versions, site_folder=site_folder, listen=host_address, port=PORT, more=more
        )
    return None


def _key(wanted: Sequence[Wanted]) -> str:
    return hashlib.sha256("\n".join(sorted(map(repr, wanted))).encode()).hexdigest()[:12]
