"""Which revision gets a request, and what a record becomes by what is asked for."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.rollout.journal import KEPT, Outcome
from ai_how.endpoints.types import Autoscaling, EndpointSpec
from ai_how.errors import ConflictError, NotFoundError, SpecError
from ai_how.gateway.record_changes import with_revision, with_shares, with_spec, without_revision
from ai_how.gateway.records import Record, first_record, parse_record
from ai_how.gateway.shares import Turns, check_shares

SPEC = EndpointSpec(
    name="m", model_name="m", model_version=1, model_uri="s3://models/m/1", model_digest="1" * 64, engine="llamacpp"
)
NEXT = replace(SPEC, model_version=2, model_digest="2" * 64)
NOW = "2026-01-01T00:00:00+00:00"

# cuts of 0..100 make shares that add up to 100
all_shares = st.lists(st.integers(0, 100), min_size=0, max_size=4).map(
    lambda cuts: dict(enumerate([b - a for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 100], strict=True)], 1))
)


@given(all_shares, st.integers(0, 300))
def test_of_any_hundred_requests_each_revision_gets_its_share(shares: dict[int, int], skipped: int) -> None:
    turns = Turns(shares)
    for _ in range(skipped):
        turns.next()
    seen = Counter(turns.next() for _ in range(100))
    assert sum(seen.values()) == 100
    for number, share in shares.items():
        assert abs(seen[number] - share) <= len(shares)
        assert share or not seen[number], "who has no share gets nothing"


@given(all_shares)
def test_the_first_hundred_requests_are_dealt_out_exactly(shares: dict[int, int]) -> None:
    turns = Turns(shares)
    seen = Counter(turns.next() for _ in range(100))
    assert dict(seen) == {number: share for number, share in shares.items() if share}


def test_a_small_share_is_spread_out() -> None:
    turns = Turns({1: 90, 2: 10})
    order = [turns.next() for _ in range(100)]
    places = [place for place, number in enumerate(order) if number == 2]
    assert {later - earlier for earlier, later in itertools.pairwise(places)} == {10}


@pytest.mark.parametrize("shares", [{}, {1: 50}, {1: 150, 2: -50}, {1: 100, 2: 1}])
def test_shares_that_do_not_add_up_are_refused(shares: dict[int, int]) -> None:
    with pytest.raises(SpecError, match="add up to 100"):
        check_shares(shares, numbers=frozenset({1, 2}))


def test_shares_of_a_revision_that_is_not_there_are_refused() -> None:
    with pytest.raises(SpecError, match="no revision 3"):
        check_shares({1: 50, 3: 50}, numbers=frozenset({1, 2}))


def test_a_rollout_from_beginning_to_end() -> None:
    record = with_revision(first_record(SPEC), NEXT, at=NOW)
    assert record.shares == {1: 100, 2: 0}
    assert record.main.spec == SPEC
    record = with_shares(record, {1: 50, 2: 50})
    assert record.main.number == 1, "of two alike the one that was there first"
    record = with_shares(record, {2: 100})
    assert record.main.number == 2
    record = without_revision(record, 1, at=NOW)
    assert record.shares == {2: 100}
    assert [(one.number, one.outcome) for one in record.journal.history] == [
        (1, Outcome.REPLACED),
        (2, Outcome.SERVING),
    ]
    assert parse_record_again(record) == record


def test_a_revision_that_goes_before_it_served_was_rolled_back_and_its_number_is_not_used_again() -> None:
    record = without_revision(with_revision(first_record(SPEC), NEXT, at=NOW), 2, at=NOW)
    assert [(one.number, one.outcome) for one in record.journal.history][1] == (2, Outcome.ROLLED_BACK)
    assert with_revision(record, NEXT, at=NOW).shares == {1: 100, 3: 0}


def test_what_must_not_be_is_refused() -> None:
    record = with_revision(first_record(SPEC), NEXT, at=NOW)
    with pytest.raises(ConflictError, match="rollout of m is under way"):
        with_revision(record, NEXT, at=NOW)
    with pytest.raises(ConflictError, match="rollout of m is under way"):
        with_spec(record, NEXT, at=NOW)
    with pytest.raises(ConflictError, match="still gets 100 %"):
        without_revision(record, 1, at=NOW)
    with pytest.raises(NotFoundError):
        without_revision(record, 7, at=NOW)
    with pytest.raises(ConflictError, match="still gets 100 %"):
        without_revision(first_record(SPEC), 1, at=NOW)
    stopped = with_spec(first_record(SPEC), replace(SPEC, stopped=True), at=NOW)
    with pytest.raises(ConflictError, match="is stopped"):
        with_revision(stopped, NEXT, at=NOW)


def test_bounds_are_each_revisions_own_but_stopped_are_all() -> None:
    record = with_revision(first_record(SPEC), NEXT, at=NOW)
    wanted = replace(SPEC, stopped=True, autoscaling=Autoscaling(min_replicas=0, max_replicas=3))
    changed = with_spec(record, wanted, at=NOW)
    assert [one.spec.stopped for one in changed.revisions] == [True, True]
    assert [one.spec.autoscaling.max_replicas for one in changed.revisions] == [3, 1]
    assert changed.journal == record.journal


def test_a_change_in_place_keeps_its_replicas_and_gets_a_number() -> None:
    record = with_spec(first_record(SPEC), NEXT, at=NOW)
    (revision,) = record.revisions
    assert (revision.number, revision.first, record.next_number) == (2, 1, 3)
    assert [one.outcome for one in record.journal.history] == [Outcome.REPLACED, Outcome.SERVING]


def test_the_oldest_revisions_are_forgotten() -> None:
    record = first_record(SPEC)
    for version in range(2, KEPT + 10):
        record = with_spec(record, replace(SPEC, model_version=version), at=NOW)
    assert len(record.journal.history) == KEPT
    assert record.journal.history[-1].number == KEPT + 9 == record.main.number
    assert process_digest(record.journal.history[-1].spec) == process_digest(record.main.spec)


def parse_record_again(record: Record) -> Record:
    return parse_record(json.loads(json.dumps(asdict(record))), name="m")
