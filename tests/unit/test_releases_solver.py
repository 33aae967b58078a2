"""The solver and its explanations, on small worlds that are also solved by trying everything."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ai_how.errors import AiHowError, NotFoundError, SpecError
from ai_how.releases.conflict import Conflict, Solution, solve
from ai_how.releases.explain import explain
from ai_how.releases.pins import Pin, make_pin, parse_constraint, parse_pin, parse_version
from ai_how.releases.world import World
from tests.unit.worlds import CONSTRAINTS, VERSIONS, by_trying, is_whole, make_world, questions

Question = tuple[World, tuple[str, ...], list[Pin]]
CHAIN = {
    "installer": {"1.0": (("cluster", "=1"),), "2.0": (("cluster", "=2"), ("system", ">=2"))},
    "cluster": {"1.0": (), "1.1": (), "2.0": ()},
    "system": {"1.0": (), "2.0": ()},
    "addon": {"1.0": (("cluster", "<2"),), "2.0": (("cluster", ">=2"),)},
}


@settings(max_examples=60, deadline=None)
@given(questions())
def test_the_answer_is_the_one_that_trying_everything_finds(question: Question) -> None:
    world, wanted, pins = question
    assume(by_trying(world, wanted, ()) is not None)
    answer = solve(pins, world=world, wanted=wanted)
    expected = by_trying(world, wanted, pins)
    assert (dict(answer.versions) if isinstance(answer, Solution) else None) == expected


@settings(max_examples=60, deadline=None)
@given(questions())
def test_cores_are_all_the_smallest_clashes_and_ways_out_lead_out(question: Question) -> None:
    world, wanted, pins = question
    assume(by_trying(world, wanted, ()) is not None)
    answer = solve(pins, world=world, wanted=wanted)
    assume(isinstance(answer, Conflict))
    assert isinstance(answer, Conflict)
    clashing = [
        set(subset)
        for size in range(1, len(answer.pins) + 1)
        for subset in combinations(answer.pins, size)
        if by_trying(world, wanted, subset) is None
    ]
    smallest = [subset for subset in clashing if not any(other < subset for other in clashing)]
    assert answer.complete
    assert sorted(map(str, map(sorted_pins, answer.cores))) == sorted(map(str, map(sorted_pins, smallest)))
    fewest = len(answer.ways_out[0].changes)
    order = [(len(way.changes), way.distance) for way in answer.ways_out]
    assert order == sorted(order)
    for way in answer.ways_out:
        given_up = [pin for pin, _ in way.changes]
        assert is_whole(world, way.versions, wanted, [pin for pin in answer.pins if pin not in given_up])
        assert all(way.versions.get(pin.component) == to for pin, to in way.changes)
    for fewer in combinations(answer.pins, len(answer.pins) - fewest + 1):
        assert by_trying(world, wanted, fewer) is None


def sorted_pins(pins: object) -> list[str]:
    assert isinstance(pins, (set, tuple))
    return sorted(map(str, pins))


@settings(max_examples=30, deadline=None)
@given(questions(), st.randoms())
def test_the_order_of_pins_changes_nothing(question: Question, random: object) -> None:
    world, wanted, pins = question
    assume(by_trying(world, wanted, ()) is not None)
    first = solve(pins, world=world, wanted=wanted)
    second = solve(sorted(pins, key=str, reverse=True) + pins[:1], world=world, wanted=wanted)
    if isinstance(first, Solution):
        assert isinstance(second, Solution)
        assert (first.versions, first.pins) == (second.versions, second.pins)
    else:
        assert isinstance(second, Conflict)
        assert (first.cores, first.ways_out) == (second.cores, second.ways_out)
        assert explain(first) == explain(second)


@settings(max_examples=40, deadline=None)
@given(questions())
def test_every_core_is_explained(question: Question) -> None:
    world, wanted, pins = question
    assume(by_trying(world, wanted, ()) is not None)
    answer = solve(pins, world=world, wanted=wanted)
    assume(isinstance(answer, Conflict))
    assert isinstance(answer, Conflict)
    explanations = explain(answer)
    assert len(explanations) == len(answer.cores)
    assert all(statement.text for statements in explanations for statement in statements)


def test_an_explanation_names_the_component_on_which_pins_part() -> None:
    answer = solve(["system=1.0", "addon=2.0"], world=make_world(CHAIN), wanted=["installer"])
    assert isinstance(answer, Conflict)
    texts = [statement.text for statement in explain(answer)[0]]
    assert texts[0].startswith("System 1.0 goes only with Installer 1.0")
    assert texts[-1].startswith("so no version of ")
    sources = {source for statement in explain(answer)[0] for source in statement.sources}
    assert "addon 2.0 about cluster (read 2026-01-01)" in sources


def test_what_must_be_there_is_a_reason_too() -> None:
    world = make_world(CHAIN | {"tool": {"1.0": (("cluster", ">=2"),)}})
    answer = solve(["cluster=1.0"], world=world, wanted=["tool"])
    assert isinstance(answer, Conflict)
    assert "Tool, which must be there, goes only with Cluster 2.0" in [each.text for each in explain(answer)[0]]


def test_a_version_that_nobody_knows_is_a_conflict_of_its_own_with_the_nearest_as_way_out() -> None:
    answer = solve(["cluster=1.5"], world=make_world(CHAIN), wanted=["installer"])
    assert isinstance(answer, Conflict)
    said = explain(answer)[0][0].text
    assert "no known version of Cluster matches cluster=1.5; known are " in said
    # one by one: a range would be read as if what is asked for were in it
    assert " to " not in said
    assert answer.ways_out[0].changes[0][1] == "2.0"


def test_the_nearest_series_wins_and_in_it_the_newest() -> None:
    facts = {
        "tool": {"1.0": (("cluster", "<1.4"),)},
        "cluster": {"1.1.0": (), "1.2.0": (), "1.2.9": (), "1.4.0": (), "1.5.0": ()},
    }
    answer = solve(["cluster=1.5", "tool"], world=make_world(facts), wanted=[])
    assert isinstance(answer, Conflict)
    assert answer.ways_out[0].changes == ((make_pin("cluster", "=1.5"), "1.2.9"),)


def test_the_smallest_sum_of_changes_wins_over_the_nearest_first_change() -> None:
    facts = {
        "tool": {"1.0": (("a", "=1.1"), ("b", "=1.0")), "2.0": (("a", "=1.2"), ("b", "=1.4"))},
        "a": {f"1.{minor}": () for minor in range(4)},
        "b": {f"1.{minor}": () for minor in range(6)},
    }
    answer = solve(["a=1.3", "b=1.5", "tool"], world=make_world(facts), wanted=[])
    assert isinstance(answer, Conflict)
    way = next(way for way in answer.ways_out if len(way.changes) == 2)
    assert [to for _, to in way.changes] == ["1.2", "1.4"]


def test_many_pins_on_one_component_are_bounded_and_still_answered() -> None:
    world = make_world({"a": {f"1.{minor}": () for minor in range(30)}})
    answer = solve([f"a=1.{minor}" for minor in range(12)], world=world, wanted=[])
    assert isinstance(answer, Conflict)
    assert all(len(core) == 2 for core in answer.cores)
    assert len(answer.ways_out[0].changes) == 11


def test_facts_without_any_set_are_an_error_not_a_conflict_of_pins() -> None:
    world = make_world({"a": {"1.0": (("b", ">=2"),)}, "b": {"1.0": ()}})
    with pytest.raises(AiHowError, match="leave no set at all"):
        solve(["b=1.0"], world=world, wanted=["a"])


@given(st.sampled_from(CONSTRAINTS), st.sampled_from(VERSIONS))
def test_not_equal_is_the_opposite_of_equal(text: str, version: str) -> None:
    if text.startswith("=") and "|" not in text:
        assert parse_constraint("!" + text).matches(version) != parse_constraint(text).matches(version)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_every_version_is_at_most_or_at_least_any_other(left: list[int], right: list[int]) -> None:
    first, second = (".".join(map(str, numbers)) for numbers in (left, right))
    assert parse_constraint(f">={second}").matches(first) or parse_constraint(f"<{second}").matches(first)
    assert parse_constraint(f"={first}").matches(first)
    assert (parse_version(first) < parse_version(second)) == parse_constraint(f"<{second}").matches(first)


@pytest.mark.parametrize(
    ("pin", "matching", "others"),
    [
        ("a=1.34", ["1.34.0", "1.34.11"], ["1.3.4", "1.35.0"]),
        ("a=1.28.0", ["1.28.0"], ["1.28.1", "1.28.10"]),
        ("a==v2", ["2.0", "2.9"], ["20.0"]),
        ("a>=1.7.23,<2.3", ["1.7.23", "2.2.9"], ["1.7.3", "2.3.0"]),
        ("a=debian-13|>=ubuntu-22.04", ["debian-13", "ubuntu-24.04"], ["debian-14", "ubuntu-20.04", "22.04"]),
        ("a>1.28", ["1.28.1"], ["1.28", "1.28.0"]),
        ("a != 1.28", ["1.29.0"], ["1.28.3"]),
        ("a", ["1.0", "debian-1"], []),
    ],
)
def test_what_a_pin_takes(pin: str, matching: list[str], others: list[str]) -> None:
    constraint = parse_pin(pin).constraint
    assert [version for version in (*matching, *others) if constraint.matches(version)] == matching


@given(st.text(max_size=12))
def test_any_text_is_a_pin_or_one_clear_error(text: str) -> None:
    try:
        pin = parse_pin(text)
    except SpecError as error:
        assert error.next_step
    else:
        assert parse_pin(str(pin)) == pin


@pytest.mark.parametrize("text", ["", "=1.0", "a=", "a=1.x", "a 1.0", "a=1|", "a>=", "a=1.0-rc1", "a~1"])
def test_a_text_that_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is no pin"):
        parse_pin(text)


def test_a_mapping_of_pins_reads_a_bare_version_as_equal_and_latest_as_any() -> None:
    world = make_world(CHAIN)
    assert isinstance(solve({"cluster": "1", "system": "latest"}, world=world, wanted=[]), Solution)
    assert make_pin("cluster", "1.34") == parse_pin("cluster=1.34")


def test_an_unknown_component_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFoundError) as caught:
        solve(["clutser=1"], world=make_world(CHAIN), wanted=[])
    assert "cluster" in caught.value.evidence
