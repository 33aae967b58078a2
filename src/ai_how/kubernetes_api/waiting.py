"""Waits for objects: until they are well, gone, or served at all.

Follows changes as they come and asks anew where that breaks. A server that is away for a while (a control plane that
restarts) does not end a wait; only its time does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from ai_how.errors import AiHowError, ProviderError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.connection import UnreachableError
from ai_how.kubernetes_api.diagnosis import diagnose
from ai_how.kubernetes_api.discovery import Kind, UnknownKindError
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.refusals import BusyError, GoneError, NotThereError
from ai_how.kubernetes_api.states import Health, State, state_of
from ai_how.kubernetes_api.terminating import why_still_there

_PAUSE_S = 0.5
_LONGEST_WATCH_S = 30.0
OLD_FAILURE_S = 330.0
"""Until a Deployment that is out of time counts as failed: the kubelet's longest pause between tries, and a start."""
_PASSING = (UnreachableError, BusyError, GoneError)


class NotWellError(ProviderError):
    """An object failed, or did not become well in its time; ``state`` is how it was seen last."""

    state = State(health=Health.WAITING)


def wait_until_well(
    client: Client,
    ref: Ref,
    *,
    condition: str = "",
    timeout_s: float,
    report: Callable[[State], None] = lambda _: None,
) -> dict[str, Any]:
    """Wait until the object is well, by a named condition or as is usual for its kind; return it.

    Args:
        report: Told of each state that differs from the one before.

    Raises:
        NotWellError: it failed, or the time is over; the evidence says why, as far as Kubernetes knows.
    """
    last: State | None = None
    thing: dict[str, Any] | None = None
    began = time.monotonic()
    for thing in _seen(client, ref, timeout_s):
        state = state_of(thing, condition) if thing else State(health=Health.WAITING, reason="it is not there yet")
        if state != last:
            report(state)
        last = state
        if thing and state.is_well:
            return thing
        # a Deployment's time may be over because of what has been mended since: that is said until a pod is ready
        patient = ref.kind == "Deployment" and time.monotonic() - began < OLD_FAILURE_S
        if state.health is Health.FAILED and not patient:
            break
    state = last or State(health=Health.WAITING, reason="it was not seen")
    how = "failed" if state.health is Health.FAILED else f"is not well after {timeout_s:g} s"
    error = NotWellError(
        f"{ref} {how}: {state.reason}",
        evidence=diagnose(client, thing) if thing else "",
        next_step=f"see more: kubectl {_scope(ref)}describe {ref.kind.lower()} {ref.name}",
    )
    error.state = state
    raise error


def wait_until_gone(client: Client, ref: Ref, *, uid: str = "", timeout_s: float) -> None:
    """Wait until there is no such object; with ``uid``, until it is no longer that very one.

    Raises:
        NotWellError: it is still there; the evidence says what holds it.
    """
    thing: dict[str, Any] | None = None
    for thing in _seen(client, ref, timeout_s):
        if thing is None or (uid and thing["metadata"].get("uid") != uid):
            return
    lines = why_still_there(thing or {})
    raise NotWellError(
        f"{ref} is still there {timeout_s:g} s after it was asked to go",
        evidence="\n".join(lines),
        next_step="have the named holders finish, or remove their finalizers, then run this again",
    )


def wait_until_served(client: Client, api_version: str, kind: str, *, timeout_s: float) -> None:
    """Wait until the server answers for a kind: it takes a moment after its definition was established.

    Raises:
        UnknownKindError: it does not in that time.
    """
    until = time.monotonic() + timeout_s
    while True:
        try:
            client.list_objects(api_version, kind)
        except (UnknownKindError, NotThereError):
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _seen(client: Client, ref: Ref, timeout_s: float) -> Iterator[dict[str, Any] | None]:
    """The object each time that it is looked at or changes, None while it is not there; at least once."""
    until = time.monotonic() + timeout_s
    trouble: AiHowError | None = None
    while True:
        try:
            kind = client.kinds.find(ref.api_version, ref.kind)
        except UnknownKindError:
            yield None
        except _PASSING as error:
            trouble = error
        else:
            try:
                yield from _followed(client, kind, ref, until)
                trouble = None
            except _PASSING as error:
                trouble = error
        if time.monotonic() + _PAUSE_S > until:
            if trouble is not None:
                raise trouble
            return
        time.sleep(_PAUSE_S)


def _followed(client: Client, kind: Kind, ref: Ref, until: float) -> Iterator[dict[str, Any] | None]:
    fields = f"metadata.name={ref.name}"
    listing = client.list_kind(kind, ref.namespace, fields=fields)
    yield listing.items[0] if listing.items else None
    left_s = min(until - time.monotonic(), _LONGEST_WATCH_S)
    if left_s < 1:
        return
    with client.watch(kind, ref.namespace, version=listing.version, fields=fields, silence_s=left_s) as changes:
        for change, thing in changes:
            yield None if change == "DELETED" else thing
            if time.monotonic() > until:
                return


def _scope(ref: Ref) -> str:
    return f"-n {ref.namespace} " if ref.namespace else ""
