"""How long an endpoint took to start, and where the time went: kept of the last start of each endpoint.

Owns the clock from the wish for a first replica to that replica being ready. Decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from ai_how.endpoints.cold_start.replica import Seen, waterfall_of_replica, waterfall_of_wake
from ai_how.endpoints.cold_start.waterfall import Waterfall
from ai_how.errors import AiHowError
from ai_how.gateway.backend import ReplicaBackend
from ai_how.gateway.log import log_event
from ai_how.gateway.pool import Replica
from ai_how.gateway.scaling import ReplicaView

_LOG_LINES = 2000
"""vLLM says some hundred lines while it starts."""


class Starts:
    """The starts of one endpoint."""

    def __init__(self, backend: ReplicaBackend) -> None:
        self.last_s: float | None = None
        self.last: Waterfall | None = None
        self._backend = backend
        self._asked: tuple[float, str] | None = None

    @property
    def asked(self) -> bool:
        """Whether a start is under way."""
        return self._asked is not None

    def ask(self, *, unless: Iterable[ReplicaView]) -> None:
        """A first replica is wanted, unless one of these is; where that was so already, the clock goes on."""
        ready = any(view.current and view.state == "ready" for view in unless)
        if self._asked is None and not ready:
            self._asked = asyncio.get_running_loop().time(), datetime.now(UTC).isoformat(timespec="milliseconds")

    def forget(self) -> None:
        """What was wanted is not wanted any more."""
        self._asked = None

    def ended(self, replica: Replica, *, now: float) -> Seen | None:
        """The replica is ready: what was seen of its start, or None where no start was under way."""
        if self._asked is None:
            return None
        asked_s, asked_at = self._asked
        self._asked = None
        self.last_s = now - asked_s
        return Seen(asked_at=asked_at, asked_s=asked_s, loaded_s=replica.loaded_at, ready_s=now)

    async def keep(self, replica: Replica, seen: Seen, *, engine: str) -> None:
        """Put together what is known of the start that has just ended."""
        if replica.woken:
            self.last = waterfall_of_wake(seen, replica=replica.name)
            return
        try:
            marks = await self._backend.start_marks(replica.name)
            log = await self._backend.log_tail(replica.name, _LOG_LINES) if engine == "vllm" else ""
        except (AiHowError, OSError) as error:
            log_event("start_unknown", replica=replica.name, reason=str(error))
            return
        self.last = waterfall_of_replica(seen, marks, replica=replica.name, engine_log=log.splitlines())
