"""What the gateway asks of whoever runs the engine processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ai_how.endpoints.cold_start.replica import ReplicaMarks
from ai_how.endpoints.types import EndpointSpec
from ai_how.errors import ProviderError

ProcessState = Literal["starting", "running", "restarting", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class ReplicaProcess:
    """One engine process. ``name`` is unique in the site; ``spec_digest`` tells for which spec it was started.
    ``revision`` is its endpoint's revision then, 0 where it was started before there were any. ``adapters`` are the
    names that clients send for those that it loads, in the engine's order.

    ``state`` is the process's, not the model's: a running process may still be loading. ``failed`` means that the
    supervisor gave up restarting it.
    """

    name: str
    endpoint: str
    host: str
    port: int
    spec_digest: str
    state: ProcessState
    pid: int | None = None
    ready_path: str = "/health"
    revision: int = 0
    adapters: tuple[str, ...] = ()
    adapters_by_number: bool = False

    def has_loaded(self, model: str) -> bool:
        """Whether it answers for a model: not where it was started before its endpoint had that adapter."""
        return model in (self.endpoint, *self.adapters)


class NoFreeGpuError(ProviderError):
    """A replica cannot be started, because other replicas have the GPUs."""


class ReplicaBackend(Protocol):
    """Starts and stops engine processes that live on when the gateway does not."""

    async def start(self, spec: EndpointSpec, *, revision: int) -> ReplicaProcess:
        """Start one more replica of an endpoint's revision and return at once; loading goes on in the background.

        Raises:
            NoFreeGpuError: other replicas have the GPUs.
            AiHowError, OSError: it cannot be started for another reason.
        """
        ...

    async def stop(self, name: str) -> None:
        """Stop a replica's whole process tree and forget it. Stopping one that is gone is fine."""
        ...

    async def list_replicas(self) -> list[ReplicaProcess]:
        """All replicas of the site, ordered by name, those of an earlier gateway's life included."""
        ...

    async def no_room_to_sleep(self, name: str) -> str | None:
        """Why the weights of a replica that is to sleep would not fit into main memory now; None where they would."""
        ...

    async def start_marks(self, name: str) -> ReplicaMarks | None:
        """When a replica's process began, had its files and had prepared them; None where it left no marks."""
        ...

    async def log_tail(self, name: str, lines: int = 20) -> str:
        """The last lines that a replica printed, for error messages."""
        ...
