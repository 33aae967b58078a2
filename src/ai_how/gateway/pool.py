"""Which replica works on which request: least busy first, and a fair line where all are busy or none is ready.

Owns the counts in flight and the requests held. Starts nothing and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from yarl import URL

from ai_how.endpoints.types import ReplicaStatus
from ai_how.gateway import api_errors
from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.backend import ReplicaProcess
from ai_how.gateway.scaling import ReplicaState, ReplicaView


@dataclass(kw_only=True, eq=False)
class Replica:
    """One engine process and what the gateway knows of it.

    ``since``, ``ready_since`` and ``loaded_at`` (its health path answered) are the loop's times. ``warm`` once the
    process has answered a request; ``doubt`` is set when it should be asked for its health now. ``heard`` once the
    end of a failed one's log has been read. ``woken``: what it was last waited for was no start, but that it woke;
    ``given_up``: it slept and is being stopped.
    """

    process: ReplicaProcess
    since: float
    state: ReplicaState = "starting"
    in_flight: int = 0
    warm: bool = False
    woken: bool = False
    given_up: bool = False
    ready_since: float = 0.0
    loaded_at: float | None = None
    restarts: int = 0
    pid: int | None = None
    message: str = ""
    heard: bool = False
    doubt: asyncio.Event = field(default_factory=asyncio.Event)
    watch: asyncio.Task[None] | None = None
    leave: asyncio.Task[None] | None = None
    urls: dict[str, URL] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.process.name

    def unwatch(self) -> None:
        """Nobody looks after it any more."""
        if self.watch is not None:
            self.watch.cancel()

    def url(self, path: str) -> URL:
        """The engine's address of a path; parsed once."""
        found = self.urls.get(path)
        if found is None:
            found = URL.build(scheme="http", host=self.process.host, port=self.process.port, path=path)
            self.urls[path] = found
        return found

    def view(self, spec_digest: str) -> ReplicaView:
        return ReplicaView(
            name=self.name,
            state=self.state,
            current=self.process.spec_digest == spec_digest,
            in_flight=self.in_flight,
            since=self.since,
        )


class Pool:
    """The replicas of one endpoint and the line of requests that wait for one.

    Args:
        room: Requests that one replica works on at once.
        max_held: Requests that may wait; the next one is refused with 429.
    """

    def __init__(self, endpoint: str, *, room: int, max_held: int) -> None:
        self.endpoint = endpoint
        self.replicas: dict[str, Replica] = {}
        self._room = room
        self._max_held = max_held
        self._line: deque[asyncio.Future[Replica]] = deque()
        self._in_flight = 0
        self._peak = 0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def held(self) -> int:
        return len(self._line)

    def statuses(self, *, revision: int) -> tuple[ReplicaStatus, ...]:
        """The replicas as the admin API shows them."""
        return tuple(
            ReplicaStatus(
                name=replica.name,
                state=replica.state,
                port=replica.process.port,
                in_flight=replica.in_flight,
                restarts=replica.restarts,
                message=replica.message,
                revision=revision,
            )
            for replica in self.replicas.values()
        )

    def take_peak_demand(self) -> int:
        """The most requests in flight and held at once since the last call: none is too short to be seen."""
        demand = self._in_flight + len(self._line)
        peak, self._peak = max(self._peak, demand), demand
        return peak

    def try_acquire(self, model: str = "") -> Replica | None:
        """The least busy ready replica with room, unless others wait already; one that has ``model`` before others."""
        return None if self._line else self._take(model)

    async def wait(self, *, deadline: float, hold_timeout_s: float, first: bool = False) -> Replica:
        """Stand in line for a replica.

        Args:
            deadline: The loop's time at which to give up.
            first: Stand at the front: for a request that has waited before and lost its replica.

        Raises:
            ApiError: 429 the line is full; 503 none became free in time, or whatever ``refuse`` was told.
        """
        if len(self._line) >= self._max_held and not first:
            raise api_errors.too_many_held(self.endpoint, self._max_held)
        place: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        if first:
            self._line.appendleft(place)
        else:
            self._line.append(place)
        self._note_peak()
        try:
            async with asyncio.timeout_at(deadline):
                await place
        except (asyncio.CancelledError, TimeoutError) as error:
            self._abandon(place)
            if isinstance(error, TimeoutError):
                raise api_errors.hold_timeout(self.endpoint, hold_timeout_s) from None
            raise
        return place.result()

    def release(self, replica: Replica) -> None:
        """The request has ended: its place goes to the first in line."""
        replica.in_flight -= 1
        self._in_flight -= 1
        self.serve_line()

    def serve_line(self) -> None:
        """Hand free replicas to those who wait; call it when a replica became ready."""
        while self._line:
            if self._line[0].done():
                self._line.popleft()
                continue
            replica = self._take()
            if replica is None:
                return
            self._line.popleft().set_result(replica)

    def refuse(self, error: ApiError) -> None:
        """Send everybody in line away."""
        line, self._line = self._line, deque()
        for place in line:
            if not place.done():
                place.set_exception(error)

    def _take(self, model: str = "") -> Replica | None:
        free = [one for one in self.replicas.values() if one.state == "ready" and one.in_flight < self._room]
        fitting = [one for one in free if one.process.has_loaded(model)] if model else free
        best = min(fitting or free, key=lambda one: one.in_flight, default=None)
        if best is not None:
            best.in_flight += 1
            self._in_flight += 1
            self._note_peak()
        return best

    def _note_peak(self) -> None:
        self._peak = max(self._peak, self._in_flight + len(self._line))

    def _abandon(self, place: asyncio.Future[Replica]) -> None:
        """Leave the line; a replica that was granted in the same moment goes to the next one."""
        if place in self._line:
            self._line.remove(place)
        elif place.done() and not place.cancelled() and place.exception() is None:
            self.release(place.result())
