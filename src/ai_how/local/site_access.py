"""Opens a site for the commands that use it: where its gateway and stores are, and with which keys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ai_how.errors import SpecError, TryAgainError
from ai_how.local.components.object_store import S3
from ai_how.local.condition import disk_problem
from ai_how.local.layout import Layout
from ai_how.local.provider import LocalProvider
from ai_how.local.supervisor import read_process
from ai_how.models.types import ObjectStoreAccess, SecretText, Stores
from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class GatewayAccess:
    """How to reach a site's gateway. ``url`` and ``admin_url`` have no slash at the end."""

    site: Site
    url: str
    admin_url: str
    api_key: SecretText
    admin_key: SecretText
    reports_dir: Path
    api_keys_file: Path


def open_provider(site_path: Path | None) -> LocalProvider:
    """The local site of a site file; None looks for ai-how.yaml here and in the folders above.

    Raises:
        SpecError: the site's models are served on a cluster. Nothing has been done then.
    """
    from ai_how.site.load import find_site, load_site

    path = site_path or find_site(Path.cwd())
    site = load_site(path)
    if site.provider != "local":
        raise SpecError(
            f"site {site.name} has no gateway of its own: its models are served on its cluster",
            evidence=f"{path}: provider: {site.provider}",
            next_step="ai-how deploy list",
        )
    return LocalProvider(site, path)


def stores_of(provider: LocalProvider) -> Stores:
    """The site's object store and registry.

    Raises:
        TryAgainError: the site has never been brought up.
    """
    layout = provider.layout
    registry_port = _port(layout, "registry", "registry", provider.site.name)
    own = provider.site.object_store.type != "external"
    if own:
        endpoint_url = f"http://127.0.0.1:{_port(layout, 'object-store', S3, provider.site.name)}"
    else:
        endpoint_url = provider.site.object_store.endpoint_url or ""
    access_key, secret_key = provider.secrets.read_s3()
    return Stores(
        access=ObjectStoreAccess(
            endpoint_url=endpoint_url.rstrip("/"),
            region=provider.site.object_store.region,
            bucket=provider.site.object_store.bucket,
            access_key=access_key,
            secret_key=secret_key,
        ),
        registry_url=f"http://127.0.0.1:{registry_port}",
        cache_dir=layout.cache,
        trouble=lambda: disk_problem(layout.data) if own else None,
    )


def open_gateway(site_path: Path | None) -> GatewayAccess:
    """The site's gateway.

    Raises:
        TryAgainError: the site has never been brought up.
    """
    return gateway_of(open_provider(site_path))


def gateway_of(provider: LocalProvider) -> GatewayAccess:
    """As ``open_gateway``, for a site that is open."""
    from ai_how.local.components.gateway import url

    layout, site = provider.layout, provider.site
    port = _port(layout, "gateway", "gateway", site.name)
    host = "127.0.0.1" if site.gateway.host in ("0.0.0.0", "::") else site.gateway.host  # noqa: S104
    return GatewayAccess(
        site=site,
        url=url(host, port),
        admin_url=f"http://127.0.0.1:{_port(layout, 'gateway', 'gateway-admin', site.name)}",
        api_key=provider.secrets.read_api_key(),
        admin_key=provider.secrets.read_admin_key(),
        reports_dir=layout.reports,
        api_keys_file=provider.secrets.api_keys,
    )


def _port(layout: Layout, process: str, name: str, site: str) -> int:
    spec = read_process(layout, process)
    if spec is None or name not in spec.ports:
        raise TryAgainError(f"site {site} is not up", evidence=f"no {process} in {layout.root}", next_step="ai-how up")
    return spec.ports[name]
