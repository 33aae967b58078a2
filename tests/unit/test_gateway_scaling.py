"""The autoscaler's decisions: what holds for any history of demand, and the cases people will ask about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.types import EndpointState
from ai_how.gateway.scaling import (
    ERROR_AFTER_FAILURES,
    MAX_BACKOFF_S,
    Failures,
    Policy,
    ReplicaView,
    Scale,
    became_ready,
    endpoint_state,
    reconcile,
    rescale,
    unproven_replicas,
    want,
)


def policy(least: int = 0, most: int = 3, *, room: int = 4, out_s: float = 2, idle_s: float = 10) -> Policy:
    return Policy(
        min_replicas=least, max_replicas=most, requests_per_replica=room, scale_out_after_s=out_s, idle_after_s=idle_s
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    most = draw(st.integers(1, 6))
    return policy(
        draw(st.integers(0, most)),
        most,
        room=draw(st.integers(1, 8)),
        out_s=draw(st.sampled_from([0, 0.5, 3])),
        idle_s=draw(st.sampled_from([0.5, 5, 60])),
    )


histories = st.lists(st.tuples(st.floats(0, 20), st.integers(0, 60)), min_size=1, max_size=40)


@given(policies(), histories)
def test_wanted_stays_within_the_bounds_and_grows_one_by_one(policy: Policy, history: list[tuple[float, int]]) -> None:
    scale, now = Scale(), 0.0
    scale = rescale(scale, policy, demand=0, now=now)
    for passed, demand in history:
        now += passed
        before, scale = scale, rescale(scale, policy, demand=demand, now=now)
        assert policy.min_replicas <= scale.wanted <= policy.max_replicas
        assert scale.wanted >= 1 or not demand
        assert scale.wanted <= max(before.wanted, policy.min_replicas, 1) + 1
        assert list(scale.needed_at) == sorted(scale.needed_at, reverse=True)


@given(policies(), histories)
def test_what_is_needed_now_is_never_taken_away(policy: Policy, history: list[tuple[float, int]]) -> None:
    scale, now = Scale(), 0.0
    for passed, demand in history:
        now += passed
        before, scale = scale, rescale(scale, policy, demand=demand, now=now)
        needed = min(-(-demand // policy.requests_per_replica), before.wanted)
        assert scale.wanted >= needed


@given(policies(), st.integers(0, 60))
def test_steady_demand_settles(policy: Policy, demand: int) -> None:
    scale = Scale()
    for step in range(2000):
        scale = rescale(scale, policy, demand=demand, now=step * 0.5)
    needed = -(-demand // policy.requests_per_replica)
    assert scale.wanted == max(policy.min_replicas, min(needed, policy.max_replicas))


def test_the_first_request_wakes_at_once() -> None:
    assert rescale(Scale(), policy(), demand=1, now=0).wanted == 1


def test_scale_out_waits_and_a_dip_starts_the_wait_again() -> None:
    scale = rescale(Scale(), policy(), demand=5, now=0)
    assert rescale(scale, policy(), demand=5, now=1.9).wanted == 1
    assert rescale(scale, policy(), demand=5, now=2).wanted == 2
    dipped = rescale(rescale(scale, policy(), demand=4, now=1), policy(), demand=5, now=1.5)
    assert rescale(dipped, policy(), demand=5, now=3).wanted == 1
    assert rescale(dipped, policy(), demand=5, now=3.5).wanted == 2


def test_full_is_not_too_full() -> None:
    scale = rescale(Scale(), policy(), demand=4, now=0)
    assert rescale(scale, policy(), demand=4, now=100).wanted == 1


def test_idle_replicas_go_to_the_minimum() -> None:
    wide = want(Scale(), policy(1), 3, now=0)
    assert rescale(wide, policy(1), demand=1, now=9.9).wanted == 3
    assert rescale(wide, policy(1), demand=1, now=10).wanted == 1
    assert rescale(wide, policy(1), demand=5, now=10).wanted == 2


def test_a_floor_holds_until_idle_and_stays_within_the_bounds() -> None:
    assert want(Scale(), policy(1, 3), 9, now=0).wanted == 3
    assert want(Scale(), policy(1, 3), 0, now=0).wanted == 1
    raised = want(Scale(needed_at=(0.0,)), policy(1, 3), 2, now=5)
    assert rescale(raised, policy(1, 3), demand=0, now=14).wanted == 2
    assert rescale(raised, policy(1, 3), demand=0, now=15).wanted == 1


def test_a_lower_maximum_is_followed_at_once() -> None:
    assert rescale(Scale(needed_at=(5.0, 5.0, 5.0)), policy(0, 1), demand=12, now=5).wanted == 1


def view(name: str, state: str = "ready", *, current: bool = True, in_flight: int = 0, since: float = 0) -> ReplicaView:
    return ReplicaView(name=name, state=state, current=current, in_flight=in_flight, since=since)  # type: ignore[arg-type]


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.integers(1, 3))
def test_replicas_are_idle_from_ready_on_however_long_their_start(load_s: float, idle_s: float, count: int) -> None:
    bounds = policy(0, 3, idle_s=idle_s)
    scale, starting = want(Scale(), bounds, count, now=0), [view(str(i), "starting") for i in range(count)]
    for step in range(20):
        unproven = unproven_replicas(starting, Failures(), was_ready=False)
        scale = rescale(scale, bounds, demand=0, now=load_s * step / 20, unproven=unproven)
        assert scale.wanted == count
    ready = [view(str(i)) for i in range(count)]
    scale = became_ready(scale, bounds, ready, now=load_s)
    assert unproven_replicas(ready, Failures(), was_ready=True) == 0
    assert rescale(scale, bounds, demand=0, now=load_s + 0.99 * idle_s).wanted == count
    assert rescale(scale, bounds, demand=0, now=load_s + 1.01 * idle_s).wanted == 0


def test_ready_wants_no_more_than_was_wanted() -> None:
    scale = want(Scale(), policy(0), 1, now=0)
    assert became_ready(scale, policy(0), [view("a"), view("b")], now=1).needed_at == (1,)
    assert became_ready(scale, policy(0), [view("old", current=False)], now=1) == scale


def test_a_new_endpoint_is_tried_until_it_works_or_fails_again_and_again() -> None:
    once, often = Failures(count=1), Failures(count=ERROR_AFTER_FAILURES)
    assert unproven_replicas([], Failures(), was_ready=False) == 1
    assert unproven_replicas([view("a", "failed")], once, was_ready=False) == 1
    assert unproven_replicas([view("a", "failed")], often, was_ready=False) == 0
    assert unproven_replicas([view("old", current=False)], once, was_ready=False) == 1
    assert unproven_replicas([view("a", "starting")], often, was_ready=False) == 1
    assert unproven_replicas([], once, was_ready=True) == 0
    assert unproven_replicas([view("a"), view("b", "starting")], often, was_ready=True) == 2


views = st.lists(
    st.builds(
        ReplicaView,
        name=st.uuids().map(str),
        state=st.sampled_from(["starting", "ready", "asleep", "draining", "failed"]),
        current=st.booleans(),
        in_flight=st.integers(0, 4),
        since=st.floats(0, 100),
    ),
    max_size=8,
)


@given(views, st.integers(0, 5), st.booleans())
def test_actions_lead_to_the_wanted_number(replicas: list[ReplicaView], wanted: int, may_start: bool) -> None:
    actions = reconcile(replicas, wanted=wanted, may_start=may_start)
    kept = [r for r in replicas if r.name not in (*actions.drain, *actions.remove)]
    active = [r for r in kept if r.state in ("starting", "ready") and r.current]
    assert len(active) + actions.start == wanted or (not may_start and len(active) <= wanted)
    ended = [r for r in replicas if r.name in actions.drain and r.current and r.state != "asleep"]
    assert not (actions.start and ended)
    assert not any(r.state == "failed" for r in kept)
    assert len({*actions.drain, *actions.remove}) == len(actions.drain) + len(actions.remove)


@given(views, st.integers(0, 5))
def test_what_sleeps_is_woken_before_any_is_started_and_one_sleeps_at_most(
    replicas: list[ReplicaView], wanted: int
) -> None:
    actions = reconcile(replicas, wanted=wanted, may_start=True, may_sleep=True)
    sleepers = {r.name for r in replicas if r.state == "asleep" and r.current}
    gone = {*actions.drain, *actions.remove}
    assert set(actions.wake) <= sleepers
    assert not actions.start or set(actions.wake) == sleepers
    assert not gone & {*actions.wake, *actions.rest}
    left = (sleepers - set(actions.wake) - gone) | set(actions.rest)
    assert len(left) <= 1
    assert not (wanted and actions.rest)
    idle = any(r.current and r.state == "ready" for r in replicas)
    assert left or wanted or not (sleepers or idle)
    assert not any(r.state == "asleep" and not r.current and r.name not in gone for r in replicas)


@given(views)
def test_where_none_may_sleep_none_does(replicas: list[ReplicaView]) -> None:
    actions = reconcile(replicas, wanted=0, may_start=True)
    assert not actions.rest
    assert all(r.name in actions.drain for r in replicas if r.state == "asleep")


@given(views, st.integers(1, 5), st.booleans())
def test_an_endpoint_that_can_answer_stays_so(replicas: list[ReplicaView], wanted: int, may_start: bool) -> None:
    actions = reconcile(replicas, wanted=wanted, may_start=may_start)
    ready = {r.name for r in replicas if r.state == "ready"}
    assert not ready or ready - {*actions.drain, *actions.remove}


def test_scale_in_takes_what_does_least() -> None:
    replicas = [view("a", in_flight=2), view("b", in_flight=1), view("c", in_flight=1, since=9), view("d", "starting")]
    assert reconcile(replicas, wanted=3, may_start=True).drain == ("d",)
    assert reconcile(replicas, wanted=1, may_start=True).drain == ("d", "c", "b")


def test_a_new_spec_starts_beside_the_old_one_and_replaces_it_when_ready() -> None:
    old = view("old", current=False)
    assert reconcile([old], wanted=1, may_start=True).start == 1
    waiting = reconcile([old, view("new", "starting")], wanted=1, may_start=True)
    assert (waiting.start, waiting.drain) == (0, ())
    assert reconcile([old, view("new")], wanted=1, may_start=True).drain == ("old",)


def test_an_old_replica_that_never_was_ready_is_not_waited_for() -> None:
    assert reconcile([view("old", "starting", current=False)], wanted=1, may_start=True).drain == ("old",)


@given(st.integers(0, 100))
def test_back_off_grows_to_a_limit(count: int) -> None:
    now, longer = Failures(count=count, last_at=100), Failures(count=count + 1, last_at=100)
    assert now.retry_at <= longer.retry_at <= 100 + MAX_BACKOFF_S


def test_states() -> None:
    many = Failures(count=ERROR_AFTER_FAILURES)
    cases = [
        ([], {}, EndpointState.PENDING),
        ([], {"asked": True, "wanted": 1}, EndpointState.STARTING),
        ([view("a", "starting")], {"asked": True, "wanted": 1}, EndpointState.STARTING),
        ([view("a")], {"wanted": 1}, EndpointState.RUNNING),
        ([view("a"), view("b", "failed")], {"wanted": 2, "failures": many}, EndpointState.RUNNING),
        ([view("a", current=False)], {"wanted": 1, "asked": True}, EndpointState.STARTING),
        ([view("a", current=False)], {"wanted": 1, "failures": many}, EndpointState.ERROR),
        ([], {"was_ready": True}, EndpointState.RUNNING),
        ([], {"was_ready": True, "wanted": 1, "asked": True}, EndpointState.STARTING),
        ([], {"failures": many}, EndpointState.ERROR),
        ([view("a", "draining")], {"stopped": True}, EndpointState.STOPPING),
        ([], {"stopped": True, "was_ready": True}, EndpointState.STOPPED),
    ]
    usual = {"stopped": False, "wanted": 0, "failures": Failures(), "was_ready": False, "asked": False}
    for replicas, given_values, expected in cases:
        assert endpoint_state(replicas, **{**usual, **given_values}) == expected, (replicas, given_values)  # type: ignore[arg-type]
