"""What a record becomes by what the admin API asks for. Pure: a record in, the next one out, or why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.rollout.journal import Fate, Journal, Outcome, after_removal, after_shares, begun, ended
from ai_how.endpoints.types import EndpointSpec
from ai_how.errors import ConflictError, NotFoundError
from ai_how.gateway.records import Record, RevisionRecord
from ai_how.gateway.shares import check_shares

AT_ONCE = "replaced at once"


def with_spec(record: Record, spec: EndpointSpec, *, at: str, fate: Fate = (Outcome.REPLACED, AT_ONCE)) -> Record:
    """The endpoint follows another spec in place: a new number where it needs other processes.

    Args:
        fate: What then becomes of the revision that was.

    Raises:
        ConflictError: it does, and a rollout is under way.
    """
    main = record.main
    anew = process_digest(spec) != process_digest(main.spec)
    if anew and len(record.revisions) > 1:
        raise ConflictError(
            f"a rollout of {spec.name} is under way",
            next_step=f"ai-how deploy rollback {spec.name} ends it",
        )
    if anew:
        number = record.next_number
        journal = begun(record.journal, number, spec, at=at, outcome=Outcome.SERVING)
        outcome, why = fate
        journal = ended(journal, main.number, outcome, at=at, why=why)
        changed = replace(main, number=number, spec=spec)
        return Record(revisions=(changed,), next_number=number + 1, journal=journal)
    return replace(record, revisions=tuple(_follow(one, main, spec) for one in record.revisions))


def _follow(revision: RevisionRecord, main: RevisionRecord, spec: EndpointSpec) -> RevisionRecord:
    """Whether they are stopped is the same for all revisions of an endpoint; the bounds are each one's own."""
    if revision is main:
        return replace(revision, spec=spec)
    return replace(revision, spec=replace(revision.spec, stopped=spec.stopped))


def with_revision(record: Record, spec: EndpointSpec, *, at: str) -> Record:
    """One more revision, with no share yet.

    Raises:
        ConflictError: there are two already, or the endpoint is stopped.
    """
    if len(record.revisions) > 1:
        raise ConflictError(
            f"a rollout of {spec.name} is under way",
            next_step=f"ai-how deploy rollback {spec.name} ends it",
        )
    if record.main.spec.stopped:
        raise ConflictError(
            f"the endpoint {spec.name!r} is stopped", next_step=f"ai-how deploy start {spec.name} --wait"
        )
    number = record.next_number
    added = RevisionRecord(number=number, first=number, share_percent=0, spec=replace(spec, stopped=False))
    return Record(
        revisions=(*record.revisions, added),
        next_number=number + 1,
        journal=begun(record.journal, number, spec, at=at, outcome=Outcome.UNDER_WAY),
    )


def with_shares(record: Record, shares: Mapping[int, int]) -> Record:
    """Another part of the requests for each revision.

    Raises:
        SpecError: they do not add up to 100, or name a revision that is not there.
    """
    checked = check_shares(shares, numbers=frozenset(record.shares))
    return replace(
        record,
        revisions=tuple(replace(one, share_percent=checked[one.number]) for one in record.revisions),
        journal=after_shares(record.journal, checked),
    )


def without_revision(record: Record, number: int, *, at: str) -> Record:
    """One revision less.

    Raises:
        NotFoundError: there is none of that number.
        ConflictError: it still has a share, or is the only one.
    """
    share = record.shares.get(number)
    if share is None:
        there = ", ".join(map(str, record.shares))
        raise NotFoundError(f"there is no revision {number}", evidence=f"there are: {there}")
    if share:
        raise ConflictError(f"revision {number} still gets {share} % of the requests")
    left = tuple(one for one in record.revisions if one.number != number)
    return replace(record, revisions=left, journal=after_removal(record.journal, number, at=at))


def with_journal(record: Record, journal: Journal) -> Record:
    """Something else is remembered."""
    return replace(record, journal=journal)
