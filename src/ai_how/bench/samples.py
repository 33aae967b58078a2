"""What the load generator saw, request by request. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request. Times are seconds; ``ended_at`` counts from the start of its phase. ``error`` None: answered.

    ``gaps_s`` lie between events with text. ``counted`` says whether the engine gave the token counts; otherwise
    ``output_tokens`` is the number of events. ``detail`` is what the server said of a failure.
    """

    latency_s: float
    ended_at: float
    first_token_s: float | None = None
    gaps_s: tuple[float, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    counted: bool = True
    error: str | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One load level: what was asked at once, for how long, and every sample.

    ``unfinished`` requests were under way when the phase was interrupted. ``client_cpu_s`` is the processor time that
    the generator itself took.
    """

    concurrency: int
    duration_s: float
    samples: tuple[Sample, ...]
    interrupted: bool = False
    unfinished: int = 0
    client_cpu_s: float = 0.0
