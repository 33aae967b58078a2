"""What every place that serves models offers: endpoints, and revisions of an endpoint beside each other.

Owns the interface and its words, and nothing that does it: the embedded gateway does, and KServe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ai_how.endpoints.cold_start.waterfall import Waterfall
from ai_how.endpoints.types import EndpointSpec, EndpointState, EndpointStatus

REVISION_HEADER = "x-ai-how-revision"
"""A request that bears it, with a revision's number, is answered by that revision, whatever the shares are."""


STILL_ANSWER = "replicas of the earlier spec still answer"
"""A line of the message of an endpoint or a revision that was changed in place, until its own replicas are ready."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """One version of an endpoint that runs. Numbers start at 1 and are never used again within an endpoint.

    ``share_percent`` is the part of the requests that it gets, 0 to 100; those of an endpoint add up to 100.
    ``was_ready`` is False where it is known that no replica of it was ever ready.
    """

    number: int
    spec: EndpointSpec
    share_percent: int
    state: EndpointState
    message: str = ""
    was_ready: bool = True


class Endpoints(Protocol):
    """The endpoints of one site."""

    def list_endpoints(self) -> list[EndpointStatus]:
        """All endpoints, ordered by name."""
        ...

    def get(self, name: str) -> EndpointStatus:
        """One endpoint.

        Raises:
            NotFoundError: there is none of that name; the evidence names those that exist.
        """
        ...

    def put(self, spec: EndpointSpec) -> EndpointStatus:
        """Create the endpoint or change it; returns at once."""
        ...

    def delete(self, name: str) -> None:
        """Drain the endpoint, stop its replicas and forget it.

        Raises:
            NotFoundError: there is none of that name.
        """
        ...

    def want_replicas(self, name: str, count: int) -> EndpointStatus:
        """Want at least ``count`` replicas now, within the endpoint's bounds, until they are idle."""
        ...

    def log(self, name: str, lines: int = 50) -> str:
        """The end of the newest replica's log."""
        ...

    def last_start(self, name: str) -> Waterfall | None:
        """Where the time of the last start from nothing went; None where none was seen.

        Raises:
            NotFoundError: there is none of that name.
        """
        ...

    def revisions(self, name: str) -> tuple[Revision, ...]:
        """What runs for an endpoint, by number; one where no rollout is under way.

        Raises:
            NotFoundError: there is none of that name.
        """
        ...

    def add_revision(self, spec: EndpointSpec) -> Revision:
        """Start another revision of an endpoint that exists, with a share of 0; returns at once."""
        ...

    def set_shares(self, name: str, shares: Mapping[int, int]) -> None:
        """Give each revision its part of the requests, in percent by number.

        Raises:
            SpecError: they do not add up to 100, or name a revision that is not there.
        """
        ...

    def remove_revision(self, name: str, number: int) -> None:
        """Drain a revision and stop its replicas.

        Raises:
            ConflictError: it still has a share, or it is the only one.
        """
        ...
