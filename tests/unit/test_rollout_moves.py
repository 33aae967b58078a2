"""Moves of a rollout where something is in the way, and what is said when one command takes over from another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ai_how.apply.files import disk_full
from ai_how.bench.load import Client
from ai_how.bench.rollout import moves
from ai_how.bench.rollout.judgement import Limits
from ai_how.bench.rollout.measure import Load
from ai_how.bench.rollout.run import Run, Settings, resume
from ai_how.bench.workload import Workload
from ai_how.cli.rollout_update import Asked, _to_resume
from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import Journal, Rollout
from ai_how.endpoints.types import Autoscaling, EndpointSpec, EndpointState
from ai_how.errors import ProviderError
from ai_how.models.types import SecretText

SPEC = EndpointSpec(
    name="m", model_name="m", model_version=1, model_uri="s3://models/m/1", model_digest="1" * 64, engine="llamacpp"
)
ROLLOUT = Rollout(id="a", old=1, new=2, steps=(10, 100), started_at="t", heard_at="t", step=1)


@dataclass
class Endpoints:
    """One endpoint with two revisions, on a disk that may be full."""

    remembered: Journal = field(default_factory=lambda: Journal(rollout=ROLLOUT))
    shares: dict[int, int] = field(default_factory=lambda: {1: 90, 2: 10})
    full: bool = False
    old_states: list[EndpointState] = field(default_factory=list)
    """Of revision 1, one for each time that it is asked for, the last for good."""
    given: list[dict[int, int]] = field(default_factory=list)

    def revisions(self, _name: str) -> tuple[Revision, ...]:
        states = {1: self.old_states[0]} if self.old_states else {}
        if len(self.old_states) > 1:
            del self.old_states[0]
        return tuple(
            Revision(
                number=number,
                spec=replace(SPEC, model_version=number, autoscaling=Autoscaling(min_replicas=0)),
                share_percent=share,
                state=states.get(number, EndpointState.RUNNING),
            )
            for number, share in self.shares.items()
        )

    def journal(self, _name: str) -> Journal:
        return self.remembered

    def keep_journal(self, _name: str, journal: Journal) -> None:
        self._write()
        self.remembered = journal

    def set_shares(self, _name: str, shares: Mapping[int, int]) -> None:
        self._write()
        self.given.append(dict(shares))
        self.shares = {number: shares.get(number, 0) for number in self.shares}

    def remove_revision(self, _name: str, number: int) -> None:
        self._write()
        del self.shares[number]

    def _write(self) -> None:
        if self.full:
            raise disk_full(Path("/proc/m.json"))


@pytest.mark.parametrize(
    ("finish", "said"), [("", "ai-how deploy rollback m"), ("ai-how deploy update m --resume",) * 2]
)
def test_a_full_disk_names_the_command_that_ends_the_rollout(finish: str, said: str) -> None:
    endpoints: Any = Endpoints(full=True)
    with pytest.raises(ProviderError) as raised:
        moves.keep_only(endpoints, "m", kept=1, gone=2, why="slow", finish=finish)
    assert raised.value.brief.startswith("the rollout of m could not be ended: the disk is full")
    assert "MiB are free there" in raised.value.evidence
    assert "ai-how deploy status m" in raised.value.evidence
    assert raised.value.next_step == f"free some space, then: {said}"
    assert endpoints.shares == {1: 90, 2: 10}
    # once there is space, that command finds what it needs
    endpoints.full = False
    assert moves.end_rollout(endpoints, "m", why="ended by hand") is not None
    assert endpoints.shares == {1: 100}


async def test_one_that_was_woken_for_a_rollout_gets_no_share_before_it_is_awake() -> None:
    starting, error = EndpointState.STARTING, EndpointState.ERROR
    endpoints: Any = Endpoints(shares={1: 100, 2: 0}, old_states=[starting, starting, starting, error])
    load = Load(duration_s=1, concurrency=1)
    limits = Limits(latency_p95_ms=500, error_percent=1, slower_percent=10)
    how = Settings(steps=(10, 100), load=load, limits=limits, start_timeout_s=30)
    client = Client(base_url="http://127.0.0.1:1", api_key=SecretText("k"), model="m", workload=Workload(seed=1))
    run = Run(endpoints=endpoints, name="m", client=client, settings=how, say=[].append, stop=asyncio.Event())
    report = await resume(run)
    assert (report.result, report.steps) == ("rolled back", ())
    assert report.why.startswith("revision 1 cannot start")
    assert endpoints.given == [{1: 100}]


@pytest.mark.parametrize(("silent_s", "told"), [(1, True), (300, False)])
def test_who_takes_over_from_a_command_that_may_still_run_says_so(
    silent_s: int, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    heard_at = (datetime.now(UTC) - timedelta(seconds=silent_s)).isoformat(timespec="seconds")
    rollout = replace(ROLLOUT, heard_at=heard_at)
    site: Any = SimpleNamespace(endpoints=Endpoints(remembered=Journal(rollout=rollout)))
    asked = Asked(name="m", model=None, config=None, resume=True, dry_run=False, yes=True)
    assert _to_resume(site, asked) == rollout
    said = capsys.readouterr().err
    assert ("A command that drives this rollout was heard of" in said) is told
    assert ("this one takes over from it" in said) is told
