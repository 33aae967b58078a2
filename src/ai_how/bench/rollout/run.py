"""The order of a rollout: start, prove, step by step more requests, each step judged; then promote or roll back.

Works on any ``RollingEndpoints``. What is under way lies in the endpoint's journal, so that another command can go on
with it or end it, should this one be killed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

from ai_how.bench.load import Client
from ai_how.bench.machine import describe_machine, describe_software
from ai_how.bench.result import Machine
from ai_how.bench.rollout import moves
from ai_how.bench.rollout.judgement import Limits, Row, may_go_on, restart_row, verdict
from ai_how.bench.rollout.measure import (
    CheckResult,
    Load,
    Measurement,
    check_answers,
    check_row,
    for_revision,
    measure,
    prove,
)
from ai_how.bench.rollout.report import Report, Result, StepReport
from ai_how.bench.stopping import until_stopped
from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.checks import Check
from ai_how.endpoints.rollout.journal import BEAT_S, Options, RollingEndpoints, Rollout, in_one_line
from ai_how.endpoints.types import EndpointSpec, EndpointState
from ai_how.errors import AiHowError, ConflictError

OnUnmeasured = Literal["", "hold", "promote", "rollback"]
Say = Callable[[str], None]
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to roll out. ``on_unmeasured``: what to do where a step's figures do not decide. Where nothing is said, what
    is merely unclear by the width of its range goes on, and everything else that does not pass is rolled back.

    ``options`` is what is kept of all this with the rollout; ``steps_anew``: these steps, also when it is gone on with.
    """

    steps: tuple[int, ...]
    load: Load
    limits: Limits
    checks: tuple[Check, ...] = ()
    on_unmeasured: OnUnmeasured = ""
    start_timeout_s: float = 600
    steps_anew: bool = False
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every step of one rollout needs. ``stop`` rolls it back. ``client`` asks the endpoint as clients do."""

    endpoints: RollingEndpoints
    name: str
    client: Client
    settings: Settings
    say: Say
    stop: asyncio.Event


@dataclass(kw_only=True)
class _Progress:
    """What has been seen so far."""

    old: Revision
    new: Revision
    rollout: Rollout
    machine: Machine
    step: int = 0
    replicas: dict[str, int] = field(default_factory=dict)
    steps: list[StepReport] = field(default_factory=list)
    checks: tuple[CheckResult, ...] = ()
    check_row: Row | None = None
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


async def roll_out(run: Run, spec: EndpointSpec) -> Report:
    """Start a revision of an endpoint and give it all requests, unless it turns out worse.

    Raises:
        ConflictError: a rollout is under way already.
        TryAgainError: the place where it runs does not answer any more; the rollout is left as it is.
    """
    endpoints, name = run.endpoints, run.name
    # it takes a while to look at the machine, and once it starts the new revision would be part of what is seen
    machine = describe_machine()
    began = await asyncio.to_thread(
        moves.begin, endpoints, spec, run.settings.steps, id_=secrets.token_hex(4), options=run.settings.options
    )
    run.say(f"revision {began.new} of {name} is started beside revision {began.old}")
    return await _go_on(run, began, machine)


async def resume(run: Run) -> Report:
    """Go on with the rollout that is under way, with the step that it was at.

    Raises:
        NotFoundError: there is none.
    """
    machine = describe_machine()
    settings = run.settings
    rollout = await asyncio.to_thread(
        moves.take_up,
        run.endpoints,
        run.name,
        settings.steps,
        id_=secrets.token_hex(4),
        anew=settings.steps_anew,
        options=settings.options,
    )
    left = ", ".join(f"{share} %" for share in rollout.steps)
    run.say(f"going on with revision {rollout.new} of {run.name}: {left} of the requests")
    return await _go_on(run, rollout, machine)


async def _go_on(run: Run, rollout: Rollout, machine: Machine) -> Report:
    revisions = {one.number: one for one in await asyncio.to_thread(run.endpoints.revisions, run.name)}
    progress = _Progress(old=revisions[rollout.old], new=revisions[rollout.new], rollout=rollout, machine=machine)
    try:
        async with _heard_of(run, progress):
            ended = await _or_stop(_steps(run, progress), run.stop)
    except ConflictError:
        # somebody else has ended it meanwhile: theirs is the last word
        raise
    except AiHowError as error:
        ended = "rolled back", in_one_line(f"{error.brief}.\n{error.evidence}")
    except BaseException:
        await asyncio.shield(_end(run, progress, "interrupted", "this command failed"))
        raise
    result, why = ended or ("interrupted", "this command was interrupted")
    await asyncio.shield(_end(run, progress, result, why))
    return _report(run, progress, result, why)


@asynccontextmanager
async def _heard_of(run: Run, progress: _Progress) -> AsyncIterator[None]:
    """Meanwhile it is written down every few seconds that this command drives the rollout."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            # who makes the steps meets the same error, and says it
            with suppress(AiHowError):
                async with progress.writing:
                    await _whole(moves.hear, run.endpoints, run.name, progress.rollout, progress.step)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait((beating,))


async def _steps(run: Run, progress: _Progress) -> tuple[Result, str]:
    settings = run.settings
    await _ready(run, progress.new)
    if progress.old.spec.autoscaling.min_replicas == 0 and progress.old.state is not EndpointState.ERROR:
        # it may have slept and is woken for the rollout: what is sent to it must find it awake
        await _ready(run, progress.old)
    old, new = (for_revision(run.client, one.number) for one in (progress.old, progress.new))
    await _restarts(run, progress)
    await prove(new)
    if settings.checks:
        run.say(f"{len(settings.checks)} answer checks")
        progress.checks = await check_answers(settings.checks, old=old, new=new)
        progress.check_row = check_row(progress.checks)
        if progress.check_row.outcome == "fail":
            return "rolled back", f"answer checks: {progress.check_row.note}"
    for number, share in enumerate(progress.rollout.steps, start=1):
        progress.step = number
        async with progress.writing:
            await _whole(moves.step, run.endpoints, run.name, progress.rollout, number, share)
        run.say(f"{share} % of the requests, measured for {settings.load.duration_s:g} s")
        found = await measure(
            old,
            new,
            load=settings.load,
            limits=settings.limits,
            stop=run.stop,
            heard=partial(moves.hear, run.endpoints, run.name, progress.rollout, number),
            until_clear=settings.on_unmeasured in ("hold", "rollback"),
        )
        restarts = await _restarts(run, progress)
        if restarts:
            found = replace(found, rows=(*found.rows, restart_row(restarts)))
        progress.steps.append(_step_report(share, found))
        decided = _decide(found.rows, share, settings)
        if decided is not None:
            return decided
    return "promoted", _promoted(progress)


async def _ready(run: Run, revision: Revision) -> None:
    await asyncio.to_thread(
        moves.wait_until_ready, run.endpoints, run.name, revision.number, run.settings.start_timeout_s, run.stop.is_set
    )


async def _restarts(run: Run, progress: _Progress) -> int:
    """How often engines of the new revision died so far, as far as that can be told from scaling."""
    there = await asyncio.to_thread(moves.replicas, run.endpoints, run.name, progress.new.number)
    for name, count in there.items():
        progress.replicas[name] = max(count, progress.replicas.get(name, 0))
    bounds = progress.new.spec.autoscaling
    scales = bounds.max_replicas > max(1, bounds.min_replicas)
    replaced = 0 if scales else len(progress.replicas) - len(there)
    return sum(progress.replicas.values()) + max(0, replaced)


def _promoted(progress: _Progress) -> str:
    at = f"at {', '.join(map(str, progress.rollout.steps))} %"
    rows = [row for one in progress.steps for row in one.rows]
    left = [row.outcome for row in rows if row.outcome != "pass"]
    if not left:
        return f"all targets held {at}"
    words = " or ".join(sorted(set(left), reverse=True))
    return f"none of the targets failed {at}; of {len(rows)} figures, {words}: {len(left)}"


def _decide(rows: Sequence[Row], share: int, settings: Settings) -> tuple[Result, str] | None:
    """How the rollout ends after a step; None where it goes on."""
    outcome = verdict(rows)
    if outcome == "pass":
        return None
    if not settings.on_unmeasured and may_go_on(rows):
        return None
    row = min((row for row in rows if row.outcome == outcome), key=lambda row: row.no_objection)
    figure = "" if row.new is None else f" {row.new:.3g} {row.unit}, target {row.target}"
    why = f"{row.metric}{figure} at {share} %"
    if outcome == "fail":
        return "rolled back", f"{why} ({row.note})"
    if settings.on_unmeasured == "promote":
        return None
    result: Result = "held" if settings.on_unmeasured == "hold" else "rolled back"
    return result, f"{why}: {outcome} ({row.note})"


async def _end(run: Run, progress: _Progress, result: Result, why: str) -> None:
    """Bring the endpoint to where the result says it is."""
    old, new = progress.old.number, progress.new.number
    if result == "held":
        run.say(f"left at {progress.steps[-1].share_percent} %")
        await asyncio.to_thread(moves.hear, run.endpoints, run.name, progress.rollout, progress.step, held=True)
    elif result == "promoted":
        finish = f"ai-how deploy update {run.name} --resume"
        await asyncio.to_thread(moves.keep_only, run.endpoints, run.name, kept=new, gone=old, why=why, finish=finish)
    else:
        run.say(f"back to revision {old}")
        await asyncio.to_thread(moves.keep_only, run.endpoints, run.name, kept=old, gone=new, why=why)


def _step_report(share: int, found: Measurement) -> StepReport:
    return StepReport(
        share_percent=share,
        seconds=found.seconds,
        old_answers=len(found.old.latencies_ms),
        new_answers=len(found.new.latencies_ms),
        rows=found.rows,
    )


def _report(run: Run, progress: _Progress, result: Result, why: str) -> Report:
    settings = run.settings
    return Report(
        endpoint=run.name,
        old=moves.label(progress.old),
        new=moves.label(progress.new),
        result=result,
        why=why,
        started_at=progress.rollout.started_at,
        ended_at=moves.now(),
        steps=tuple(progress.steps),
        planned=progress.rollout.steps,
        limits=settings.limits,
        load=settings.load,
        workload=run.client.workload,
        machine=progress.machine,
        checks=progress.checks,
        check_row=progress.check_row,
        software=describe_software(progress.new.spec.engine),
    )


async def _or_stop(step: Coroutine[Any, Any, Value], stop: asyncio.Event) -> Value | None:
    """The step's result; None where ``stop`` was set first."""
    task = await until_stopped(step, stop)
    return None if task.cancelled() or stop.is_set() else task.result()


async def _whole(move: Callable[..., None], *arguments: object) -> None:
    """Make a move in a thread; who breaks it off waits until it is made, lest it come after the one that undoes it."""
    made = asyncio.create_task(asyncio.to_thread(move, *arguments))
    try:
        await asyncio.shield(made)
    except asyncio.CancelledError:
        await asyncio.wait((made,))
        raise
