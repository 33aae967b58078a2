"""Opens a site for the commands that any provider can do. A new provider is one line here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.output import note
from ai_how.endpoints.types import KSERVE
from ai_how.errors import SpecError

if TYPE_CHECKING:
    from ai_how.apply.provider import Provider
    from ai_how.endpoints.serving_site import ServingSite
    from ai_how.kubernetes.with_kubernetes import WithKubernetes
    from ai_how.machines.provider import LibvirtProvider
    from ai_how.servers.provider import InventoryProvider
    from ai_how.site.spec import Site


def open_site(site_path: Path | None, *, cluster: str | None = None) -> Provider:
    """The provider of a site file; None looks for ai-how.yaml here and in the folders above.

    Args:
        cluster: A cluster that ``up`` starts, although it is started by hand.

    Raises:
        SpecError: the site can only be planned. Nothing has been done then.
    """
    from ai_how.apply.site_folder import SiteFolder, read_state, site_root
    from ai_how.site.load import find_site, load_site

    path = site_path or find_site(Path.cwd())
    site = load_site(path)
    folder = SiteFolder(root=site_root(site, path))
    if folder.state.exists() and read_state(folder) is None:
        note(f"note: {folder.state} is damaged and counts as lost; what is there stays, up finds it again")
    return provider_of(site, path, cluster=cluster)


def open_machines(site_path: Path | None) -> LibvirtProvider:
    """A site of virtual machines, for the commands that work on one.

    Raises:
        SpecError: the site has none.
    """
    from ai_how.machines.provider import LibvirtProvider

    provider = open_site(site_path)
    if isinstance(provider, LibvirtProvider):
        return provider
    raise no_machines(provider.site)


def no_machines(site: Site) -> SpecError:
    """The error for a command about virtual machines in a site that has none."""
    write = "write provider: libvirt and clusters in the site file (ai-how schema)"
    return SpecError(
        f"site {site.name} has no virtual machines",
        evidence=f"provider: {site.provider}",
        next_step="its servers: ai-how hosts list" if site.provider == "inventory" else write,
    )


def open_kubernetes(site_path: Path | None) -> WithKubernetes:
    """A site whose clusters can have Kubernetes.

    Raises:
        SpecError: it is of another kind.
    """
    from ai_how.kubernetes.with_kubernetes import WithKubernetes

    provider = open_site(site_path)
    if isinstance(provider, WithKubernetes):
        return provider
    raise SpecError(
        f"site {provider.site.name} has no Kubernetes",
        evidence=f"provider: {provider.site.provider}",
        next_step="write provider: libvirt or inventory and a cluster of kind cloud (ai-how schema)",
    )


def open_serving(site_path: Path | None, *, provider: str | None = None) -> ServingSite:
    """A site that serves models, for the commands that serve, register and measure; it is closed with the command.

    Args:
        provider: Who must serve there: ``kserve``, or ``ai-how`` for whatever the site has.

    Raises:
        SpecError: the site is served otherwise, or there is no such provider.
        NotFoundError: no cluster of it has a stack that could serve.
    """
    from ai_how.local.provider import LocalProvider

    opened = open_site(site_path)
    check_served_by(opened.site, provider)
    if isinstance(opened, LocalProvider):
        from ai_how.local.serving import LocalServing

        return LocalServing(opened)
    from ai_how.kserve.serving import open_cluster_serving
    from ai_how.kubernetes.with_kubernetes import WithKubernetes

    if not isinstance(opened, WithKubernetes):
        raise SpecError(f"site {opened.site.name} serves no models", evidence=f"provider: {opened.site.provider}")
    root = click.get_current_context().find_root()
    # a command asks in several places; the way in is opened once
    known: dict[Path, ServingSite] = root.meta.setdefault("ai_how.serving", {})
    key = opened.kubernetes.site_file.resolve()
    if key not in known:
        known[key] = root.with_resource(open_cluster_serving(opened))
    return known[key]


def check_served_by(site: Site, provider: str | None) -> None:
    """Whether a site's models are served as a command or a deploy file asks.

    Raises:
        SpecError: they are not.
    """
    if provider == KSERVE and site.provider == "local":
        raise SpecError(
            f"site {site.name} has no KServe: its own gateway serves its models",
            evidence=f"provider: {site.provider}",
            next_step="leave --provider out, or use a site with a cluster of kind cloud (ai-how schema)",
        )


def open_inventory(site_path: Path | None) -> InventoryProvider:
    """A site of servers that exist.

    Raises:
        SpecError: it is of another kind.
    """
    from ai_how.servers.provider import InventoryProvider

    provider = open_site(site_path)
    if isinstance(provider, InventoryProvider):
        return provider
    raise SpecError(
        f"site {provider.site.name} has no servers of its own",
        evidence=f"provider: {provider.site.provider}",
        next_step="write provider: inventory and hosts with addresses in the site file (ai-how schema)",
    )


def provider_of(site: Site, site_file: Path, *, cluster: str | None = None) -> Provider:
    """As ``open_site``, for a site that has been loaded."""
    if cluster is not None:
        from ai_how.machines.turns import check_cluster

        check_cluster(site, cluster)
    if site.provider == "local":
        from ai_how.local.provider import LocalProvider

        return LocalProvider(site, site_file)
    if site.provider == "libvirt":
        from ai_how.machines.provider import LibvirtProvider

        return LibvirtProvider(site, site_file, cluster=cluster)
    from ai_how.servers.provider import InventoryProvider

    if cluster is not None:
        raise SpecError(
            f"cluster {cluster} is not started or stopped by ai-how: its servers are there already",
            next_step="leave --cluster out",
        )
    return InventoryProvider(site, site_file)
