"""Names under ``extra_vars`` against a Kubespray that is on this machine already. Fetches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ai_how.apply.files import shared_cache
from ai_how.kubernetes.variables import check_names
from ai_how.site.spec import Site


def check_extra_vars(site: Site, versions: Mapping[str, str], *, site_folder: Path) -> None:
    """Refuse names that Kubespray does not have, as far as its source is at hand; `up` does so in any case.

    Raises:
        SpecError: as ``check_names``.
    """
    version = versions["kubespray"]
    for cluster in site.planned_clusters.values():
        wanted = cluster.kubernetes
        if not (cluster.has_kubernetes and wanted.extra_vars):
            continue
        own = site_folder / Path(wanted.kubespray_path).expanduser() if wanted.kubespray_path else None
        checkout = own or shared_cache() / "kubespray" / f"v{version}"
        if (checkout / "roles").is_dir():
            check_names(wanted.extra_vars, checkout, version=version)
