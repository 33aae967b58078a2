"""Two results side by side. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ai_how.bench.result import Level, Result


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure at one load level in both results; ``ratio`` is after to before."""

    concurrency: int
    figure: str
    before: float
    after: float
    ratio: float
    remark: str


def compare_results(before: Result, after: Result) -> list[Comparison]:
    """Every figure that both have, ordered by load level.

    ``remark`` says "within noise" where the medians lie inside each other's spread (fastest to P95): with so few
    runs, nothing finer can be said.
    """
    later = {level.concurrency: level for level in after.levels}
    rows = []
    for level in before.levels:
        other = later.get(level.concurrency)
        if other is None:
            continue
        remark = "within noise" if _overlap(level, other) else ""
        for figure, old, new in (
            ("requests/s", level.requests_per_s, other.requests_per_s),
            ("latency P50 ms", level.latency_ms.p50, other.latency_ms.p50),
            ("latency P95 ms", level.latency_ms.p95, other.latency_ms.p95),
            ("TTFT P50 ms", level.first_token_ms.p50, other.first_token_ms.p50),
        ):
            if old and new is not None:
                rows.append(
                    Comparison(
                        concurrency=level.concurrency,
                        figure=figure,
                        before=old,
                        after=new,
                        ratio=new / old,
                        remark=remark,
                    )
                )
    return rows


def _overlap(one: Level, other: Level) -> bool:
    def inside(level: Level, median: float | None) -> bool:
        low, high = level.latency_ms.minimum, level.latency_ms.p95 or level.latency_ms.maximum
        return None not in (low, high, median) and low <= median <= high  # type: ignore[operator]

    return inside(one, other.latency_ms.p50) and inside(other, one.latency_ms.p50)
