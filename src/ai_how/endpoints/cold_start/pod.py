"""The waterfall of a pod that serves a model: from its conditions, container states, events and log. Pure.

Sources: the pod's status (conditions and container states, to the second), the kubelet's events ("Successfully pulled
image ... in 1m2.3s"), the engine's log. KServe names the container that serves ``kserve-container`` and the one that
fetches the model ``storage-initializer``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ai_how.endpoints.cold_start.vllm_log import EngineStart, Part, read_start
from ai_how.endpoints.cold_start.waterfall import Stage, StageName, Waterfall, waterfall
from ai_how.kubernetes_api.times import epoch_s

SERVING = "kserve-container"
FETCHING = "storage-initializer"

_PULLED = re.compile(r'pulled image "[^"]+" in (?P<took>\S+?)\.?(?: \((?P<waiting>\S+) including waiting\)|$| )')
_PRESENT = re.compile(r"already present on machine")
# Go's durations: 1m23.4s, 850ms
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_GO_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def waterfall_of_pod(
    pod: Mapping[str, Any],
    events: Iterable[Mapping[str, Any]],
    log_lines: Iterable[str],
    *,
    asked_at: str | None = None,
    first_token_at: str | None = None,
) -> Waterfall:
    """The start of a pod.

    Args:
        events: Those about the pod; others do no harm.
        log_lines: Of the container that serves, best with times (``timestamps`` of the API).
        asked_at: When the replica was asked for (RFC 3339); the pod's creation where that is not known.
        first_token_at: When the first token came; None where nobody noted it.
    """
    created = str(pod.get("metadata", {}).get("creationTimestamp") or "")
    began_text = asked_at if asked_at and epoch_s(asked_at) is not None else created
    began = epoch_s(began_text) or 0.0
    clock = _Clock(pod, began)
    engine, noted = read_start(log_lines), list(events)
    stages = [
        clock.stage(StageName.SCHEDULE, 0.0, clock.condition("PodScheduled"), "condition PodScheduled"),
        _pull(clock, noted, StageName.PULL_FETCHER, FETCHING),
        clock.fetch(),
        _pull(clock, noted, StageName.PULL, SERVING),
        *_engine_stages(clock, engine),
    ]
    ready_s = clock.condition("Ready") or clock.condition("ContainersReady")
    token_s = _since(first_token_at, began)
    if token_s is not None:
        stages.append(clock.stage(StageName.FIRST_TOKEN, ready_s, token_s, "the request that waited for it"))
    ended, until = (token_s, "the first token") if token_s is not None else (ready_s, "ready")
    name = str(pod.get("metadata", {}).get("name") or "")
    return waterfall(stages, asked_at=began_text, total_s=ended, until=until, replica=name)


class _Clock:
    """A pod's status in seconds since the start was asked for."""

    def __init__(self, pod: Mapping[str, Any], began: float) -> None:
        self.began = began
        self._status = pod.get("status") or {}

    def since(self, text: object) -> float | None:
        return _since(text if isinstance(text, str) else None, self.began)

    def condition(self, name: str) -> float | None:
        """When a condition became true."""
        for condition in self._status.get("conditions") or []:
            if condition.get("type") == name and condition.get("status") == "True":
                return self.since(condition.get("lastTransitionTime"))
        return None

    def state(self, container: str) -> tuple[float | None, float | None]:
        """When a container's last run began and ended."""
        kinds = ("initContainerStatuses", "containerStatuses")
        for status in (one for kind in kinds for one in self._status.get(kind) or []):
            if status.get("name") == container:
                state = status.get("state") or {}
                ran = state.get("running") or state.get("terminated") or {}
                return self.since(ran.get("startedAt")), self.since(ran.get("finishedAt"))
        return None, None

    def stage(self, name: StageName, begin_s: float | None, end_s: float | None, source: str, note: str = "") -> Stage:
        if begin_s is None or end_s is None:
            return Stage(name=name, source=source, note=note)
        return Stage(name=name, begin_s=begin_s, end_s=max(begin_s, end_s), source=source, note=note)

    def placed(self, name: StageName, part: Part | None, note: str = "") -> list[Stage]:
        """A part of the engine's log as a stage; none where it has no time."""
        if part is None or part.ended_at is None:
            return []
        end_s = part.ended_at - self.began
        return [Stage(name=name, begin_s=end_s - part.took_s, end_s=end_s, source="vLLM's log", note=note)]

    def fetch(self) -> Stage:
        begin_s, end_s = self.state(FETCHING)
        note = "" if begin_s is not None else "no storage initializer: the model is on the node, or the engine reads it"
        return self.stage(StageName.FETCH, begin_s, end_s, f"init container {FETCHING}", note)


def _pull(clock: _Clock, events: Iterable[Mapping[str, Any]], name: StageName, container: str) -> Stage:
    """The pull of a container's image; no time where it was on the node already."""
    source = "the kubelet's events"
    for event in events:
        where = str((event.get("involvedObject") or {}).get("fieldPath") or "")
        ended_s, message = clock.since(_event_time(event)), str(event.get("message") or "")
        if event.get("reason") != "Pulled" or ended_s is None or f"{{{container}}}" not in where:
            continue
        if _PRESENT.search(message):
            return clock.stage(name, ended_s, ended_s, source, "the image was on the node")
        match = _PULLED.search(message)
        took_s = go_seconds(match["waiting"] or match["took"]) if match else None
        if took_s is not None:
            return clock.stage(name, ended_s - took_s, ended_s, source)
    return Stage(name=name, source=source, note="no event tells: events are kept for an hour")


def _engine_stages(clock: _Clock, engine: EngineStart) -> Iterator[Stage]:
    """From the start of the container that serves to ready; by the engine's log where it has times."""
    began_s, _ = clock.state(SERVING)
    ready_s = clock.condition("ContainersReady") or clock.condition("Ready")
    cached = "from the compile cache" if engine.from_cache else "nothing was cached"
    placed = [
        *clock.placed(StageName.LOAD, engine.load),
        *clock.placed(StageName.COMPILE, engine.compile, cached),
        *clock.placed(StageName.CAPTURE, engine.capture),
    ]
    if not placed:
        yield _unplaced(clock, engine, began_s, ready_s)
        return
    yield clock.stage(StageName.ENGINE, began_s, placed[0].begin_s, f"container {SERVING}, vLLM's log")
    yield from placed
    known = {stage.name: stage for stage in placed}
    whole = next(iter(clock.placed(StageName.PROFILE, engine.initialize)), None)
    compiled, captured = known.get(StageName.COMPILE), known.get(StageName.CAPTURE)
    profile_from = compiled.end_s if compiled else whole.begin_s if whole else None
    profile_to = captured.begin_s if captured else whole.end_s if whole else None
    yield clock.stage(StageName.PROFILE, profile_from, profile_to, "between lines of vLLM's log")
    last_s = max(stage.end_s or 0.0 for stage in (*placed, *([whole] if whole else [])))
    yield clock.stage(StageName.READY, last_s, ready_s, "vLLM's log, condition ContainersReady")


def _unplaced(clock: _Clock, engine: EngineStart, began_s: float | None, ready_s: float | None) -> Stage:
    """One stage for all that the engine does; its log's durations, which have no times, as a note."""
    return clock.stage(
        StageName.LOAD, began_s, ready_s, f"container {SERVING}, condition ContainersReady", engine_note(engine)
    )


def engine_note(engine: EngineStart) -> str:
    """What the engine's log says of its parts, where only their durations are known."""
    known = (
        ("weights", engine.load),
        ("compile" + (" (from the cache)" if engine.from_cache else ""), engine.compile),
        ("graphs", engine.capture),
    )
    told = ", ".join(f"{name} {part.took_s:.1f} s" for name, part in known if part is not None)
    return f"of it, by vLLM's log: {told}" if told else ""


def go_seconds(text: str) -> float | None:
    """A duration as Go writes it (``1m2.5s``, ``850ms``) in seconds; None where it is none."""
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _GO_SECONDS[unit] for number, unit in parts)


def _since(text: str | None, began: float) -> float | None:
    at = epoch_s(text)
    return None if at is None else at - began


def _event_time(event: Mapping[str, Any]) -> str:
    # the pull's end is the first time: an event that comes again only moves its last
    return str(event.get("eventTime") or event.get("firstTimestamp") or event.get("lastTimestamp") or "")
