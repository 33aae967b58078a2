"""A local site as the commands that serve, register and measure see it: its own gateway and stores, this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ai_how.endpoints.adapters import WantedAdapter, served_adapters
from ai_how.endpoints.client import EndpointClient
from ai_how.endpoints.deploy import CPU, available_hardware, make_spec
from ai_how.endpoints.door import Door
from ai_how.endpoints.engines.base import EngineHost
from ai_how.endpoints.engines.choose import choose
from ai_how.endpoints.engines.host import observe_engine_host
from ai_how.endpoints.memory import memory_warning
from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware
from ai_how.errors import SpecError
from ai_how.gateway.resting import sleeps
from ai_how.local.main_memory import too_much_for
from ai_how.local.provider import LocalProvider
from ai_how.local.site_access import GatewayAccess, gateway_of, stores_of
from ai_how.models.library import resolve
from ai_how.models.types import ModelInfo, RegisteredVersion, Stores
from ai_how.site.spec import Site

_AFTER_START_S = 60
"""Beyond an engine's own time: fetching and converting the model's files."""


class LocalServing:
    """Implements ``endpoints.serving_site.ServingSite``."""

    def __init__(self, provider: LocalProvider) -> None:
        self._provider = provider

    @property
    def site(self) -> Site:
        return self._provider.site

    @property
    def place(self) -> str:
        return "this machine"

    @property
    def start_timeout_s(self) -> float:
        return self.site.serving.start_timeout_s + _AFTER_START_S

    @property
    def reports_dir(self) -> Path:
        return self._gateway.reports_dir

    @property
    def endpoints(self) -> EndpointClient:
        return EndpointClient(admin_url=self._gateway.admin_url, admin_key=self._gateway.admin_key)

    def stores(self) -> Stores:
        return stores_of(self._provider)

    def door(self, name: str) -> Door:  # noqa: ARG002 - one gateway answers for all endpoints
        return Door(url=self._gateway.url, api_key=self._gateway.api_key)

    def hardware(self) -> list[Hardware]:
        return available_hardware(self._host)

    def why_not_on(self, hardware: Hardware, version: RegisteredVersion) -> str:
        host = self._host if hardware.accelerator != CPU else replace(self._host, accelerators=())
        try:
            choose(version.info, host, "auto")
        except SpecError as error:
            return error.evidence or error.brief
        return ""

    def make_spec(
        self,
        name: str,
        version: RegisteredVersion,
        *,
        hardware: Hardware,
        autoscaling: Autoscaling,
        base: RegisteredVersion | None = None,
        adapters: Sequence[WantedAdapter] = (),
    ) -> EndpointSpec:
        spec = make_spec(
            name,
            version,
            hardware=hardware,
            autoscaling=autoscaling,
            serving=self.site.serving,
            host=self._host,
            base=base,
            adapters=served_adapters(adapters, version=version, base=base),
        )
        needed_bytes = version.size_bytes + (base.size_bytes if base else 0)
        if self._sleeps(spec) and (problem := too_much_for(needed_bytes)):
            raise SpecError(
                f"{version.name} cannot sleep in this machine's main memory",
                evidence=problem,
                next_step="set serving.when_idle: stop in the site file, then: ai-how up",
            )
        return spec

    def warnings(self, source: Path | None, spec: EndpointSpec) -> tuple[str, ...]:
        idle = self.site.serving.when_idle == "sleep" and spec.autoscaling.min_replicas == 0
        stops = f"serving.when_idle is sleep, which {spec.engine} does not know: it is stopped when idle"
        memory = memory_warning(source, spec, serving=self.site.serving, host=self._host) if source else ()
        return (*((stops,) if idle and not self._sleeps(spec) else ()), *memory)

    def _sleeps(self, spec: EndpointSpec) -> bool:
        return spec.autoscaling.min_replicas == 0 and sleeps(self.site.serving, spec.engine)

    def info(self, spec: EndpointSpec) -> ModelInfo:
        return resolve(f"{spec.model_name}/{spec.model_version}", self.stores()).info

    @cached_property
    def _gateway(self) -> GatewayAccess:
        return gateway_of(self._provider)

    @cached_property
    def _host(self) -> EngineHost:
        return observe_engine_host()
