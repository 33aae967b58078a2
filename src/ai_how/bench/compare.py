"""Two results side by side, with what noise allows to say of their differences. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ai_how.bench.result import Level, Result
from ai_how.bench.statistics import Interval, independent_worth, percentile_interval

Change = Literal["better", "worse", "within noise", "noise unknown"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure at one load level in both results; ``ratio`` is after to before."""

    concurrency: int
    figure: str
    before: float
    after: float
    ratio: float
    change: Change


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something besides the endpoint's speed that is not the same in both results."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class _Figure:
    name: str
    value: float | None
    interval: Interval | None
    more_is_better: bool = False


def compare_results(before: Result, after: Result) -> list[Comparison]:
    """Every figure that both have, ordered by load level.

    ``change`` is "within noise" where the figures' 95 % intervals overlap. What differs from one run to the next is
    not in them: only repeated runs show that.
    """
    later = {level.concurrency: level for level in after.levels}
    return [
        Comparison(
            concurrency=level.concurrency,
            figure=old.name,
            before=old.value,
            after=new.value,
            ratio=new.value / old.value,
            change=_change(old, new),
        )
        for level in before.levels
        if level.concurrency in later
        for old, new in zip(_figures(level), _figures(later[level.concurrency]), strict=True)
        if old.value and new.value is not None
    ]


def different_conditions(before: Result, after: Result) -> list[Difference]:
    """What may explain a difference without the endpoint being faster or slower."""

    def conditions(result: Result) -> dict[str, object]:
        endpoint, machine, workload = result.endpoint, result.machine, result.workload
        return {
            "model": endpoint.model,
            "engine": endpoint.engine,
            "hardware": endpoint.hardware,
            "replicas": endpoint.replicas,
            "parallel requests": endpoint.parallel_requests,
            "prompt words": workload.prompt_words,
            "output tokens": workload.output_tokens,
            "run": "interrupted" if result.interrupted else "whole",
            "kind": "chat" if workload.chat else "completion",
            "machine": f"{machine.cpu}, {machine.cores:g} cores, {', '.join(machine.gpus) or 'no GPU'}",
            **{f"version of {package}": version for package, version in sorted(result.software.items())},
        }

    old, new = conditions(before), conditions(after)
    return [
        Difference(what=what, before=str(old.get(what, "unknown")), after=str(new.get(what, "unknown")))
        for what in _in_order((*old, *new))
        if old.get(what) != new.get(what)
    ]


def _figures(level: Level) -> tuple[_Figure, ...]:
    latencies = level.latencies_ms
    worth = independent_worth(latencies)
    return (
        _Figure(
            name="requests/s",
            value=level.requests_per_s,
            interval=level.requests_per_s_interval,
            more_is_better=True,
        ),
        _Figure(
            name="latency P50 ms",
            value=level.latency_ms.p50,
            # from the samples: a result of an older version holds them, but no intervals
            interval=percentile_interval(latencies, 50, worth=worth),
        ),
        _Figure(
            name="latency P95 ms",
            value=level.latency_ms.p95,
            interval=percentile_interval(latencies, 95, worth=worth),
        ),
        _Figure(name="TTFT P50 ms", value=level.first_token_ms.p50, interval=level.first_token_ms.p50_interval),
    )


def _change(before: _Figure, after: _Figure) -> Change:
    if before.interval is None or after.interval is None:
        return "noise unknown"
    if _below(before.interval, after.interval):
        return "better" if after.more_is_better else "worse"
    if _below(after.interval, before.interval):
        return "worse" if after.more_is_better else "better"
    return "within noise"


def _below(one: Interval, other: Interval) -> bool:
    return one[1] is not None and one[1] < other[0]


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
