"""A start as a waterfall of stages, one after the other, on one clock. Pure.

What no source tells stays "not measured": the time between two stages that are known belongs to none of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from ai_how.errors import SpecError


class StageName(StrEnum):
    """The stages in the order in which they happen. On one machine nothing is scheduled and no image is pulled."""

    SCHEDULE = "schedule"
    PULL_FETCHER = "pull fetcher"
    START = "start process"
    FETCH = "fetch weights"
    CONVERT = "convert"
    PULL = "pull image"
    ENGINE = "start engine"
    WAKE = "wake"
    LOAD = "load"
    COMPILE = "compile"
    PROFILE = "profile memory"
    CAPTURE = "capture graphs"
    READY = "get ready"
    FIRST_TOKEN = "first token"  # noqa: S105 - of a model's answer
    ANSWER = "first answer"


MEANING: Mapping[StageName, str] = {
    StageName.SCHEDULE: "a node with room is found",
    StageName.PULL_FETCHER: "the image that fetches the model reaches the node",
    StageName.START: "the process of the replica begins",
    StageName.FETCH: "files come from the object store",
    StageName.CONVERT: "files become what the engine reads",
    StageName.PULL: "the engine's image reaches the node",
    StageName.ENGINE: "the engine's program and libraries begin",
    StageName.WAKE: "an engine that slept brings its weights back from main memory",
    StageName.LOAD: "weights reach memory",
    StageName.COMPILE: "torch.compile",
    StageName.PROFILE: "a run for the engine's peak memory, and the KV cache",
    StageName.CAPTURE: "CUDA graphs are recorded",
    StageName.READY: "the server listens and is found healthy",
    StageName.FIRST_TOKEN: "one token, asked for before any client is let in",
    StageName.ANSWER: "the answer to the first request",
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage. Times are seconds since the start was asked for; both None where nothing tells.

    ``source`` says how it is known, ``note`` what was found (files were in the cache; a compile cache was used).
    """

    name: StageName
    begin_s: float | None = None
    end_s: float | None = None
    source: str = ""
    note: str = ""

    @property
    def took_s(self) -> float | None:
        """How long it took, or None."""
        return None if self.begin_s is None or self.end_s is None else self.end_s - self.begin_s


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """One start. ``asked_at`` is RFC 3339; ``total_s`` None where it never ended; ``until`` says what the end is."""

    asked_at: str
    stages: tuple[Stage, ...]
    total_s: float | None = None
    until: str = "the first token"
    replica: str = ""

    @property
    def measured(self) -> tuple[Stage, ...]:
        """The stages that are known."""
        return tuple(stage for stage in self.stages if stage.took_s is not None)

    @property
    def unmeasured_s(self) -> float | None:
        """Seconds of the total that belong to no known stage."""
        if self.total_s is None:
            return None
        return max(0.0, self.total_s - sum(stage.took_s or 0.0 for stage in self.measured))

    @property
    def largest(self) -> Stage | None:
        """The stage that took longest."""
        return max(self.measured, key=lambda stage: stage.took_s or 0.0, default=None)

    def took_s(self, *names: StageName) -> float:
        """Seconds of these stages together; 0 for those that are not known."""
        return sum(stage.took_s or 0.0 for stage in self.stages if stage.name in names)

    def note(self, name: StageName) -> str:
        """What was found in a stage."""
        return next((stage.note for stage in self.stages if stage.name is name), "")


def waterfall(
    stages: Iterable[Stage], *, asked_at: str, total_s: float | None, until: str = "the first token", replica: str = ""
) -> Waterfall:
    """Stages in order and without overlap, within the total.

    Clocks of several sources differ by up to a second: a stage that seems to begin before the last one ended begins
    at that end, and one that seems to end after the whole start ends with it.
    """
    limit_s = math.inf if total_s is None else max(0.0, total_s)
    by_name = {stage.name: stage for stage in stages}
    ordered: list[Stage] = []
    clock_s = 0.0
    for name in StageName:
        stage = by_name.get(name)
        if stage is None:
            continue
        if stage.begin_s is None or stage.end_s is None:
            ordered.append(replace(stage, begin_s=None, end_s=None))
            continue
        begin_s = min(max(stage.begin_s, clock_s), limit_s)
        end_s = min(max(stage.end_s, begin_s), limit_s)
        ordered.append(replace(stage, begin_s=begin_s, end_s=end_s))
        clock_s = end_s
    total = None if total_s is None else limit_s
    return Waterfall(asked_at=asked_at, stages=tuple(ordered), total_s=total, until=until, replica=replica)


def to_json(found: Waterfall) -> dict[str, Any]:
    """Plain JSON data; ``from_json`` reads it back."""
    return asdict(found)


def from_json(data: Mapping[str, Any]) -> Waterfall:
    """A waterfall from JSON's values.

    Raises:
        SpecError: it is none.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Waterfall).validate_python({**data})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SpecError(
            "this is no waterfall of a start", evidence=f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
