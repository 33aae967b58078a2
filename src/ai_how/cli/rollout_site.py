"""What the rollout commands need of a site: the one place where they learn who serves there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai_how.bench.load import Client
    from ai_how.endpoints.rollout.journal import RollingEndpoints
    from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware
    from ai_how.local.site_access import GatewayAccess
    from ai_how.models.types import RegisteredVersion, Stores
    from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class RolloutSite:
    """A site whose endpoints can be rolled out. Nothing is opened before it is asked for."""

    access: GatewayAccess
    site_path: Path | None

    @property
    def site(self) -> Site:
        return self.access.site

    @property
    def reports_dir(self) -> Path:
        return self.access.reports_dir

    @property
    def start_timeout_s(self) -> float:
        return self.site.serving.start_timeout_s + 60

    @property
    def endpoints(self) -> RollingEndpoints:
        from ai_how.endpoints.client import EndpointClient

        return EndpointClient(admin_url=self.access.admin_url, admin_key=self.access.admin_key)

    def stores(self) -> Stores:
        from ai_how.local.site_access import open_stores

        return open_stores(self.site_path)

    def client(self, spec: EndpointSpec, *, seed: int, timeout_s: float) -> Client:
        """A client that asks an endpoint as its users do."""
        from ai_how.bench.load import Client
        from ai_how.bench.workload import Workload
        from ai_how.models.library import resolve

        chat = resolve(f"{spec.model_name}/{spec.model_version}", self.stores()).info.chat_template
        return Client(
            base_url=self.access.url,
            api_key=self.access.api_key,
            model=spec.name,
            workload=Workload(chat=chat, seed=seed),
            timeout_s=timeout_s,
        )

    def make_spec(
        self,
        name: str,
        version: RegisteredVersion,
        *,
        hardware: Hardware,
        autoscaling: Autoscaling,
        base: RegisteredVersion | None,
    ) -> EndpointSpec:
        """The spec of an endpoint for a registered version.

        Raises:
            SpecError: nothing here can serve it.
        """
        from ai_how.endpoints.deploy import make_spec
        from ai_how.endpoints.engines.host import observe_engine_host

        return make_spec(
            name,
            version,
            hardware=hardware,
            autoscaling=autoscaling,
            serving=self.site.serving,
            host=observe_engine_host(),
            base=base,
        )


def open_rollouts(site_path: Path | None) -> RolloutSite:
    """The site, opened for rollouts.

    Raises:
        SpecError: nothing there serves models.
        TryAgainError: it is not up.
    """
    from ai_how.local.site_access import open_gateway

    return RolloutSite(access=open_gateway(site_path), site_path=site_path)
