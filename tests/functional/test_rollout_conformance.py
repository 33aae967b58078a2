"""The moves of a rollout, the same wherever endpoints are served: the embedded gateway, and KServe."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from ai_how.bench.rollout import moves
from ai_how.endpoints.rollout.journal import Journal, RollingEndpoints, history
from ai_how.errors import ConflictError, NotFoundError, ProviderError

from .site import eventually
from .test_endpoint_conformance import BAD_VERSION, World, shared, spec, with_kserve, world

__all__ = ["shared", "with_kserve", "world"]
START_S = 120


def served(one: World) -> RollingEndpoints:
    endpoints = cast("RollingEndpoints", one.endpoints)
    endpoints.put(spec())
    eventually(lambda: endpoints.get("chat").state == "running")
    return endpoints


def shares(endpoints: RollingEndpoints) -> dict[int, int]:
    return {one.number: one.share_percent for one in endpoints.revisions("chat")}


def outcomes(endpoints: RollingEndpoints) -> list[tuple[int, str]]:
    found = history(endpoints.journal("chat"), endpoints.revisions("chat"))
    return [(entry.number, str(entry.outcome)) for entry in found]


def never() -> bool:
    return False


def test_a_version_is_promoted_step_by_step_and_one_goes_back(world: World) -> None:
    endpoints = served(world)
    rollout = moves.begin(endpoints, spec(2), (50, 100), id_="x")
    assert (rollout.old, rollout.new) == (1, 2)
    assert shares(endpoints) == {1: 100, 2: 0}
    with pytest.raises(ConflictError, match="under way"):
        moves.begin(endpoints, spec(3), (100,), id_="y")
    moves.wait_until_ready(endpoints, "chat", 2, START_S, never)
    moves.step(endpoints, "chat", rollout, 1, 50)
    assert shares(endpoints) == {1: 50, 2: 50}
    kept = endpoints.journal("chat").rollout
    assert kept is not None
    assert (kept.id, kept.step, kept.steps) == ("x", 1, (50, 100))
    moves.keep_only(endpoints, "chat", kept=2, gone=1, why="all held")
    assert shares(endpoints) == {2: 100}
    assert outcomes(endpoints) == [(1, "replaced"), (2, "serving")]
    eventually(lambda: world.ask("chat") == (200, 2))

    gone, back = moves.go_back(endpoints, "chat", to=None, timeout_s=START_S, stopped=never)
    assert (gone.number, back.number, back.spec.model_version) == (2, 3, 1)
    assert shares(endpoints) == {3: 100}
    eventually(lambda: world.ask("chat") == (200, 1))
    assert outcomes(endpoints) == [(1, "replaced"), (2, "replaced"), (3, "serving")]
    endpoints.delete("chat")
    assert endpoints.put(spec()).spec.model_version == 1
    assert endpoints.journal("chat").rollout is None
    assert len(history(endpoints.journal("chat"), endpoints.revisions("chat"))) == 1, "a new one has no past"


def test_one_that_sleeps_answers_while_another_starts_and_is_awake_before_they_share(world: World) -> None:
    endpoints = cast("RollingEndpoints", world.endpoints)
    endpoints.put(spec(replicas=(0, 1)))
    eventually(lambda: world.ask("chat") == (200, 1))
    world.let_idle("chat")
    eventually(lambda: endpoints.get("chat").replicas == (), timeout_s=60, every_s=0.1)
    rollout = moves.begin(endpoints, spec(2, replicas=(0, 1)), (50, 100), id_="x")
    assert world.ask("chat") == (200, 1)
    for number in (rollout.old, rollout.new):
        moves.wait_until_ready(endpoints, "chat", number, START_S, never)
    moves.step(endpoints, "chat", rollout, 1, 50)
    assert {world.ask("chat") for _ in range(20)} == {(200, 1), (200, 2)}
    moves.keep_only(endpoints, "chat", kept=2, gone=1, why="all held")
    assert {world.ask("chat") for _ in range(5)} == {(200, 2)}


def test_a_rollout_of_which_nothing_was_written_down_can_be_ended(world: World) -> None:
    endpoints = served(world)
    moves.begin(endpoints, spec(2), (100,), id_="x")
    endpoints.keep_journal("chat", Journal())
    endpoints.set_shares("chat", {1: 90, 2: 10})
    pair = moves.end_rollout(endpoints, "chat", why="by hand")
    assert pair is not None
    assert [one.number for one in pair] == [1, 2]
    assert shares(endpoints) == {1: 100}
    assert moves.end_rollout(endpoints, "chat", why="again") is None


def test_a_rollout_is_taken_up_where_it_was_and_the_first_command_leaves_it(world: World) -> None:
    endpoints = served(world)
    with pytest.raises(NotFoundError, match="no rollout of chat is under way"):
        moves.take_up(endpoints, "chat", (100,), id_="y")
    first = moves.begin(endpoints, spec(2), (10, 50, 100), id_="x")
    moves.step(endpoints, "chat", first, 2, 50)
    second = moves.take_up(endpoints, "chat", (5, 100), id_="y")
    assert second.steps == (50, 100)
    with pytest.raises(ConflictError, match="taken over by another command"):
        moves.hear(endpoints, "chat", first, 3)
    moves.hear(endpoints, "chat", second, 1)
    endpoints.keep_journal("chat", Journal())
    third = moves.take_up(endpoints, "chat", (5, 100), id_="z")
    assert (third.old, third.new, third.steps) == (1, 2, (5, 100))
    moves.hear(endpoints, "chat", third, 1)
    assert len(endpoints.journal("chat").history) == 2


@pytest.mark.parametrize("kept", [1, 2])
def test_what_a_command_left_that_was_killed_before_the_removal_is_removed(
    world: World, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = served(world)
    moves.begin(endpoints, spec(2), (100,), id_="x")
    moves.wait_until_ready(endpoints, "chat", 2, START_S, never)

    def killed(_: object, name: str, number: int) -> None:
        raise KeyboardInterrupt(name, number)

    with monkeypatch.context() as broken:
        broken.setattr(type(endpoints), "remove_revision", killed)
        with pytest.raises(KeyboardInterrupt):
            moves.keep_only(endpoints, "chat", kept=kept, gone=3 - kept, why="said")
    assert shares(endpoints) == {kept: 100, 3 - kept: 0}
    before = outcomes(endpoints)
    left = moves.remove_outlived(endpoints, "chat")
    assert left is not None
    assert left.number == 3 - kept
    assert shares(endpoints) == {kept: 100}
    assert outcomes(endpoints) == before
    assert moves.remove_outlived(endpoints, "chat") is None


def test_a_version_that_cannot_start_is_told_and_taken_away(world: World) -> None:
    endpoints = served(world)
    rollout = moves.begin(endpoints, replace(spec(BAD_VERSION)), (100,), id_="x")
    with pytest.raises(ProviderError, match="revision 2 cannot start"):
        moves.wait_until_ready(endpoints, "chat", rollout.new, START_S, never)
    moves.keep_only(endpoints, "chat", kept=1, gone=2, why="it did not start")
    assert shares(endpoints) == {1: 100}
    assert outcomes(endpoints) == [(1, "serving"), (2, "rolled back")]
    assert endpoints.journal("chat").history[-1].why == "it did not start"
    assert world.ask("chat") == (200, 1)
