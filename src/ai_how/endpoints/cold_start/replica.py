"""The waterfall of a replica that is a process on this machine: from its own marks and what the gateway saw. Pure.

Both use the system's monotonic clock, which all processes share and nobody sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ai_how.endpoints.cold_start.pod import engine_note
from ai_how.endpoints.cold_start.vllm_log import read_start
from ai_how.endpoints.cold_start.waterfall import Stage, StageName, Waterfall, waterfall

_OWN_REQUEST = "the gateway's own request, before it lets clients in"


@dataclass(frozen=True, kw_only=True)
class ReplicaMarks:
    """When a replica's process began, had its files, had converted them; monotonic seconds, and what it found."""

    begun_s: float
    fetched_s: float
    prepared_s: float
    fetched: str = ""
    prepared: str = ""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the gateway saw, in monotonic seconds: asked for, health path answered, first token answered.

    ``asked_at`` is the first of these on the wall clock (RFC 3339).
    """

    asked_at: str
    asked_s: float
    loaded_s: float | None
    ready_s: float


def marks_from_json(data: Mapping[str, Any]) -> ReplicaMarks | None:
    """Marks as a replica wrote them; None where they are not whole."""
    try:
        return ReplicaMarks(
            begun_s=float(data["begun_s"]),
            fetched_s=float(data["fetched_s"]),
            prepared_s=float(data["prepared_s"]),
            fetched=str(data.get("fetched", "")),
            prepared=str(data.get("prepared", "")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def waterfall_of_replica(
    seen: Seen, marks: ReplicaMarks | None, *, replica: str, engine_log: Iterable[str] = ()
) -> Waterfall:
    """The start of a replica up to its first token.

    Args:
        marks: None where the replica left none: then fetching and loading are one stage.
        engine_log: Of vLLM; its lines have no times that can be placed, so their durations become a note.
    """
    ended_s = seen.ready_s if seen.loaded_s is None else seen.loaded_s
    note, loads_s = engine_note(read_start(engine_log)), seen.asked_s if marks is None else marks.prepared_s
    if marks is None:
        note = "; ".join(filter(None, ("fetching included: the replica left no marks", note)))

    def stage(name: StageName, begin_s: float, end_s: float, source: str, found: str = "") -> Stage:
        return Stage(name=name, begin_s=begin_s - seen.asked_s, end_s=end_s - seen.asked_s, source=source, note=found)

    stages = [stage(StageName.LOAD, loads_s, ended_s, "the replica's mark, its health path", note)]
    if marks is not None:
        stages += [
            stage(StageName.START, seen.asked_s, marks.begun_s, "the gateway, the replica's mark"),
            stage(StageName.FETCH, marks.begun_s, marks.fetched_s, "the replica's marks", marks.fetched),
            stage(StageName.CONVERT, marks.fetched_s, marks.prepared_s, "the replica's marks", marks.prepared),
        ]
    if seen.loaded_s is not None:
        stages.append(stage(StageName.FIRST_TOKEN, seen.loaded_s, seen.ready_s, _OWN_REQUEST))
    return waterfall(stages, asked_at=seen.asked_at, total_s=seen.ready_s - seen.asked_s, replica=replica)


def waterfall_of_wake(seen: Seen, *, replica: str) -> Waterfall:
    """The waking of a replica that slept, up to its first token."""
    awake_s = (seen.ready_s if seen.loaded_s is None else seen.loaded_s) - seen.asked_s
    ready_s = seen.ready_s - seen.asked_s
    stages = [Stage(name=StageName.WAKE, begin_s=0.0, end_s=awake_s, source="the gateway, the replica's health path")]
    if seen.loaded_s is not None:
        stages.append(Stage(name=StageName.FIRST_TOKEN, begin_s=awake_s, end_s=ready_s, source=_OWN_REQUEST))
    return waterfall(stages, asked_at=seen.asked_at, total_s=ready_s, replica=replica)
