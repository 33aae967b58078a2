"""Moves of a rollout where something is in the way, and what is said when one command takes over from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ai_how.apply.files import disk_full
from ai_how.bench.rollout import moves
from ai_how.cli.rollout_update import Asked, _to_resume
from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import Journal, Rollout
from ai_how.endpoints.types import EndpointSpec, EndpointState
from ai_how.errors import ProviderError

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

    def revisions(self, _name: str) -> tuple[Revision, ...]:
        return tuple(
            Revision(
                number=number,
                spec=replace(SPEC, model_version=number),
                share_percent=share,
                state=EndpointState.RUNNING,
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
