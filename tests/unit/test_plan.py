"""Plans are pure, stable, and empty once they have been carried out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.errors import SpecError
from ai_how.plan.compute import changes_since, compute_plan, describe_changes
from ai_how.plan.document import plan_from_json, plan_to_json
from ai_how.plan.model import Condition, Observed, Plan, Resource, Verb

NAMES = ["a", "b", "c", "d", "e"]


def healthy(resource: Resource) -> Observed:
    return Observed(name=resource.name, condition=Condition.HEALTHY, settings=resource.settings)


@st.composite
def desired_resources(draw: st.DrawFn) -> list[Resource]:
    """Up to five resources that need only earlier ones, in any order."""
    chosen = draw(st.lists(st.sampled_from(NAMES), unique=True))
    resources = []
    for index, name in enumerate(chosen):
        needs = draw(st.lists(st.sampled_from(chosen[:index]), unique=True)) if index else []
        settings = {"port": draw(st.integers(1, 3))}
        resources.append(Resource(name=name, settings=settings, needs=tuple(needs)))
    return draw(st.permutations(resources))


@st.composite
def observations(draw: st.DrawFn) -> dict[str, Observed]:
    found = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        condition = draw(st.sampled_from(list(Condition)))
        settings = None if condition is Condition.ABSENT else {"port": draw(st.integers(1, 3))}
        found[name] = Observed(name=name, condition=condition, settings=settings)
    return found


@given(desired_resources(), observations())
def test_a_plan_is_the_same_for_the_same_input(desired: list[Resource], observed: dict[str, Observed]) -> None:
    first = compute_plan("demo", desired, observed)
    again = compute_plan("demo", list(reversed(desired)), dict(reversed(list(observed.items()))))
    assert json.dumps(plan_to_json(first)) == json.dumps(plan_to_json(again))


@given(desired_resources(), observations())
def test_an_action_comes_after_what_it_waits_for(desired: list[Resource], observed: dict[str, Observed]) -> None:
    done: set[str] = set()
    for action in compute_plan("demo", desired, observed).actions:
        assert set(action.after) <= done
        done.add(action.resource)


@given(desired_resources())
def test_a_second_plan_is_empty(desired: list[Resource]) -> None:
    assert compute_plan("demo", desired, {r.name: healthy(r) for r in desired}).empty


@given(desired_resources(), observations())
def test_a_plan_survives_its_file(desired: list[Resource], observed: dict[str, Observed]) -> None:
    plan = compute_plan("demo", desired, observed)
    assert plan_from_json(json.dumps(plan_to_json(plan))) == plan


def verbs(plan: Plan) -> dict[str, Verb]:
    return {action.resource: action.verb for action in plan.actions}


def test_each_condition_has_its_verb() -> None:
    def seen(name: str, condition: Condition, port: int = 1) -> Observed:
        return Observed(name=name, condition=condition, settings={"port": port})

    names = ("absent", "stopped", "starting", "failing", "changed", "fine")
    desired = [Resource(name=name, settings={"port": 1}) for name in names]
    observed = {
        "absent": Observed(name="absent", condition=Condition.ABSENT),
        "stopped": seen("stopped", Condition.STOPPED),
        "starting": seen("starting", Condition.STARTING),
        "failing": seen("failing", Condition.FAILING),
        "changed": seen("changed", Condition.HEALTHY, port=2),
        "fine": seen("fine", Condition.HEALTHY),
        "unwanted": seen("unwanted", Condition.STOPPED),
    }
    assert verbs(compute_plan("demo", desired, observed)) == {
        "absent": Verb.CREATE,
        "stopped": Verb.START,
        "starting": Verb.START,
        "failing": Verb.REPAIR,
        "changed": Verb.UPDATE,
        "unwanted": Verb.DELETE,
    }


def test_an_update_names_what_changed() -> None:
    old = {"ports": {"s3": 1}, "argv": ["x"]}
    new = {"ports": {"s3": 2}, "argv": ["x"]}
    plan = compute_plan(
        "demo",
        [Resource(name="store", settings=new)],
        {"store": Observed(name="store", condition=Condition.HEALTHY, settings=old)},
    )
    assert plan.actions[0].reason == "ports.s3: 1 -> 2"


def test_a_plan_says_what_changed_since() -> None:
    resource = Resource(name="store", settings={"port": 1})
    before = {"store": healthy(resource)}
    plan = compute_plan("demo", [resource], before)
    stopped = {"store": Observed(name="store", condition=Condition.STOPPED, settings={"port": 1})}
    assert changes_since(plan, before) == []
    assert len(changes_since(plan, stopped)) == 1
    assert "stopped" in changes_since(plan, stopped)[0]


def test_a_circle_is_a_defect() -> None:
    circle = [Resource(name="a", needs=("b",)), Resource(name="b", needs=("a",))]
    with pytest.raises(ValueError, match="circle"):
        compute_plan("demo", circle, {})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "other"}', '{"format": "ai-how/plan/v1"}', '{"format": "ai-how/plan/v1", "site": 1}'],
)
def test_a_damaged_plan_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan_from_json(text)
    assert "ai-how plan" in caught.value.next_step


@given(st.text())
def test_no_text_crashes_the_reader(text: str) -> None:
    with pytest.raises(SpecError):
        plan_from_json(text)


def test_a_changed_setting_in_a_file_is_told_by_its_name() -> None:
    old = {"files": {"/site/conf/gateway.json": '{\n "port": 1,\n "serving": {"context_tokens": 2048}\n}\n'}}
    new = {"files": {"/site/conf/gateway.json": '{\n "port": 1,\n "serving": {"context_tokens": 1024}\n}\n'}}
    assert describe_changes(old, new) == ["gateway.json: serving.context_tokens: 2048 -> 1024"]


def test_a_change_is_told_on_one_line() -> None:
    (line,) = describe_changes({"text": "a\nb"}, {"text": "{\n" + "x" * 90 + "\n}"})
    assert "\n" not in line
    assert line.startswith("text: a b -> { xxx")
