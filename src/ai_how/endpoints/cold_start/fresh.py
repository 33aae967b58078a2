"""A start on purpose: stop an endpoint's replicas, start one, ask for one token, and say where the time went.

Interrupts the endpoint: the caller has asked whether that may be. Leaves its spec as it was, also when broken off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from ai_how.endpoints.cold_start.waterfall import Stage, StageName, Waterfall, waterfall
from ai_how.endpoints.deploy import OnState, wait_for_state
from ai_how.endpoints.interface import Endpoints
from ai_how.endpoints.types import EndpointState, EndpointStatus
from ai_how.errors import ConflictError, ProviderError, TryAgainError
from ai_how.kubernetes_api.times import epoch_s

_KEPT_WITHIN_S = 5.0
_POLL_S = 0.05


def start_afresh(
    client: Endpoints,
    found: EndpointStatus,
    ask: Callable[[], object],
    *,
    start_timeout_s: float,
    stop_timeout_s: float,
    on_state: OnState,
) -> Waterfall:
    """The waterfall of a start from no replica at all up to the first answer.

    Args:
        ask: Asks the endpoint for one token and returns once it has answered.

    Raises:
        ConflictError: the endpoint is stopped, so that starting it would not leave it as it was; or it starts now.
        ProviderError: it failed to start; the evidence is the end of its log.
        TryAgainError: it did not stop or start in time.
    """
    spec = found.spec
    if spec.stopped:
        raise ConflictError(
            f"endpoint {spec.name} is stopped", next_step=f"ai-how deploy start {spec.name}, then run this again"
        )
    if found.state in (EndpointState.STARTING, EndpointState.STOPPING):
        raise ConflictError(
            f"endpoint {spec.name} is {found.state}: the time of two starts at once would not be told apart",
            next_step=f"ai-how deploy status {spec.name} --watch, then run this again",
        )
    started = False
    try:
        client.put(replace(spec, stopped=True))
        wait_for_state(client, spec.name, EndpointState.STOPPED, timeout_s=stop_timeout_s, on_state=on_state)
        began_s, asked = time.monotonic(), datetime.now(UTC)
        client.put(spec)
        started = True
    finally:
        if not started:
            client.put(spec)
    client.want_replicas(spec.name, 1)
    try:
        ask()
    except ProviderError:
        # it was held for as long as the gateway holds requests: a start may take longer, and its failure says more
        wait_for_state(client, spec.name, EndpointState.RUNNING, timeout_s=start_timeout_s, on_state=on_state)
        ask()
    total_s = time.monotonic() - began_s
    return with_answer(_last(client, spec.name, before=found.last_start), asked=asked, total_s=total_s)


def _last(client: Endpoints, name: str, *, before: Waterfall | None) -> Waterfall:
    """The start that has just ended; it is put together a moment after the replica is ready."""
    deadline = time.monotonic() + _KEPT_WITHIN_S
    while True:
        found = client.last_start(name)
        if found is not None and found != before:
            return found
        if time.monotonic() > deadline:
            raise TryAgainError(
                f"endpoint {name} answers, but nothing is known of its start",
                evidence="it was up again before it had no replica, or the gateway is older than this command",
                next_step=f"ai-how up, then: ai-how deploy coldstart {name} --fresh",
            )
        time.sleep(_POLL_S)


def with_answer(found: Waterfall, *, asked: datetime, total_s: float) -> Waterfall:
    """The start as its sender saw it: from asking for it to the answer to the first request.

    A cluster makes the pod a while after it was asked; where its clock and ours differ by more than the whole start,
    that while is not known and counts as none.
    """
    at = epoch_s(found.asked_at)
    late_s = 0.0 if at is None else at - asked.timestamp()
    late_s = late_s if 0 <= late_s < total_s else 0.0
    begin_s = total_s if found.total_s is None else found.total_s + late_s
    answer = Stage(name=StageName.ANSWER, begin_s=begin_s, end_s=total_s, source="the request of this command")
    return waterfall(
        (*(_later(stage, late_s) for stage in found.stages), answer),
        asked_at=asked.isoformat(timespec="milliseconds"),
        total_s=total_s,
        until="the first answer",
        replica=found.replica,
    )


def _later(stage: Stage, late_s: float) -> Stage:
    if stage.begin_s is None or stage.end_s is None:
        return stage
    return replace(stage, begin_s=stage.begin_s + late_s, end_s=stage.end_s + late_s)
