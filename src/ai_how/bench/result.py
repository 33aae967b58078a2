"""The result of a benchmark: figures with their noise, workload and machine, as data and as JSON. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ai_how.bench.samples import Phase
from ai_how.bench.statistics import Interval, Summary, rate_interval, summarize
from ai_how.bench.workload import Workload
from ai_how.errors import SpecError

_KIND = "ai-how/bench/"
FORMAT = f"{_KIND}v2"
_READABLE = (f"{_KIND}v1", FORMAT)
"""Version 1 knew no intervals: a result of it is read with those left out."""

Outcome = Literal["pass", "fail", "unclear", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the figures were measured on. ``cores`` are logical processors, or less where a control group says so."""

    cpu: str
    cores: float
    memory_gib: float
    load_average_before: float
    gpus: tuple[str, ...] = ()
    kernel: str = ""
    python: str = ""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The endpoint that was measured, in words. ``model`` is name/version, ``replicas`` the bounds of autoscaling."""

    name: str
    model: str
    engine: str
    hardware: str
    replicas: str = ""
    parallel_requests: int | None = None


@dataclass(frozen=True, kw_only=True)
class Level:
    """One load level. Latencies are milliseconds; ``requests_per_s`` counts answered requests only.

    ``said`` is what the server most often said with each kind of error. ``unfinished`` requests were under way when the
    level was ``interrupted``. ``client_cpu_share`` is what the load generator took of one core. ``replicas`` were ready
    before and after. ``latencies_ms`` are in the order in which answers ended.
    """

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
    requests_per_s_interval: tuple[float, float] | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    unfinished: int = 0
    interrupted: bool = False
    client_cpu_share: float | None = None
    tokens_counted: bool = True
    replicas: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A figure that has its own experiment. ``value`` is None where it was not measured; ``note`` says why or how."""

    value: float | None = None
    note: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target of the verdict: ``not measured`` where ``measured`` is None, ``unclear`` where noise hides it."""

    metric: str
    target: str
    unit: str
    note: str
    measured: float | None = None
    outcome: Outcome = "not measured"
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything that a report needs. ``planned`` are the load levels that were asked for."""

    endpoint: Measured
    machine: Machine
    workload: Workload
    started_at: str
    levels: tuple[Level, ...]
    cold_start_s: Probe
    scale_out_s: Probe
    gpu_utilization_percent: Probe
    verdict: tuple[Row, ...] = ()
    interrupted: bool = False
    planned: tuple[int, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict)


def level_of(phase: Phase, *, replicas: tuple[int, int] | None = None) -> Level:
    """A phase in figures."""
    answered = [sample for sample in phase.samples if sample.error is None]
    latencies = [sample.latency_s * 1000 for sample in answered]
    tokens = sum(sample.output_tokens for sample in answered)
    first = [sample.first_token_s * 1000 for sample in answered if sample.first_token_s is not None]
    errors = Counter(sample.error for sample in phase.samples if sample.error)
    return Level(
        concurrency=phase.concurrency,
        duration_s=phase.duration_s,
        answered=len(answered),
        errors=dict(errors),
        said={kind: _most_common(phase, kind) for kind in errors},
        requests_per_s=len(answered) / phase.duration_s,
        requests_per_s_interval=rate_interval([sample.ended_at for sample in answered], phase.duration_s),
        output_tokens_per_s=tokens / phase.duration_s,
        prompt_tokens=sum(s.prompt_tokens for s in answered) / len(answered) if answered else 0,
        output_tokens=tokens / len(answered) if answered else 0,
        tokens_counted=all(sample.counted for sample in answered),
        latency_ms=summarize(latencies, intervals=True),
        first_token_ms=summarize(first, intervals=True),
        # gaps within an answer are no independent samples: no intervals
        inter_token_ms=summarize([gap * 1000 for sample in answered for gap in sample.gaps_s]),
        latencies_ms=tuple(round(value, 2) for value in latencies),
        unfinished=phase.unfinished,
        interrupted=phase.interrupted,
        client_cpu_share=phase.client_cpu_s / phase.duration_s,
        replicas=replicas,
    )


def _most_common(phase: Phase, kind: str) -> str:
    return Counter(sample.detail for sample in phase.samples if sample.error == kind).most_common(1)[0][0]


def to_json(result: Result) -> dict[str, Any]:
    """Plain JSON data; ``from_json`` reads it back."""
    return {"format": FORMAT, **asdict(result)}


def from_json(text: str) -> Result:
    """Read a stored result.

    Raises:
        SpecError: it is not one, or of a version that this program does not know.
    """
    from pydantic import TypeAdapter, ValidationError

    said = _format_of(text)
    if not said.startswith(_KIND):
        raise _no_result(f'there is no "format": "{FORMAT}" in it')
    if said not in _READABLE:
        raise SpecError(
            "the result was written by another version of ai-how",
            evidence=f"its format is {said}; this version reads {' and '.join(_READABLE)}",
            next_step="measure again with: ai-how bench run, or read it with the version that wrote it",
        )
    try:
        return TypeAdapter(Result).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _no_result(f"{where}: {first['msg']}") from error


def is_other_report(text: str) -> bool:
    """Whether it is a report of ai-how that is none of a benchmark: of a roll-out."""
    said = _format_of(text)
    return said.startswith("ai-how/") and not said.startswith(_KIND)


def _format_of(text: str) -> str:
    """What a report says that it is; empty where it does not.

    Raises:
        SpecError: it is not JSON.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise _no_result(f"it is not JSON: {error}") from error
    said = data.get("format") if isinstance(data, dict) else None
    return said if isinstance(said, str) else ""


def _no_result(evidence: str) -> SpecError:
    return SpecError(
        "the file is not a benchmark result",
        evidence=evidence,
        next_step="give a .json file that ai-how bench run kept",
    )
