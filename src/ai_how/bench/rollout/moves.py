"""The single moves of a rollout: begin, give a share, end; each is written into the endpoint's journal.

Every move may be made again, so that one that was broken off can be finished by another command.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import (
    Entry,
    Journal,
    Options,
    Outcome,
    RollingEndpoints,
    Rollout,
    begun,
    earlier,
    ended,
    explained,
    fate_when_replaced,
    history,
    outlived,
    parts,
    serves,
)
from ai_how.endpoints.types import EndpointSpec, EndpointState, served_text
from ai_how.errors import AiHowError, ConflictError, NotFoundError, ProviderError, TryAgainError

_TRIES = 45
_PAUSE_S = 1.0
"""A gateway that died is back within seconds, on a busy machine within some more."""
_POLL_S = 0.1
_USUAL = Options()


def now() -> str:
    """The time, as journals have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def label(revision: Revision) -> str:
    """A revision as people read it, with the adapters that share its base."""
    return f"revision {revision.number} ({served_text(revision.spec)})"


def begin(
    endpoints: RollingEndpoints,
    spec: EndpointSpec,
    steps: tuple[int, ...],
    *,
    id_: str,
    back_to: int = 0,
    options: Options = _USUAL,
) -> Rollout:
    """Start a revision without a share, and write down that a rollout is under way.

    Args:
        back_to: The revision whose version is to serve again, where this is the way back to it.

    Raises:
        ConflictError: one is under way already.
    """
    name = spec.name
    remove_outlived(endpoints, name)
    revisions = endpoints.revisions(name)
    if len(revisions) > 1:
        raise under_way(name, endpoints.journal(name).rollout)
    (old,) = revisions
    new = endpoints.add_revision(spec)
    at = now()
    rollout = Rollout(
        id=id_,
        old=old.number,
        new=new.number,
        steps=steps,
        started_at=at,
        heard_at=at,
        back_to=back_to,
        options=options,
    )
    journal = _with_entries(endpoints.journal(name), (old, new), at=at)
    endpoints.keep_journal(name, replace(journal, rollout=rollout))
    return rollout


def under_way(name: str, rollout: Rollout | None = None) -> ConflictError:
    """The error that says what to do about a rollout that is there already."""
    if rollout is not None and rollout.back_to:
        return ConflictError(
            f"a rollback of {name} is under way, to what revision {rollout.back_to} served",
            evidence="see how far it is: ai-how deploy status " + name,
            next_step=f"ai-how deploy rollback {name}    or end it: ai-how deploy rollback {name} --to {rollout.old}",
        )
    return ConflictError(
        f"a rollout of {name} is under way",
        evidence="see how far it is: ai-how deploy status " + name,
        next_step=f"ai-how deploy update {name} --resume    or end it: ai-how deploy rollback {name}",
    )


def to_go_on_with(endpoints: RollingEndpoints, name: str) -> tuple[Revision, Revision, Rollout | None]:
    """The rollout that is under way: the old revision, the new one, and what was written down of it.

    Raises:
        NotFoundError: there is none.
        ConflictError: it is a way back, of which nothing is measured.
    """
    journal = endpoints.journal(name)
    pair = parts(endpoints.revisions(name), journal.rollout)
    if pair is None:
        raise NotFoundError(f"no rollout of {name} is under way", next_step=f"ai-how deploy update {name}")
    old, new = pair
    known = journal.rollout
    if known is None or (known.old, known.new) != (old.number, new.number):
        return old, new, None
    if known.back_to:
        raise under_way(name, known)
    return old, new, known


def take_up(
    endpoints: RollingEndpoints,
    name: str,
    steps: tuple[int, ...],
    *,
    id_: str,
    anew: bool = False,
    options: Options = _USUAL,
) -> Rollout:
    """Go on with the rollout that is under way: what is left of it, from the step that it was at.

    A command that still drives it learns of this and leaves it alone.

    Args:
        steps: Of a rollout of which nothing was written down, because its command was killed before.
        anew: These steps are wanted whatever was written down.
        options: How it goes on.

    Raises:
        NotFoundError: there is none.
        ConflictError: it is a way back, of which nothing is measured.
    """
    old, new, known = to_go_on_with(endpoints, name)
    if known is not None and not anew:
        steps = known.steps
    reached = max((share for share in steps if share <= new.share_percent), default=0)
    rollout = Rollout(
        id=id_,
        old=old.number,
        new=new.number,
        steps=tuple(share for share in steps if share >= reached),
        started_at=known.started_at if known else new.spec.created_at,
        heard_at=now(),
        options=options,
    )
    journal = _with_entries(endpoints.journal(name), (old, new), at=now())
    endpoints.keep_journal(name, replace(journal, rollout=rollout))
    return rollout


def wait_until_ready(
    endpoints: RollingEndpoints, name: str, number: int, timeout_s: float, stopped: Callable[[], bool]
) -> None:
    """Return when a replica of the revision has been ready, or when ``stopped``.

    Raises:
        ProviderError: it cannot start; the evidence is what the engine said.
        TryAgainError: not in time.
        ConflictError: the revision was removed meanwhile.
    """
    deadline = time.monotonic() + timeout_s
    while not stopped():
        found = _find(endpoints, name, number)
        if found.state is EndpointState.RUNNING:
            return
        if found.state is EndpointState.ERROR:
            raise ProviderError(f"revision {number} cannot start", evidence=found.message)
        if time.monotonic() > deadline:
            raise TryAgainError(f"revision {number} is not ready after {timeout_s:g} s", evidence=found.message)
        time.sleep(_POLL_S)


def replicas(endpoints: RollingEndpoints, name: str, number: int) -> dict[str, int]:
    """The restarts of each of a revision's replicas, by the replica's name."""
    return {one.name: one.restarts for one in endpoints.get(name).replicas if one.revision == number}


def step(endpoints: RollingEndpoints, name: str, rollout: Rollout, number: int, share: int) -> None:
    """Give the new revision a share, the old one the rest.

    Raises:
        ConflictError: another command has ended it meanwhile, or goes on with it.
    """
    hear(endpoints, name, rollout, number)
    _find(endpoints, name, rollout.new)
    endpoints.set_shares(name, {rollout.old: 100 - share, rollout.new: share})


def hear(endpoints: RollingEndpoints, name: str, rollout: Rollout, number: int, *, held: bool = False) -> None:
    """Write down that the rollout goes on, at which step, or that it is left there.

    Raises:
        ConflictError: another command has ended it meanwhile, or goes on with it.
    """
    journal = endpoints.journal(name)
    if journal.rollout is None or journal.rollout.id != rollout.id:
        raise ConflictError(f"the rollout of {name} was ended or taken over by another command")
    endpoints.keep_journal(name, replace(journal, rollout=replace(rollout, step=number, heard_at=now(), held=held)))


def keep_only(endpoints: RollingEndpoints, name: str, *, kept: int, gone: int, why: str, finish: str = "") -> None:
    """One revision gets all requests, the other is drained and stopped; why is written down.

    Args:
        finish: The command that finishes this, should it fail; else a rollback does.

    Raises:
        ConflictError: another command has removed the one to keep.
        TryAgainError: the place where it runs does not answer; doing it again finishes it.
        ProviderError: it cannot write that down, as where its disk is full; doing it again finishes it.
    """

    def give_all() -> None:
        _find(endpoints, name, kept)
        # the other one may have gone already, by another command that does the same
        endpoints.set_shares(name, {kept: 100})

    _again(give_all, name, finish)
    _again(lambda: _write_end(endpoints, name, kept=kept, gone=gone, why=why), name, finish)
    _again(lambda: _remove(endpoints, name, gone), name, finish)


def remove_outlived(endpoints: RollingEndpoints, name: str) -> Revision | None:
    """Finish the end of a rollout whose command was killed before it had removed a revision; that revision."""
    left = outlived(endpoints.revisions(name), endpoints.journal(name))
    if left is not None:
        _again(lambda: _remove(endpoints, name, left.number), name)
    return left


def end_rollout(endpoints: RollingEndpoints, name: str, *, why: str) -> tuple[Revision, Revision] | None:
    """Roll back the rollout that is under way; the revision that stays and the one that went, None where there is none.

    Raises:
        NotFoundError: there is no endpoint of that name.
    """
    journal = endpoints.journal(name)
    pair = parts(endpoints.revisions(name), journal.rollout)
    if pair is None:
        return None
    keep_only(endpoints, name, kept=pair[0].number, gone=pair[1].number, why=why)
    return pair


def go_back(
    endpoints: RollingEndpoints, name: str, *, to: int | None, timeout_s: float, stopped: Callable[[], bool]
) -> tuple[Revision, Revision]:
    """Serve an earlier revision's version again, as a new revision: all requests at once, when it is ready.

    Returns:
        The revision that went and the one that serves now.

    Raises:
        NotFoundError: there is no such revision in the history, or none that has served before.
        ProviderError: it cannot start; the present one goes on serving.
    """
    entry, present = choose_earlier(endpoints, name, to=to)
    spec = replace(entry.spec, stopped=False, autoscaling=present.spec.autoscaling)
    rollout = begin(endpoints, spec, (100,), id_=f"back-{entry.number}", back_to=entry.number)
    return finish_going_back(endpoints, name, rollout, timeout_s=timeout_s, stopped=stopped)


def finish_going_back(
    endpoints: RollingEndpoints, name: str, rollout: Rollout, *, timeout_s: float, stopped: Callable[[], bool]
) -> tuple[Revision, Revision]:
    """Go on with a way back, from wherever it is; more than one command may do so at once.

    Returns:
        The revision that went and the one that serves now.

    Raises:
        ProviderError: it cannot start; the present one goes on serving.
        ConflictError: another command has ended it.
    """
    present, found = _find(endpoints, name, rollout.old), _find(endpoints, name, rollout.new)
    try:
        wait_until_ready(endpoints, name, rollout.new, timeout_s, stopped)
    except ConflictError:
        raise
    except AiHowError as error:
        keep_only(endpoints, name, kept=rollout.old, gone=rollout.new, why=error.brief)
        raise
    except BaseException:
        keep_only(endpoints, name, kept=rollout.old, gone=rollout.new, why="interrupted")
        raise
    if stopped():
        keep_only(endpoints, name, kept=rollout.old, gone=rollout.new, why="interrupted")
        raise TryAgainError("interrupted", next_step=f"ai-how deploy rollback {name}")
    why = f"went back to what revision {rollout.back_to} served"
    keep_only(endpoints, name, kept=rollout.new, gone=rollout.old, why=why)
    return present, found


def choose_earlier(endpoints: RollingEndpoints, name: str, *, to: int | None) -> tuple[Entry, Revision]:
    """The revision in the history to go back to, and the one that serves.

    Raises:
        NotFoundError: there is none.
        ConflictError: it serves already.
    """
    revisions = endpoints.revisions(name)
    entries = history(endpoints.journal(name), revisions)
    present = max(revisions, key=lambda one: (one.share_percent, -one.number))
    next_step = f"ai-how deploy history {name}"
    if to is None:
        entry = earlier(entries, serving=present.number)
        if entry is None:
            raise NotFoundError(f"{name} has no earlier revision that has served", next_step=next_step)
        return entry, present
    entry = next((one for one in entries if one.number == to), None)
    if entry is None:
        known = ", ".join(str(one.number) for one in entries)
        raise NotFoundError(f"{name} has no revision {to}", evidence=f"known: {known}", next_step=next_step)
    if to == present.number:
        raise ConflictError(f"revision {to} of {name} serves already", next_step=next_step)
    return entry, present


def _write_end(endpoints: RollingEndpoints, name: str, *, kept: int, gone: int, why: str) -> None:
    journal, at = endpoints.journal(name), now()
    journal = serves(journal, kept)
    if kept > gone:
        journal = explained(journal, kept, why)
        outcome, end = Outcome.REPLACED, f"replaced by revision {kept}"
        left = next((one for one in endpoints.revisions(name) if one.number == gone), None)
        if left is not None:
            outcome, end = fate_when_replaced(left, why=end)
        journal = ended(journal, gone, outcome, at=at, why=end)
    else:
        journal = ended(journal, gone, Outcome.ROLLED_BACK, at=at, why=why)
    endpoints.keep_journal(name, replace(journal, rollout=None))


def _with_entries(journal: Journal, revisions: tuple[Revision, Revision], *, at: str) -> Journal:
    """The journal with both revisions in it, whether or not who serves them has written them down."""
    old, new = revisions
    if journal.entry(old.number) is None:
        journal = begun(journal, old.number, old.spec, at=old.spec.created_at, outcome=Outcome.SERVING)
    if journal.entry(new.number) is None:
        journal = begun(journal, new.number, new.spec, at=at, outcome=Outcome.UNDER_WAY)
    return journal


def _remove(endpoints: RollingEndpoints, name: str, number: int) -> None:
    if any(one.number == number for one in endpoints.revisions(name)):
        with suppress(NotFoundError):  # another command has removed it meanwhile
            endpoints.remove_revision(name, number)


def _find(endpoints: RollingEndpoints, name: str, number: int) -> Revision:
    found = next((one for one in endpoints.revisions(name) if one.number == number), None)
    if found is None:
        raise ConflictError(f"revision {number} of {name} was removed by another command")
    return found


def _again(move: Callable[[], None], name: str, finish: str = "") -> None:
    """Make a move, again where the place does not answer for a moment: a gateway that is started anew."""
    finish = finish or f"ai-how deploy rollback {name}"
    for attempt in range(_TRIES):
        try:
            move()
        except TryAgainError as error:
            if attempt == _TRIES - 1:
                raise TryAgainError(
                    f"the rollout of {name} could not be ended",
                    evidence=error.evidence or error.brief,
                    next_step=f"ai-how status, then: {finish}",
                ) from error
            time.sleep(_PAUSE_S)
        except ProviderError as error:
            # the same command again is not what ends a rollout
            mend = error.next_step.removesuffix(", then run the same command again") or "mend that"
            raise ProviderError(
                f"the rollout of {name} could not be ended: {error.brief}",
                evidence=f"{error.evidence}\nsee how its shares stand: ai-how deploy status {name}".strip(),
                next_step=f"{mend}, then: {finish}",
            ) from error
        else:
            return
