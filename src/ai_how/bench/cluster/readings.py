"""What probes found, and the verdict against the resource requirements' table "Cluster Performance". Pure.

What was not measured never passes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ai_how.bench.result import Outcome, Row
from ai_how.bench.statistics import percentile
from ai_how.errors import ProviderError
from ai_how.kubernetes_api.times import epoch_s

POD_START_S = 30.0
GPU_POD_START_S = 120.0
DNS_MS = 50.0
SAME_NODE_MS = 1.0
CROSS_NODE_MS = 5.0
"""Source of these: the resource requirements, "Cluster Performance"."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One figure, or why there is none; ``note`` says how, and what was seen beside it."""

    value: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Readings:
    """All of a run: seconds for starts, milliseconds (P95) for look-ups and round trips, percent for GPUs."""

    pod_start_s: Reading
    gpu_pod_start_s: Reading
    dns_ms: Reading
    same_node_ms: Reading
    cross_node_ms: Reading
    gpu_busiest_percent: Reading


def verdict(found: Readings, *, gpu_utilization_percent: float) -> tuple[Row, ...]:
    """One row a target. ``gpu_utilization_percent`` is the site's target for peak load."""
    return (
        _below("pod start", found.pod_start_s, POD_START_S, unit="s"),
        _below("GPU pod start", found.gpu_pod_start_s, GPU_POD_START_S, unit="s"),
        _below("DNS look-up", found.dns_ms, DNS_MS, unit="ms"),
        _below("pod to pod, same node", found.same_node_ms, SAME_NODE_MS, unit="ms"),
        _below("pod to pod, two nodes", found.cross_node_ms, CROSS_NODE_MS, unit="ms"),
        Row(
            metric="autoscaling time",
            target="< 120 s",
            unit="s",
            note="of an endpoint, not of the cluster: ai-how bench run NAME",
        ),
        _busy(found.gpu_busiest_percent, gpu_utilization_percent),
    )


def _below(metric: str, reading: Reading, limit: float, *, unit: str) -> Row:
    outcome: Outcome = "not measured" if reading.value is None else "pass" if reading.value < limit else "fail"
    target = f"< {limit:g} {unit}"
    return Row(metric=metric, target=target, unit=unit, note=reading.note, measured=reading.value, outcome=outcome)


def _busy(reading: Reading, target: float) -> Row:
    """The target is for peak load: that nobody made a load is no failure of the cluster."""
    busy = reading.value is not None and reading.value > target
    note = reading.note
    if reading.value is not None and not busy:
        note = f"the busiest five minutes had {reading.value:.0f} %: no peak load then; {note}"
    return Row(
        metric="GPU utilization",
        target=f"> {target:g} %",
        unit="%",
        note=note,
        measured=reading.value if busy else None,
        outcome="pass" if busy else "not measured",
    )


def milliseconds(log: str, *, what: str) -> Reading:
    """The 95th percentile of what a probe's pod printed.

    Raises:
        ProviderError: it printed something else; its end is the evidence.
    """
    try:
        values = [float(value) for value in json.loads(log.strip().splitlines()[-1])["ms"]]
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ProviderError(f"the probe of {what} printed no figures", evidence=log.strip()[-500:]) from error
    p50, p95 = percentile(values, 50), percentile(values, 95)
    if p50 is None or p95 is None:
        return Reading(note=f"{len(values)} samples are too few for P95")
    return Reading(value=p95, note=f"P95 of {len(values)}; P50 {p50:.3g} ms, longest {max(values):.3g} ms")


def started_s(pod: Mapping[str, Any]) -> float | None:
    """Seconds from a pod's creation to the start of its container, None before; the API has whole seconds."""
    return _since_created(pod, "startedAt")


def ended_s(pod: Mapping[str, Any]) -> float | None:
    """Seconds from a pod's creation to the end of its container."""
    return _since_created(pod, "finishedAt")


def _since_created(pod: Mapping[str, Any], key: str) -> float | None:
    created = epoch_s(pod["metadata"].get("creationTimestamp"))
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        state = status.get("state") or {}
        at = epoch_s((state.get("terminated") or state.get("running") or {}).get(key))
        if at is not None and created is not None:
            return max(0.0, at - created)
    return None


def prometheus_value(answer: Mapping[str, Any]) -> float | None:
    """The figure of an instant query that gives one; None where nothing matched."""
    result: Sequence[Any] = (answer.get("data") or {}).get("result") or []
    return float(result[0]["value"][1]) if result else None
