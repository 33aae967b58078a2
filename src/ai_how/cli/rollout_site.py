"""What the rollout commands need of a site: the one place where they learn who serves there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ai_how.cli.open_site import open_serving

if TYPE_CHECKING:
    from ai_how.bench.load import Client
    from ai_how.endpoints.rollout.journal import RollingEndpoints
    from ai_how.endpoints.serving_site import ServingSite
    from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware
    from ai_how.models.types import RegisteredVersion, Stores
    from ai_how.site.spec import Site


@dataclass(frozen=True, kw_only=True)
class RolloutSite:
    """A site whose endpoints can be rolled out. Nothing is opened before it is asked for."""

    serving: ServingSite

    @property
    def site(self) -> Site:
        return self.serving.site

    @property
    def reports_dir(self) -> Path:
        return self.serving.reports_dir

    @property
    def start_timeout_s(self) -> float:
        return self.serving.start_timeout_s

    @property
    def endpoints(self) -> RollingEndpoints:
        return self.serving.endpoints

    def stores(self) -> Stores:
        return self.serving.stores()

    def client(self, spec: EndpointSpec, *, seed: int, timeout_s: float) -> Client:
        """A client that asks an endpoint as its users do."""
        from ai_how.bench.load import Client
        from ai_how.bench.workload import Workload

        workload = Workload(chat=self.serving.info(spec).chat_template, seed=seed)
        return Client.through(self.serving.door(spec.name), model=spec.name, workload=workload, timeout_s=timeout_s)

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
        return self.serving.make_spec(name, version, hardware=hardware, autoscaling=autoscaling, base=base)


def open_rollouts(site_path: Path | None) -> RolloutSite:
    """The site, opened for rollouts.

    Raises:
        SpecError: nothing there serves models.
        TryAgainError: it is not up.
    """
    return RolloutSite(serving=open_serving(site_path))
