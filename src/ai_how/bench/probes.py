"""Figures that need an experiment of their own: cold start, scale-out, GPU utilization.

Cold start and scale-out run on a temporary copy of the endpoint, which is always removed: also after Ctrl-C, and what a
killed run left is removed by the next one. The endpoint itself is not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from ai_how.bench.load import Client, ask, open_session, run_phase
from ai_how.bench.machine import Gpu, observe_gpus
from ai_how.bench.result import Probe
from ai_how.endpoints.cold_start.waterfall import Waterfall
from ai_how.endpoints.interface import Endpoints
from ai_how.endpoints.types import Autoscaling, EndpointSpec, EndpointState, EndpointStatus
from ai_how.errors import AiHowError, NotFoundError, ProviderError

TEMPORARY = "bench-tmp-"
Value = TypeVar("Value")


async def remove_leftovers(admin: Endpoints) -> None:
    """Remove the temporary endpoints of a run that was killed."""
    for status in await asyncio.to_thread(admin.list_endpoints):
        if status.spec.name.startswith(TEMPORARY):
            await asyncio.to_thread(admin.delete, status.spec.name)


async def cold_start(admin: Endpoints, spec: EndpointSpec, client: Client, *, timeout_s: float) -> Probe:
    """Seconds from creating a copy of the endpoint to the end of its first answer's first token."""
    async with _temporary(admin, spec, Autoscaling(min_replicas=1, max_replicas=1)) as (name, began):
        await _wait(admin, name, lambda s: ready_replicas(s) >= 1, timeout_s=timeout_s)
        ready_s = time.perf_counter() - began
        async with open_session(client) as session:
            sample = await ask(session, replace(client, model=name), began=began)
        start = await asyncio.to_thread(admin.last_start, name)
        if sample.error:
            raise ProviderError("the first request failed", evidence=f"{sample.error}: {sample.detail}")
        # tokens without text come unseen: then the end of the answer, which is no earlier
        first_s = sample.latency_s if sample.first_token_s is None else sample.first_token_s
        total_s = sample.ended_at - (sample.latency_s - first_s)
    note = f"one run, from deploy to the first token of {_asked(client)}; files in the page cache"
    stages = {"ready": ready_s, "first token of the answer": first_s}
    if start is not None:
        stages |= {f"of it, {stage.name.value}": stage.took_s or 0.0 for stage in start.measured}
        note += _largest(start, spec.name)
    return Probe(value=total_s, stages=stages, note=note)


def _largest(start: Waterfall, endpoint: str) -> str:
    """The stage that took longest and where to read on."""
    if start.largest is None:
        return ""
    return (
        f"; most of it: {start.largest.name.value}, {start.largest.took_s:.3g} s"
        f"; what would help: ai-how deploy coldstart {endpoint}"
    )


async def scale_out(admin: Endpoints, spec: EndpointSpec, client: Client, *, slots: int, timeout_s: float) -> Probe:
    """Seconds from the start of load on one replica to the second one being ready."""
    async with _temporary(admin, spec, Autoscaling(min_replicas=1, max_replicas=2)) as (name, _):
        await _wait(admin, name, lambda s: ready_replicas(s) >= 1, timeout_s=timeout_s)
        target = replace(client, model=name)
        began = time.perf_counter()
        load = asyncio.create_task(run_phase(target, concurrency=3 * slots, duration_s=timeout_s))
        try:
            await _wait(admin, name, lambda s: ready_replicas(s) >= 2, timeout_s=timeout_s)
            took_s = time.perf_counter() - began
        finally:
            load.cancel()
            await asyncio.gather(load, return_exceptions=True)
    return Probe(value=took_s, note=f"one run, 1 to 2 replicas under {3 * slots} at once of {_asked(client)}")


def _asked(client: Client) -> str:
    return f"{client.workload.prompt_words} words in, {client.workload.output_tokens} tokens out"


async def gpu_utilization(measure: Awaitable[Value], *, gpus: int) -> tuple[Value, Probe]:
    """Sample the GPUs while ``measure`` runs; its result, and the average utilization of the ``gpus`` busiest ones.

    Which GPUs serve an endpoint only its replicas know: they are taken to be the ones that work.
    """
    if not await asyncio.to_thread(observe_gpus):
        return await measure, Probe(note="no NVIDIA GPU with a driver on this machine")
    seen: list[list[Gpu]] = []

    async def sample() -> None:
        while True:
            seen.append(await asyncio.to_thread(observe_gpus))
            await asyncio.sleep(0.5)

    sampler = asyncio.create_task(sample())
    try:
        value = await measure
    finally:
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)
    return value, busiest(seen, gpus=gpus)


def busiest(seen: Sequence[Sequence[Gpu]], *, gpus: int) -> Probe:
    """Average utilization of the ``gpus`` busiest GPUs over samples of all of them, each in the same order."""
    by_gpu: dict[int, list[float]] = {}
    for sample in seen:
        for number, gpu in enumerate(sample):
            if gpu.utilization_percent is not None:
                by_gpu.setdefault(number, []).append(gpu.utilization_percent)
    means = sorted((sum(percents) / len(percents) for percents in by_gpu.values()), reverse=True)
    if len(means) < gpus:
        return Probe(note="the GPUs do not report their utilization")
    which = f"the {gpus} busiest of {len(means)} GPUs" if len(means) > gpus else f"{gpus} GPU(s)"
    return Probe(value=sum(means[:gpus]) / gpus, note=f"{which}, {len(seen)} samples at the highest load")


@contextlib.asynccontextmanager
async def _temporary(admin: Endpoints, spec: EndpointSpec, bounds: Autoscaling) -> AsyncIterator[tuple[str, float]]:
    name = f"{TEMPORARY}{secrets.token_hex(3)}"
    began = time.perf_counter()
    made = asyncio.create_task(
        asyncio.to_thread(admin.put, replace(spec, name=name, autoscaling=bounds, stopped=False))
    )
    try:
        await asyncio.shield(made)
        yield name, began
    finally:
        # Ctrl-C must not leave it behind, neither while it is being made nor while it is being removed
        await asyncio.wait((made,))
        await asyncio.shield(asyncio.to_thread(_delete, admin, name))


def _delete(admin: Endpoints, name: str) -> None:
    with contextlib.suppress(NotFoundError):
        admin.delete(name)


async def _wait(
    admin: Endpoints, name: str, enough: Callable[[EndpointStatus], bool], *, timeout_s: float
) -> EndpointStatus:
    deadline = time.perf_counter() + timeout_s
    while True:
        status = await asyncio.to_thread(admin.get, name)
        if enough(status):
            return status
        if status.state is EndpointState.ERROR:
            raise ProviderError("the copy of the endpoint failed to start", evidence=status.message)
        if time.perf_counter() > deadline:
            raise ProviderError(f"not within {timeout_s:g} s")
        await asyncio.sleep(0.02)


def ready_replicas(status: EndpointStatus) -> int:
    """How many replicas of an endpoint answer now."""
    return sum(replica.state == "ready" for replica in status.replicas)


async def guarded(probe: Awaitable[Probe]) -> Probe:
    """A probe that says why it could not measure instead of ending the whole run."""
    try:
        return await probe
    except AiHowError as error:
        first_line = error.evidence.splitlines()[0] if error.evidence else ""
        return Probe(note=f"{error.brief}. {first_line}".strip())
