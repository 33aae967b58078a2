"""Who gets which replica, and in which order those who wait are served."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.gateway import api_errors
from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.backend import ReplicaProcess
from ai_how.gateway.pool import Pool, Replica


def replica(name: str, state: str = "ready") -> Replica:
    process = ReplicaProcess(
        name=name, endpoint="m", host="127.0.0.1", port=1, spec_digest="d", state="running", ready_path="/health"
    )
    return Replica(process=process, since=0, state=state)  # type: ignore[arg-type]


def pool_of(*replicas: Replica, room: int = 2, max_held: int = 10) -> Pool:
    pool = Pool("m", room=room, max_held=max_held)
    pool.replicas.update({item.name: item for item in replicas})
    return pool


def wait(pool: Pool, *, seconds: float = 60, first: bool = False) -> asyncio.Task[Replica]:
    deadline = asyncio.get_running_loop().time() + seconds
    return asyncio.create_task(pool.wait(deadline=deadline, hold_timeout_s=seconds, first=first))


async def test_the_least_busy_ready_replica_is_taken() -> None:
    a, b, c = replica("a"), replica("b"), replica("c", "starting")
    pool = pool_of(a, b, c)
    assert [pool.try_acquire() for _ in range(5)] == [a, b, a, b, None]
    pool.release(b)
    assert pool.try_acquire() is b


async def test_one_that_has_the_adapter_comes_before_idle_ones_that_have_not() -> None:
    old, new = replica("old"), replica("new")
    new.process = dataclasses.replace(new.process, adapters=("m:a",))
    pool = pool_of(old, new)
    assert [pool.try_acquire("m:a") for _ in range(3)] == [new, new, old]
    assert pool.try_acquire("m") is old


async def test_those_who_wait_are_served_in_order_and_nobody_overtakes_them() -> None:
    a = replica("a")
    pool = pool_of(a, room=1)
    pool.try_acquire()
    served: list[int] = []

    async def request(number: int) -> None:
        served.append(number)
        await wait(pool)
        served.append(-number)

    tasks = []
    for number in (1, 2, 3):
        tasks.append(asyncio.create_task(request(number)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pool.held == 3
    for _ in range(3):
        pool.release(a)
        assert pool.try_acquire() is None
        for _ in range(5):
            await asyncio.sleep(0)
    assert served == [1, 2, 3, -1, -2, -3]


async def test_a_request_that_lost_its_replica_stands_first() -> None:
    a = replica("a")
    pool = pool_of(a, room=1)
    pool.try_acquire()
    late = wait(pool)
    await asyncio.sleep(0)
    again = wait(pool, first=True)
    await asyncio.sleep(0)
    pool.release(a)
    assert await again is a
    assert not late.done()
    late.cancel()


async def test_one_who_leaves_the_line_takes_nothing_along() -> None:
    a = replica("a")
    pool = pool_of(a, room=1)
    pool.try_acquire()
    gone, stays = wait(pool), wait(pool)
    await asyncio.sleep(0)
    pool.release(a)  # granted to the first, who is cancelled before it runs
    gone.cancel()
    assert await stays is a
    assert (pool.in_flight, pool.held) == (1, 0)
    pool.release(a)
    assert pool.in_flight == a.in_flight == 0


async def test_waiting_ends_in_time_and_the_line_has_an_end() -> None:
    pool = pool_of(max_held=1)
    with pytest.raises(ApiError) as late:
        await wait(pool, seconds=0)
    assert (late.value.status, late.value.code, "retry-after" in late.value.headers) == (503, "hold_timeout", True)
    held = wait(pool)
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as full:
        await wait(pool)
    assert (full.value.status, "retry-after" in full.value.headers) == (429, True)
    pool.refuse(api_errors.shutting_down())
    with pytest.raises(ApiError) as closed:
        await held
    assert closed.value.code == "gateway_stopping"
    assert pool.held == 0


async def test_the_shortest_request_is_seen_as_demand() -> None:
    a = replica("a")
    pool = pool_of(a)
    pool.try_acquire()
    pool.release(a)
    assert [pool.take_peak_demand(), pool.take_peak_demand()] == [1, 0]


@given(st.lists(st.sampled_from(["come", "finish", "hang up", "ready", "unready"]), max_size=60), st.integers(1, 3))
def test_counts_hold_whatever_happens(events: list[str], room: int) -> None:
    async def play() -> None:
        a, b = replica("a", "starting"), replica("b", "starting")
        pool = pool_of(a, b, room=room, max_held=1000)
        waiting: list[asyncio.Task[Replica]] = []
        working: list[Replica] = []
        for event in events:
            if event == "come":
                taken = pool.try_acquire()
                if taken:
                    working.append(taken)
                else:
                    waiting.append(wait(pool))
            elif event == "finish" and working:
                pool.release(working.pop(0))
            elif event == "hang up" and waiting:
                waiting.pop().cancel()
            elif event == "ready":
                a.state = b.state = "ready"
                pool.serve_line()
            elif event == "unready":
                b.state = "starting"
            for _ in range(6):
                await asyncio.sleep(0)
            working += [task.result() for task in waiting if task.done()]
            waiting = [task for task in waiting if not task.done()]
            assert pool.held == len(waiting)
            assert pool.in_flight == len(working) == a.in_flight + b.in_flight
            assert max(a.in_flight, b.in_flight) <= room
            assert not waiting or a.state != "ready" or a.in_flight == room
        for task in waiting:
            task.cancel()

    asyncio.run(play())
