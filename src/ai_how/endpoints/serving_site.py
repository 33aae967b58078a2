"""What the commands that serve, register and measure need of a site, whoever serves there.

Owns the interface and nothing that does it: a site's own gateway does (``local``), and a cluster (``kserve``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ai_how.endpoints.adapters import WantedAdapter
from ai_how.endpoints.door import Door
from ai_how.endpoints.rollout.journal import RollingEndpoints
from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware
from ai_how.models.types import ModelInfo, RegisteredVersion, Stores
from ai_how.site.spec import Site


class ServingSite(Protocol):
    """A site that serves models, opened for the time of one command. Nothing is opened before it is asked for."""

    @property
    def site(self) -> Site:
        """What the site file says."""
        ...

    @property
    def place(self) -> str:
        """Where replicas run, for sentences: ``this machine``, ``cluster cloud``."""
        ...

    @property
    def endpoints(self) -> RollingEndpoints:
        """The site's endpoints.

        Raises:
            TryAgainError: the site is not up.
        """
        ...

    @property
    def start_timeout_s(self) -> float:
        """How long the first replica of an endpoint may take, with all that comes before the engine's start."""
        ...

    @property
    def reports_dir(self) -> Path:
        """Where results of benchmarks are kept, on this machine."""
        ...

    def stores(self) -> Stores:
        """The object store and the registry.

        Raises:
            TryAgainError: they are not up, or cannot be reached.
        """
        ...

    def door(self, name: str) -> Door:
        """How an endpoint's public API is reached from this machine."""
        ...

    def hardware(self) -> list[Hardware]:
        """What a replica can run on: each kind with how many one replica may have."""
        ...

    def why_not_on(self, hardware: Hardware, version: RegisteredVersion) -> str:
        """Why a model cannot be served on a kind of hardware; empty where it can."""
        ...

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
        """The spec of an endpoint for a registered version, with the hardware and the engine that can serve it here.

        Args:
            adapters: What is served beside it, on the same base.

        Raises:
            SpecError: nothing here can serve it; the evidence says why.
        """
        ...

    def warnings(self, source: Path | None, spec: EndpointSpec) -> tuple[str, ...]:
        """What to say before an endpoint of a spec just made is started; nothing where all seems well.

        Args:
            source: The checkpoint folder that the model was pushed from, if it was.
        """
        ...

    def info(self, spec: EndpointSpec) -> ModelInfo:
        """What the served checkpoint says of itself."""
        ...
