"""Measures two revisions of an endpoint beside each other, through the door that clients use.

In rounds, one revision after the other and the order turned each time: what the machine does meanwhile meets both.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ai_how.bench.load import Client, ask, open_session, run_phase
from ai_how.bench.rollout.judgement import Limits, Observed, Row, judge, may_go_on, verdict
from ai_how.bench.samples import Phase
from ai_how.endpoints.ask import ask as ask_whole
from ai_how.endpoints.door import Door
from ai_how.endpoints.interface import REVISION_HEADER
from ai_how.endpoints.rollout.checks import Check, problem
from ai_how.errors import AiHowError, ProviderError

ROUNDS = 5
LONGEST = 4
"""A step is measured so many times as long as was asked for where it takes that to decide; as the benchmark does."""
PROOFS = 2
_PROOF_TRIES = 3
_PAUSE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a step is measured: ``duration_s`` for both revisions together, ``concurrency`` requests at once."""

    duration_s: float
    concurrency: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was seen of both revisions, and what it comes to."""

    old: Observed
    new: Observed
    rows: tuple[Row, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One answer check; ``problem`` is empty where the new revision's answer is as wanted, ``old_problem`` likewise."""

    prompt: str
    answer: str
    problem: str
    old_problem: str = ""


def for_revision(client: Client, number: int) -> Client:
    """The same client, whose requests all go to one revision; the prompts' numbers go on."""
    return replace(client, headers={**client.headers, REVISION_HEADER: str(number)})


async def prove(client: Client) -> None:
    """Ask a revision that has no share yet, until it has answered: what fails here, no client ever meets.

    Raises:
        ProviderError: it does not.
    """
    async with open_session(client) as session:
        for _ in range(PROOFS):
            for attempt in range(_PROOF_TRIES):
                sample = await ask(session, client, began=0)
                if sample.error is None:
                    break
                if attempt < _PROOF_TRIES - 1:
                    await asyncio.sleep(_PAUSE_S)
            else:
                said = f"{sample.error}: {sample.detail}".rstrip(": ")
                raise ProviderError("the new revision answers no request", evidence=said)


async def check_answers(checks: Sequence[Check], *, old: Client, new: Client) -> tuple[CheckResult, ...]:
    """Ask both revisions each prompt; the old one only to show what was so before."""
    results = []
    for check in checks:
        answer, found = await asyncio.to_thread(_answer, check, new)
        _, before = await asyncio.to_thread(_answer, check, old)
        results.append(CheckResult(prompt=check.prompt, answer=answer, problem=found, old_problem=before))
    return tuple(results)


def check_row(results: Sequence[CheckResult]) -> Row:
    """The row of all checks together: each must be as wanted."""
    failed = [result for result in results if result.problem]
    note = f"{len(results) - len(failed)} of {len(results)} answers as wanted"
    if failed:
        note += f"; {failed[0].prompt[:40]!r}: {failed[0].problem}"
    return Row(
        metric="answer checks",
        target="all",
        unit="answers",
        new=len(results) - len(failed),
        old=sum(not result.old_problem for result in results),
        outcome="fail" if failed else "pass",
        note=note,
    )


async def measure(
    old: Client,
    new: Client,
    *,
    load: Load,
    limits: Limits,
    stop: asyncio.Event,
    heard: Callable[[], None],
    until_clear: bool = False,
) -> Measurement:
    """Measure both until the figures decide: at least as long as was asked, at most ``LONGEST`` times that.

    Errors that cannot be chance end it at once.

    Args:
        heard: Called after each round.
        until_clear: A range that reaches over its target, and nothing worse, decides nothing.
    """
    phases: tuple[list[Phase], list[Phase]] = ([], [])
    began = time.perf_counter()
    while True:
        order = (0, 1) if len(phases[0]) % 2 == 0 else (1, 0)
        for which in order:
            phases[which].append(
                await run_phase(
                    (old, new)[which],
                    concurrency=load.concurrency,
                    duration_s=load.duration_s / (2 * ROUNDS),
                    stop=stop,
                )
            )
        heard()
        seconds = time.perf_counter() - began
        before, after = observed(phases[0]), observed(phases[1])
        rows = judge(before, after, limits)
        found = Measurement(old=before, new=after, rows=rows, seconds=seconds)
        surely = rows[0].outcome == "fail"
        enough = verdict(rows) in ("pass", "fail") or (not until_clear and may_go_on(rows))
        decided = len(phases[0]) >= ROUNDS and enough
        if stop.is_set() or surely or decided or seconds >= LONGEST * load.duration_s:
            return found


def observed(phases: Sequence[Phase]) -> Observed:
    """What the rounds of one revision come to."""
    samples = [sample for phase in phases for sample in phase.samples]
    errors = Counter(sample.error for sample in samples if sample.error is not None)
    details = Counter(sample.detail for sample in samples if sample.error is not None and sample.detail)
    return Observed(
        rounds=tuple(
            tuple(1000 * sample.latency_s for sample in phase.samples if sample.error is None) for phase in phases
        ),
        failed=sum(errors.values()),
        errors=dict(errors),
        said=details.most_common(1)[0][0] if details else "",
    )


def _answer(check: Check, client: Client) -> tuple[str, str]:
    """The answer, and what is wrong with it."""
    try:
        answer = ask_whole(
            Door(
                url=client.base_url,
                api_key=client.api_key,
                connect_to=client.connect_to,
                authority_pem=client.authority_pem,
            ),
            model=client.model,
            prompt=check.prompt,
            chat=client.workload.chat,
            max_tokens=check.max_tokens,
            timeout_s=client.timeout_s,
            headers=client.headers,
        )
    except AiHowError as error:
        return "", " ".join(f"no answer: {error.evidence or error.brief}".split())
    return answer.text, problem(check, answer.text)
