"""The order of a benchmark: leftovers, warm-up, load levels, probes, verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from ai_how.bench.load import Client, ask, open_session, run_phase
from ai_how.bench.machine import describe_machine, describe_software
from ai_how.bench.probes import cold_start, gpu_utilization, guarded, ready_replicas, remove_leftovers, scale_out
from ai_how.bench.result import Level, Measured, Probe, Result, level_of
from ai_how.bench.statistics import samples_for_interval, samples_needed
from ai_how.bench.stopping import until_stopped
from ai_how.bench.verdict import verdict
from ai_how.endpoints.interface import Endpoints
from ai_how.endpoints.types import EndpointStatus
from ai_how.errors import AiHowError, ProviderError
from ai_how.site.spec import Serving, Targets

Say = Callable[[str], None]
Value = TypeVar("Value")

WARM_UP_REQUESTS = 2
_WARM_UP_TRIES = 5
_PAUSE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure. ``duration_s`` is that of each load level."""

    concurrencies: Sequence[int] = (1, 2, 4, 8)
    duration_s: float = 15
    measure_cold_start: bool = True
    measure_scale_out: bool = True


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every step of one benchmark needs. ``stop`` ends it early; ``here``: replicas run on this machine."""

    client: Client
    admin: Endpoints
    status: EndpointStatus
    settings: Settings
    serving: Serving
    say: Say
    stop: asyncio.Event
    here: bool = True

    @property
    def gpus_per_replica(self) -> int:
        """0 where the endpoint runs on the CPU."""
        hardware = self.status.spec.hardware
        return 0 if hardware.accelerator == "cpu" else hardware.count


async def run_benchmark(run: Run, targets: Targets) -> Result:
    """Measure an endpoint. A run that was stopped gives what it has, marked as interrupted.

    Raises:
        ProviderError: the endpoint answers no request.
    """
    spec = run.status.spec
    machine = describe_machine()
    await remove_leftovers(run.admin)
    result = Result(
        endpoint=Measured(
            name=spec.name,
            model=f"{spec.model_name}/{spec.model_version}",
            engine=spec.engine,
            hardware=f"{spec.hardware.count}x {spec.hardware.accelerator}",
            replicas=f"{spec.autoscaling.min_replicas}..{spec.autoscaling.max_replicas}",
            parallel_requests=run.serving.parallel_requests,
        ),
        machine=machine,
        software=describe_software(spec.engine),
        workload=run.client.workload,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        planned=tuple(sorted(run.settings.concurrencies)),
        levels=(),
        cold_start_s=Probe(note="skipped as asked"),
        scale_out_s=Probe(note="skipped as asked"),
        gpu_utilization_percent=Probe(note=_no_utilization(run)),
    )
    run.say(f"warming up with {WARM_UP_REQUESTS} requests")
    await _or_stop(warm_up(run.client), run.stop)
    result = await _load_levels(run, result)
    result = await _probes(run, result)
    result = replace(result, interrupted=run.stop.is_set())
    return replace(result, verdict=verdict(result, targets, gpus_per_replica=run.gpus_per_replica))


def _no_utilization(run: Run) -> str:
    """Why the GPUs' utilization is not measured, unless it comes to be."""
    if not run.gpus_per_replica:
        return "no GPU serves this endpoint"
    return "the highest load level was not finished" if run.here else "its GPUs are on a cluster: ai-how bench cluster"


async def warm_up(client: Client) -> None:
    """Ask until two requests were answered; their times are not counted.

    Raises:
        ProviderError: one was not, however often it was tried.
    """
    async with open_session(client) as session:
        for _ in range(WARM_UP_REQUESTS):
            for _ in range(_WARM_UP_TRIES):
                sample = await ask(session, client, began=0)
                if sample.error is None:
                    break
                await asyncio.sleep(_PAUSE_S)
            else:
                raise ProviderError(
                    f"endpoint {client.model} answers no request, so there is nothing to measure",
                    evidence=f"{sample.error}: {sample.detail}".rstrip(": "),
                    next_step=f"ai-how deploy status {client.model}",
                )


async def _load_levels(run: Run, result: Result) -> Result:
    levels: list[Level] = []
    for concurrency in result.planned:
        if run.stop.is_set():
            return result
        run.say(f"{concurrency} at once, {run.settings.duration_s:g} s")
        before = await _ready(run)
        load = run_phase(
            run.client,
            concurrency=concurrency,
            duration_s=run.settings.duration_s,
            # the lowest level is the one that P95 is judged at
            goals=() if levels else (samples_needed(95), samples_for_interval(95)),
            longest_s=4 * run.settings.duration_s,
            stop=run.stop,
        )
        if run.here and run.gpus_per_replica and concurrency == result.planned[-1]:
            phase, utilization = await gpu_utilization(load, gpus=run.gpus_per_replica * (before or 1))
            if not phase.interrupted:
                result = replace(result, gpu_utilization_percent=utilization)
        else:
            phase = await load
        after = await _ready(run)
        levels.append(level_of(phase, replicas=None if before is None or after is None else (before, after)))
        result = replace(result, levels=tuple(levels))
    return result


async def _probes(run: Run, result: Result) -> Result:
    spec, timeout_s, slots = run.status.spec, run.serving.start_timeout_s, run.serving.parallel_requests
    if run.settings.measure_cold_start:
        probe = await _experiment(
            run, "cold start", lambda: cold_start(run.admin, spec, run.client, timeout_s=timeout_s)
        )
        result = replace(result, cold_start_s=probe)
    if run.settings.measure_scale_out:
        probe = await _experiment(
            run, "scale-out", lambda: scale_out(run.admin, spec, run.client, slots=slots, timeout_s=timeout_s)
        )
        result = replace(result, scale_out_s=probe)
    return result


async def _experiment(run: Run, name: str, start: Callable[[], Awaitable[Probe]]) -> Probe:
    if run.stop.is_set():
        return Probe(note="the run was interrupted")
    run.say(f"{name}, on a temporary copy of the endpoint")
    return await _or_stop(guarded(start()), run.stop) or Probe(note="the run was interrupted")


async def _or_stop(step: Coroutine[Any, Any, Value], stop: asyncio.Event) -> Value | None:
    """The step's result; None where ``stop`` was set first. A step that is stopped cleans up before this returns."""
    task = await until_stopped(step, stop)
    return None if task.cancelled() else task.result()


async def _ready(run: Run) -> int | None:
    """Replicas that are ready now; None where the gateway does not say."""
    try:
        return ready_replicas(await asyncio.to_thread(run.admin.get, run.status.spec.name))
    except AiHowError:
        return None
