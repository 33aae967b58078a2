"""Sends a replica to sleep and wakes it, by the engine's own endpoints.

A request that reaches an engine while it sleeps ends its process (vLLM issue 15483), and so does sleep while one is at
work (issue 45520): nothing is sent to it from before the one until after the other, and what it says is not believed
before it has said so twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from ai_how.endpoints.engines.vllm import ASLEEP_PATH, SLEEP_LEVEL, SLEEP_PATH, WAKE_PATH, Vllm
from ai_how.errors import AiHowError
from ai_how.gateway.log import log_event
from ai_how.gateway.means import Means
from ai_how.gateway.pool import Replica
from ai_how.gateway.probing import PROBE_TIMEOUT_S
from ai_how.site.spec import Serving


def sleeps(serving: Serving, engine: str) -> bool:
    """Whether replicas of an engine sleep when nobody needs them."""
    return serving.when_idle == "sleep" and engine == Vllm.name


class Resting:
    """The sleep of one revision's replicas. ``trouble`` says why the last one that was to sleep did not.

    Args:
        watch: Starts to watch over a replica that is awake.
        asleep: Called of a replica of an earlier gateway that turns out to sleep.
        failed: Called with the reason when one does not wake.
        stop: Called of one that cannot sleep.
    """

    def __init__(
        self,
        means: Means,
        *,
        watch: Callable[[Replica], asyncio.Task[None]],
        asleep: Callable[[Replica], None],
        failed: Callable[[Replica, str], None],
        stop: Callable[[Replica], None],
    ) -> None:
        self.trouble = ""
        self._means = means
        self._watch, self._asleep, self._failed, self._stop = watch, asleep, failed, stop

    def rest(self, replica: Replica) -> None:
        """Send an idle replica to sleep; one that cannot is stopped, as it would be without sleep."""
        replica.unwatch()
        replica.state, replica.message = "asleep", ""
        replica.watch = self._means.spawn(self._rest(replica))

    def wake(self, replica: Replica) -> None:
        """Wake a replica, once it has fallen asleep; one that cannot has failed, and another one is started."""
        falling, now = replica.watch, asyncio.get_running_loop().time()
        replica.state, replica.message, replica.since = "starting", "it wakes", now
        replica.woken, replica.warm, replica.loaded_at = True, False, None
        replica.watch = self._means.spawn(self._wake(replica, falling))

    def look_in(self, replica: Replica) -> asyncio.Task[None]:
        """See whether a replica sleeps that an earlier gateway started; watch over it where it does not."""
        return self._means.spawn(self._look_in(replica))

    async def _rest(self, replica: Replica) -> None:
        limit_s = self._means.config.serving.drain_timeout_s
        try:
            problem = await self._means.backend.no_room_to_sleep(replica.name)
        except (AiHowError, OSError) as error:
            problem = str(error)
        problem = problem or await fall_asleep(self._means.session, replica, timeout_s=limit_s)
        self.trouble = f"{replica.name} was stopped, since it could not sleep: {problem}" if problem else ""
        log_event("replica_not_asleep" if problem else "replica_asleep", replica=replica.name, reason=problem or "idle")
        if problem:
            self._stop(replica)

    async def _wake(self, replica: Replica, falling: asyncio.Task[None] | None) -> None:
        if falling is not None:
            await asyncio.wait([falling])
        if replica.state != "starting" or replica.leave is not None:
            return
        limit_s = self._means.config.serving.start_timeout_s
        if problem := await wake(self._means.session, replica, timeout_s=limit_s):
            self._failed(replica, f"it does not wake: {problem}")
        else:
            replica.watch = self._watch(replica)

    async def _look_in(self, replica: Replica) -> None:
        if await is_asleep(self._means.session, replica):
            replica.state = "asleep"
            self._asleep(replica)
        else:
            replica.watch = self._watch(replica)


async def fall_asleep(session: aiohttp.ClientSession, replica: Replica, *, timeout_s: float) -> str | None:
    """Send a replica to sleep that gets no requests any more; what was wrong, or None where it sleeps."""
    try:
        async with asyncio.timeout(timeout_s):
            while replica.in_flight:
                await asyncio.sleep(0.02)
    except TimeoutError:
        return f"it still works on {replica.in_flight} request(s) after {timeout_s:g} s"
    return await _ask(session, replica, SLEEP_PATH, timeout_s=timeout_s, asleep=True, query={"level": SLEEP_LEVEL})


async def wake(session: aiohttp.ClientSession, replica: Replica, *, timeout_s: float) -> str | None:
    """Wake a replica that sleeps; what was wrong, or None where it may be asked again."""
    return await _ask(session, replica, WAKE_PATH, timeout_s=timeout_s, asleep=False, query={})


async def is_asleep(session: aiohttp.ClientSession, replica: Replica) -> bool | None:
    """Whether the replica sleeps; None where it does not say: it still loads, or knows no sleep."""
    timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
    try:
        async with session.get(replica.url(ASLEEP_PATH), timeout=timeout) as answer:
            found = await answer.json() if answer.status == 200 else {}
    except (aiohttp.ClientError, OSError, ValueError):
        return None
    said = found.get("is_sleeping") if isinstance(found, dict) else None
    return said if isinstance(said, bool) else None


async def _ask(
    session: aiohttp.ClientSession,
    replica: Replica,
    path: str,
    *,
    timeout_s: float,
    asleep: bool,
    query: dict[str, str],
) -> str | None:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with session.post(replica.url(path), params=query, timeout=timeout) as answer:
            if answer.status != 200:
                return f"{path} answers {answer.status}"
    except TimeoutError:
        return f"{path} was not answered within {timeout_s:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"{path} failed: {error or type(error).__name__}"
    found = await is_asleep(session, replica)
    return None if found is asleep else f"after {path} it says that it {_SAYS[found]}"


_SAYS = {True: "sleeps", False: "is awake", None: "knows no sleep"}
