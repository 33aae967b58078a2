"""The result of a benchmark: figures with their workload and machine, as data and as JSON. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ai_how.bench.load import Phase
from ai_how.bench.statistics import Summary, summarize
from ai_how.bench.workload import Workload
from ai_how.errors import SpecError

FORMAT = "ai-how/bench/v1"

Outcome = Literal["pass", "fail", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Level:
    """One load level. Latencies are milliseconds; ``requests_per_s`` counts answered requests only."""

    concurrency: int
    duration_s: float
    answered: int
    errors: Mapping[str, int]
    requests_per_s: float
    output_tokens_per_s: float
    prompt_tokens: float
    output_tokens: float
    latency_ms: Summary
    first_token_ms: Summary
    inter_token_ms: Summary
    latencies_ms: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A figure that has its own experiment. ``value`` is None where it was not measured; ``note`` says why or how."""

    value: float | None = None
    note: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target of the verdict: ``pass`` and ``fail`` only where ``measured`` is a number."""

    metric: str
    target: str
    measured: float | None
    unit: str
    outcome: Outcome
    note: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything that a report needs. ``machine`` and ``endpoint`` are plain words by name."""

    endpoint: Mapping[str, Any]
    machine: Mapping[str, Any]
    workload: Workload
    started_at: str
    levels: tuple[Level, ...]
    cold_start_s: Probe
    scale_out_s: Probe
    gpu_utilization_percent: Probe
    verdict: tuple[Row, ...] = ()
    interrupted: bool = False


def level_of(phase: Phase) -> Level:
    """A phase in figures."""
    answered = [sample for sample in phase.samples if sample.error is None]
    latencies = [sample.latency_s * 1000 for sample in answered]
    tokens = sum(sample.output_tokens for sample in answered)
    return Level(
        concurrency=phase.concurrency,
        duration_s=phase.duration_s,
        answered=len(answered),
        errors=dict(Counter(sample.error for sample in phase.samples if sample.error)),
        requests_per_s=len(answered) / phase.duration_s,
        output_tokens_per_s=tokens / phase.duration_s,
        prompt_tokens=sum(s.prompt_tokens for s in answered) / len(answered) if answered else 0,
        output_tokens=tokens / len(answered) if answered else 0,
        latency_ms=summarize(latencies),
        first_token_ms=summarize([s.first_token_s * 1000 for s in answered if s.first_token_s is not None]),
        inter_token_ms=summarize([gap * 1000 for sample in answered for gap in sample.gaps_s]),
        latencies_ms=tuple(round(value, 2) for value in latencies),
    )


def to_json(result: Result) -> dict[str, Any]:
    """Plain JSON data; ``from_json`` reads it back."""
    return {"format": FORMAT, **asdict(result)}


def from_json(text: str) -> Result:
    """Read a stored result.

    Raises:
        SpecError: it is not one.
    """
    try:
        data = json.loads(text)
        if data.pop("format") != FORMAT:
            raise SpecError("the result was written by another version of ai-how", evidence=f"wanted {FORMAT}")
        levels = tuple(
            Level(
                **{**item, **{key: Summary(**item[key]) for key in ("latency_ms", "first_token_ms", "inter_token_ms")}}
            )
            for item in data.pop("levels")
        )
        return Result(
            workload=Workload(**data.pop("workload")),
            verdict=tuple(Row(**row) for row in data.pop("verdict")),
            levels=levels,
            cold_start_s=Probe(**data.pop("cold_start_s")),
            scale_out_s=Probe(**data.pop("scale_out_s")),
            gpu_utilization_percent=Probe(**data.pop("gpu_utilization_percent")),
            **data,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError("the file is not a benchmark result", evidence=f"{type(error).__name__}: {error}") from error
