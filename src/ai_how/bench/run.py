"""The order of a benchmark: leftovers, warm-up, load levels, probes, verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ai_how.bench.load import Client, run_phase
from ai_how.bench.machine import describe_machine
from ai_how.bench.probes import cold_start, gpu_utilization, guarded, remove_leftovers, scale_out
from ai_how.bench.result import Level, Probe, Result, level_of
from ai_how.bench.statistics import samples_needed
from ai_how.bench.verdict import verdict
from ai_how.endpoints.client import EndpointClient
from ai_how.endpoints.types import EndpointStatus
from ai_how.site.spec import Serving, Targets

Say = Callable[[str], None]

WARM_UP_REQUESTS = 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure. ``duration_s`` is that of each load level."""

    concurrencies: Sequence[int] = (1, 2, 4, 8)
    duration_s: float = 15
    measure_cold_start: bool = True
    measure_scale_out: bool = True


async def run_benchmark(
    client: Client,
    admin: EndpointClient,
    status: EndpointStatus,
    *,
    settings: Settings,
    serving: Serving,
    targets: Targets,
    say: Say,
) -> Result:
    """Measure an endpoint. A cancelled run returns what it has, marked as interrupted."""
    machine = describe_machine()
    await remove_leftovers(admin)
    result = Result(
        endpoint={
            "name": status.spec.name,
            "model": f"{status.spec.model_name}/{status.spec.model_version}",
            "engine": status.spec.engine,
            "hardware": f"{status.spec.hardware.count}x {status.spec.hardware.accelerator}",
            "replicas": f"{status.spec.autoscaling.min_replicas}..{status.spec.autoscaling.max_replicas}",
            "parallel_requests": serving.parallel_requests,
        },
        machine=machine,
        workload=client.workload,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        levels=(),
        cold_start_s=Probe(note="skipped as asked"),
        scale_out_s=Probe(note="skipped as asked"),
        gpu_utilization_percent=Probe(note="no load level was run"),
    )
    try:
        result = await _measure(result, client, admin, status, settings=settings, serving=serving, say=say)
    except asyncio.CancelledError:
        result = replace(result, interrupted=True)
    gpus = 0 if status.spec.hardware.accelerator == "cpu" else status.spec.hardware.count * max(1, _ready(status))
    return replace(result, verdict=verdict(result, targets, gpus=gpus))


async def _measure(
    result: Result,
    client: Client,
    admin: EndpointClient,
    status: EndpointStatus,
    *,
    settings: Settings,
    serving: Serving,
    say: Say,
) -> Result:
    say(f"warming up with {WARM_UP_REQUESTS} requests")
    await run_phase(client, concurrency=1, duration_s=0, least_requests=WARM_UP_REQUESTS, longest_s=120)
    levels: list[Level] = []
    for concurrency in sorted(settings.concurrencies):
        say(f"{concurrency} at once, {settings.duration_s:g} s")
        phase, utilization = await gpu_utilization(
            run_phase(
                client,
                concurrency=concurrency,
                duration_s=settings.duration_s,
                # the lowest level is the one that P95 is judged at
                least_requests=0 if levels else samples_needed(95),
                longest_s=4 * settings.duration_s,
            )
        )
        levels.append(level_of(phase))
        result = replace(result, levels=tuple(levels), gpu_utilization_percent=utilization)
        if phase.interrupted:
            return replace(result, interrupted=True)
    timeout_s = serving.start_timeout_s
    if settings.measure_cold_start:
        say("cold start, on a temporary copy of the endpoint")
        probe = await guarded(cold_start(admin, status.spec, client, timeout_s=timeout_s))
        result = replace(result, cold_start_s=probe)
    if settings.measure_scale_out:
        say("scale-out, on a temporary copy of the endpoint")
        probe = await guarded(
            scale_out(admin, status.spec, client, slots=serving.parallel_requests, timeout_s=timeout_s)
        )
        result = replace(result, scale_out_s=probe)
    return result


def _ready(status: EndpointStatus) -> int:
    return sum(replica.state == "ready" for replica in status.replicas)
