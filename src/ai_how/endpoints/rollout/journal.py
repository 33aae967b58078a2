"""What is remembered of an endpoint's revisions, and of the rollout that is under way. Pure.

Whoever serves the endpoint keeps the journal with it, so that any command sees it: also after one was killed.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ai_how.endpoints.interface import STILL_ANSWER, Endpoints, Revision
from ai_how.endpoints.types import EndpointSpec, EndpointState

KEPT = 20
"""How many revisions are remembered."""
BEAT_S = 5.0
"""So often a command that drives a rollout says that it does."""
DRIVEN_S = 4 * BEAT_S
"""One that was heard of within this time may still run: a busy machine is slow."""
_LONGEST_WHY = 500
"""An engine that does not start may say much; its log has all of it."""


class Outcome(StrEnum):
    """What became of a revision. One is ``serving`` at a time, and at most one is ``under way``."""

    UNDER_WAY = "under way"
    SERVING = "serving"
    REPLACED = "replaced"
    ROLLED_BACK = "rolled back"
    COULD_NOT_START = "could not start"
    NEVER_READY = "never ready"


Fate = tuple[Outcome, str]
"""What becomes of a revision, and why."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One revision. Times are ISO 8601; ``why`` is one line about its end, or about its beginning while it serves."""

    number: int
    spec: EndpointSpec
    started_at: str
    outcome: Outcome
    why: str = ""
    ended_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a rollout's steps are measured and judged, as it was asked for; kept for the command that goes on with it.

    ``prompts`` is the path of a file with answer checks, empty for none.
    """

    duration_s: float = 30
    concurrency: int = 1
    slower_percent: float = 10
    strict: bool = False
    on_unmeasured: str = ""
    prompts: str = ""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """The rollout under way: ``step`` counts from 0 (no share yet); ``heard_at``: when its command last wrote this.

    ``held``: its command has left it at its share, for a person to decide.
    ``back_to``: of a way back, the revision whose version is to serve again; 0 of a rollout, which is measured.
    """

    id: str
    old: int
    new: int
    steps: tuple[int, ...]
    started_at: str
    heard_at: str
    step: int = 0
    back_to: int = 0
    held: bool = False
    options: Options = field(default_factory=Options)

    def silent_s(self, now: datetime) -> float:
        """How long its command was not heard of, seconds; infinite where it has left it."""
        try:
            heard = datetime.fromisoformat(self.heard_at)
        except ValueError:
            return math.inf
        return math.inf if self.held else max(0.0, (now - heard).total_seconds())

    def is_driven(self, now: datetime) -> bool:
        """Whether a command that drives it was heard of just now."""
        return self.silent_s(now) < DRIVEN_S


@dataclass(frozen=True, kw_only=True)
class Journal:
    """``history`` is ordered by number, ``KEPT`` entries at most."""

    history: tuple[Entry, ...] = ()
    rollout: Rollout | None = None

    def entry(self, number: int) -> Entry | None:
        """What is known of a revision."""
        return next((entry for entry in self.history if entry.number == number), None)


class RollingEndpoints(Endpoints, Protocol):
    """Endpoints whose journals are kept beside them: what a rollout needs."""

    def journal(self, name: str) -> Journal:
        """What is remembered of an endpoint; an empty journal where nothing is.

        Raises:
            NotFoundError: there is none of that name.
        """
        ...

    def keep_journal(self, name: str, journal: Journal) -> None:
        """Remember this instead of what was remembered."""
        ...


def begun(journal: Journal, number: int, spec: EndpointSpec, *, at: str, outcome: Outcome) -> Journal:
    """A revision was started; the oldest ones are forgotten."""
    entry = Entry(number=number, spec=spec, started_at=at, outcome=outcome)
    return replace(journal, history=(*journal.history, entry)[-KEPT:])


def ended(journal: Journal, number: int, outcome: Outcome, *, at: str, why: str = "") -> Journal:
    """A revision serves no more. What was said of why stays unless there is something new to say."""
    return _changed(journal, number, lambda entry: replace(entry, outcome=outcome, ended_at=at, why=why or entry.why))


def serves(journal: Journal, number: int) -> Journal:
    """A revision serves, whatever was said of it before."""
    return _changed(journal, number, lambda entry: replace(entry, outcome=Outcome.SERVING, ended_at=""))


def explained(journal: Journal, number: int, why: str) -> Journal:
    """Say why a revision serves, or does no more."""
    return _changed(journal, number, lambda entry: replace(entry, why=why or entry.why))


def after_shares(journal: Journal, shares: Mapping[int, int]) -> Journal:
    """The revision that has all requests serves; the others are still there, with what is known of them."""
    whole = next((number for number, share in shares.items() if share == 100), None)
    entry = journal.entry(whole) if whole is not None else None
    if entry is None or entry.outcome is not Outcome.UNDER_WAY:
        return journal
    return serves(journal, entry.number)


def after_removal(journal: Journal, number: int, *, at: str) -> Journal:
    """A revision was removed: it was replaced if it served, else rolled back."""
    entry = journal.entry(number)
    if entry is None or entry.ended_at:
        return journal
    outcome = Outcome.ROLLED_BACK if entry.outcome is Outcome.UNDER_WAY else Outcome.REPLACED
    return ended(journal, number, outcome, at=at)


def in_one_line(said: str) -> str:
    """Why something happened, for a journal: what was said twice once, and not too much."""
    return textwrap.shorten(" ".join(dict.fromkeys(said.splitlines())), _LONGEST_WHY, placeholder=" ...")


def fate_when_replaced(revision: Revision, *, why: str) -> Fate:
    """What to remember of a revision when another takes its place: one that was never ready has not served."""
    if revision.was_ready:
        return Outcome.REPLACED, why
    said = "\n".join(line for line in revision.message.splitlines() if line != STILL_ANSWER)
    if revision.state is EndpointState.ERROR:
        return Outcome.COULD_NOT_START, in_one_line(said)
    return Outcome.NEVER_READY, in_one_line(f"{why} before it was ready\n{said}")


def history(journal: Journal, revisions: tuple[Revision, ...]) -> tuple[Entry, ...]:
    """All that is known of an endpoint's revisions: what was remembered, and those that run but never were.

    Of one that serves and is in error, why is what is said of the error.
    """
    known = {entry.number: entry for entry in journal.history}
    for revision in revisions:
        outcome = Outcome.SERVING if revision.share_percent == 100 else Outcome.UNDER_WAY
        unknown = Entry(
            number=revision.number, spec=revision.spec, started_at=revision.spec.created_at, outcome=outcome
        )
        known[revision.number] = _seen(known.get(revision.number, unknown), revision)
    return tuple(known[number] for number in sorted(known))


def parts(revisions: tuple[Revision, ...], rollout: Rollout | None) -> tuple[Revision, Revision] | None:
    """The old and the new revision of the rollout under way, whether anything was remembered of it; else None."""
    if len(revisions) < 2:
        return None
    by_number = {revision.number: revision for revision in revisions}
    if rollout and rollout.old in by_number and rollout.new in by_number:
        return by_number[rollout.old], by_number[rollout.new]
    ordered = sorted(revisions, key=lambda revision: revision.number)
    return ordered[0], ordered[-1]


def outlived(revisions: tuple[Revision, ...], journal: Journal) -> Revision | None:
    """A revision whose end is written down and that is still there: who ended the rollout was killed before it went."""
    if len(revisions) < 2 or journal.rollout is not None:
        return None
    over = {entry.number for entry in journal.history if entry.ended_at}
    return next((one for one in revisions if one.share_percent == 0 and one.number in over), None)


def may_move(reference: str) -> str:
    """What to remember of how a version was named: empty where it cannot come to mean another one."""
    name = reference.removeprefix("model://")
    return "" if "/" in name else name


def earlier(entries: tuple[Entry, ...], *, serving: int) -> Entry | None:
    """The revision to go back to: the newest one that has served before the present one; None where there is none."""
    served = [entry for entry in entries if entry.number < serving and entry.outcome is Outcome.REPLACED]
    return max(served, key=lambda entry: entry.number, default=None)


def _seen(entry: Entry, revision: Revision) -> Entry:
    """What is known of a revision that runs, with how it does."""
    # a change in place may have kept the number: what runs is what counts
    entry = replace(entry, spec=revision.spec)
    if entry.outcome is not Outcome.SERVING or revision.state is not EndpointState.ERROR:
        return entry
    outcome = Outcome.SERVING if revision.was_ready else Outcome.COULD_NOT_START
    return replace(entry, outcome=outcome, why=in_one_line(revision.message) or entry.why)


def _changed(journal: Journal, number: int, change: Callable[[Entry], Entry]) -> Journal:
    changed = (change(entry) if entry.number == number else entry for entry in journal.history)
    return replace(journal, history=tuple(changed))
