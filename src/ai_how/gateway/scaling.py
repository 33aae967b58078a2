"""How many replicas an endpoint wants, and what to do about those it has. Pure: counts and times in, decisions out.

Times are seconds of any clock that does not go back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ai_how.endpoints.types import EndpointState

ReplicaState = Literal["starting", "ready", "asleep", "draining", "failed"]
"""``asleep``: its process lives, has nothing to do, and must not be asked anything until it is woken."""

ERROR_AFTER_FAILURES = 3
"""So many failures without a stable replica in between put the endpoint in error; it is still tried, with back-off."""
MAX_BACKOFF_S = 60.0
STABLE_AFTER_S = 60.0
"""A replica that stays ready for so long since the last failure ends a row of failures."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Bounds and delays of one endpoint; ``requests_per_replica`` is what one replica works on at once."""

    min_replicas: int
    max_replicas: int
    requests_per_replica: int
    scale_out_after_s: float
    idle_after_s: float


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The wanted number of replicas. ``needed_at[i]`` is when replica ``i + 1`` was last needed: never rising."""

    needed_at: tuple[float, ...] = ()
    exceeded_since: float | None = None

    @property
    def wanted(self) -> int:
        return len(self.needed_at)


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Replicas that failed in a row."""

    count: int = 0
    last_at: float = 0.0

    def another(self, now: float) -> Failures:
        return Failures(count=self.count + 1, last_at=now)

    @property
    def too_many(self) -> bool:
        return self.count >= ERROR_AFTER_FAILURES

    @property
    def retry_at(self) -> float:
        """When the next replica may be started: 1, 2, 4 ... seconds after the last failure."""
        if not self.count:
            return 0.0
        return self.last_at + min(MAX_BACKOFF_S, 2.0 ** min(self.count - 1, 10))


@dataclass(frozen=True, kw_only=True)
class ReplicaView:
    """A replica. ``current``: started for the endpoint's present spec; ``since``: when it was started."""

    name: str
    state: ReplicaState
    current: bool
    in_flight: int
    since: float


@dataclass(frozen=True, kw_only=True)
class Actions:
    """What to do now: how many replicas to start, which to drain and then stop, which to stop at once.

    ``wake`` are those that sleep and are needed, ``rest`` those that are to sleep.
    """

    start: int = 0
    wake: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def rescale(scale: Scale, policy: Policy, *, demand: int, now: float, unproven: int = 0) -> Scale:
    """Follow the demand: wake at once, grow by one when it exceeds for long, shrink what is idle for long.

    Args:
        demand: The most requests that were in flight or held at once since the last call.
        unproven: So many of the wanted replicas stay however long nobody needs them: see ``unproven_replicas``.
    """
    needed_at = list(scale.needed_at[: policy.max_replicas])
    needed = min(math.ceil(demand / policy.requests_per_replica), len(needed_at))
    needed_at[:needed] = [now] * needed
    kept = max(policy.min_replicas, unproven)
    while len(needed_at) > kept and now - needed_at[-1] >= policy.idle_after_s:
        needed_at.pop()
    least = max(policy.min_replicas, 1 if demand else 0)
    needed_at += [now] * (least - len(needed_at))

    def exceeds() -> bool:
        return demand > len(needed_at) * policy.requests_per_replica and len(needed_at) < policy.max_replicas

    since = scale.exceeded_since
    if not exceeds():
        return Scale(needed_at=tuple(needed_at))
    since = now if since is None else since
    if now - since >= policy.scale_out_after_s:
        needed_at.append(now)
        since = now if exceeds() else None
    return Scale(needed_at=tuple(needed_at), exceeded_since=since)


def want(scale: Scale, policy: Policy, replicas: int, *, now: float) -> Scale:
    """Want at least ``replicas`` (within the bounds) until they are idle."""
    count = max(min(replicas, policy.max_replicas), policy.min_replicas)
    return replace(scale, needed_at=(now,) * count + scale.needed_at[count : policy.max_replicas])


def unproven_replicas(replicas: Sequence[ReplicaView], failures: Failures, *, was_ready: bool) -> int:
    """How many wanted replicas cannot be idle yet, because what they were wanted for has not ended.

    One that starts takes as long as it takes: it is idle from ready on (``became_ready``). A new endpoint is tried
    until it has shown that it works, or fails again and again.
    """
    current = [r for r in replicas if r.current and r.state in ("starting", "ready")]
    if any(r.state == "starting" for r in current):
        return len(current)
    return 0 if was_ready or failures.too_many else 1


def became_ready(scale: Scale, policy: Policy, replicas: Sequence[ReplicaView], *, now: float) -> Scale:
    """A replica has just become ready: as many as are ready now are idle from here on, not since they were wanted."""
    ready = sum(r.current and r.state == "ready" for r in replicas)
    return want(scale, policy, min(ready, scale.wanted), now=now)


def reconcile(replicas: Sequence[ReplicaView], *, wanted: int, may_start: bool, may_sleep: bool = False) -> Actions:
    """What brings the replicas to the wanted number of the present spec, without losing a request on the way.

    Replicas of an earlier spec serve until as many of the present one are ready.

    Args:
        may_sleep: Where no replica is wanted any more, one that is ready may sleep instead of being stopped.
    """
    active = [r for r in replicas if r.state in ("starting", "ready")]
    current = [r for r in active if r.current]
    asleep = [r for r in replicas if r.state == "asleep"]
    sleepers = [r.name for r in asleep if r.current and may_sleep]
    missing = max(0, wanted - len(current))
    woken = sleepers[:missing]
    ready = sum(r.state == "ready" for r in current)
    # those still starting have nothing to lose; then the least busy, of these the youngest
    surplus = sorted(current, key=lambda r: (r.state == "ready", r.in_flight, -r.since))
    earlier = sorted((r for r in active if not r.current and r.state == "ready"), key=lambda r: (r.in_flight, -r.since))
    useless = [r for r in active if not r.current and r.state == "starting"]
    keep = max(0, min(wanted, len(earlier)) - ready)
    leaving = surplus[: max(0, len(current) - wanted)]
    lasts = [r.name for r in leaving if r.state == "ready"]
    rest = lasts[-1:] if may_sleep and not wanted and not sleepers else []
    drain = [*useless, *(r for r in leaving if r.name not in rest), *earlier[: len(earlier) - keep]]
    # one that sleeps is enough, and it is of the present spec
    drain += [r for r in asleep if r.name not in (woken or sleepers[:1])]
    return Actions(
        start=missing - len(woken) if may_start else 0,
        wake=tuple(woken),
        rest=tuple(rest),
        drain=tuple(r.name for r in drain),
        remove=tuple(r.name for r in replicas if r.state == "failed"),
    )


def endpoint_state(
    replicas: Sequence[ReplicaView], *, stopped: bool, wanted: int, failures: Failures, was_ready: bool, asked: bool
) -> EndpointState:
    """The state of an endpoint; see the architecture document.

    Args:
        was_ready: A replica of the present spec has been ready before.
        asked: A replica of the present spec has been asked for.
    """
    if stopped:
        return EndpointState.STOPPING if replicas else EndpointState.STOPPED
    if any(r.current and r.state == "ready" for r in replicas):
        return EndpointState.RUNNING
    if failures.too_many:
        return EndpointState.ERROR
    if wanted == 0:
        return EndpointState.RUNNING if was_ready else EndpointState.PENDING
    return EndpointState.STARTING if asked else EndpointState.PENDING
