"""One revision of an endpoint at work: carries out what ``scaling`` decides and keeps watch over the replicas.

Owns the life of the revision's replicas. Who runs their processes is the backend's business, which request goes where
the pool's, which revision gets it the endpoint's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping

from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.interface import STILL_ANSWER
from ai_how.endpoints.types import EndpointSpec, EndpointState
from ai_how.errors import AiHowError
from ai_how.gateway import api_errors, leaving, probing, scaling
from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.backend import NoFreeGpuError, ReplicaProcess
from ai_how.gateway.log import log_event
from ai_how.gateway.means import Means
from ai_how.gateway.metrics import EndpointLoad
from ai_how.gateway.pool import Pool, Replica
from ai_how.gateway.resting import Resting, sleeps
from ai_how.gateway.scaling import Policy, ReplicaView, Scale
from ai_how.gateway.standing import Standing
from ai_how.gateway.starts import Starts

TICK_S = 0.2
_LIVING = ("starting", "ready", "asleep")


class Revision:
    """One version of a model that clients may call, and its replicas.

    Args:
        number: Its number within the endpoint; ``change`` may give it another.
        standing: What is known of its replicas, of an earlier life of the gateway too.
        look: Called when the processes should be looked at soon, because one seems to have died.
        make_room: Called where no GPU is free; True where one that sleeps is being stopped for it.
    """

    def __init__(
        self,
        spec: EndpointSpec,
        means: Means,
        *,
        number: int,
        standing: Standing,
        look: Callable[[], None],
        make_room: Callable[[], bool],
    ) -> None:
        gateway, serving = means.config.gateway, means.config.serving
        self.spec = spec
        self.number = number
        self.digest = process_digest(spec)
        self.pool = Pool(spec.name, room=serving.parallel_requests, max_held=gateway.max_held_requests)
        self.closing = False
        self._means = means
        self._look, self._make_room = look, make_room
        self._scale = Scale()
        self.standing = standing
        self.starts = Starts(means.backend)
        self.deleting = False
        self._retired: ApiError | None = None
        self._resting = Resting(
            means, watch=self._watch, asleep=self._found_asleep, failed=self._fail, stop=self._let_go
        )
        self._kick = asyncio.Event()

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def policy(self) -> Policy:
        serving, bounds = self._means.config.serving, self.spec.autoscaling
        return Policy(
            min_replicas=bounds.min_replicas,
            max_replicas=bounds.max_replicas,
            requests_per_replica=serving.parallel_requests,
            scale_out_after_s=serving.scale_out_after_s,
            idle_after_s=serving.idle_after_s,
        )

    def adopt(self, process: ReplicaProcess) -> None:
        """Take over a replica that an earlier gateway started."""
        replica = Replica(process=process, since=_now(), pid=process.pid)
        self.pool.replicas[replica.name] = replica
        replica.watch = self._resting.look_in(replica) if self._may_sleep else self._watch(replica)
        if process.spec_digest == self.digest:
            self._scale = scaling.want(self._scale, self.policy, self._scale.wanted + 1, now=_now())

    def change(self, spec: EndpointSpec, *, number: int) -> None:
        """Follow a new spec; any new spec, even the same one, ends an error."""
        digest = process_digest(spec)
        anew = digest != self.digest or self.spec.stopped or self.standing.failures.count > 0
        if digest != self.digest:
            self.standing.begin_anew()
            self.starts.forget()
        self.spec, self.digest, self.number = spec, digest, number
        self.standing.forget_failures()
        if spec.stopped:
            self.pool.refuse(api_errors.stopped(self.name))
        elif anew:
            self.want(1)
        self._kick.set()

    def want(self, replicas: int) -> None:
        """Want at least so many replicas, within the bounds, until they are idle."""
        self._scale = scaling.want(self._scale, self.policy, max(replicas, self._scale.wanted), now=_now())
        self._kick.set()

    def close_line(self) -> None:
        """The gateway stops: nobody waits any longer."""
        self.closing = True
        self.pool.refuse(api_errors.shutting_down())

    def move_line(self) -> None:
        """Those who wait go to the revision whose turn it is now."""
        self.pool.refuse(api_errors.moved(self.name))

    def retire(self, refusal: ApiError) -> None:
        """Drain and stop all replicas; ``run`` returns once they have gone. Who waits or comes later is told why."""
        self.deleting = True
        self._retired = refusal
        self.pool.refuse(refusal)
        self._kick.set()

    async def acquire(self, *, deadline: float, first: bool = False, model: str = "") -> Replica:
        """A replica with room for one more request; wakes the endpoint and waits where there is none.

        Raises:
            ApiError: the endpoint cannot take it, or not in time.
        """
        refusal = self.refusal()
        if refusal:
            raise refusal
        if replica := self.pool.try_acquire(model):
            return replica
        self._kick.set()
        return await self.pool.wait(
            deadline=deadline, hold_timeout_s=self._means.config.gateway.hold_timeout_s, first=first
        )

    def doubt(self, replica: Replica, reason: str) -> None:
        """A connection to the replica failed: no more requests for it until its health path answers."""
        if replica.state == "ready":
            replica.state = "starting"
            replica.message = reason
        replica.doubt.set()
        self._look()

    def refusal(self) -> ApiError | None:
        """Why requests cannot be taken now, or None."""
        if self.closing:
            return api_errors.shutting_down()
        if self._retired or self.spec.stopped:
            return self._retired or api_errors.stopped(self.name)
        # where nothing is tried any more, a request after the back-off is the next try
        failures = self.standing.failures
        may_try = self.asleep and _now() >= failures.retry_at
        if failures.too_many and not self.can_answer and not may_try:
            return api_errors.in_error(self.name, self.standing.reason)
        return None

    @property
    def can_answer(self) -> bool:
        """Whether any replica is ready."""
        return any(replica.state == "ready" for replica in self.pool.replicas.values())

    @property
    def asleep(self) -> bool:
        """Whether it has no replica because nobody needs one."""
        return self._scale.wanted == 0

    @property
    def state(self) -> EndpointState:
        views = self._views()
        state = scaling.endpoint_state(
            views,
            stopped=self.spec.stopped or self.deleting,
            wanted=self._scale.wanted,
            failures=self.standing.failures,
            was_ready=self.standing.was_ready,
            asked=self.starts.asked or any(view.current for view in views),
        )
        dying = any(replica.state == "failed" and not replica.heard for replica in self.pool.replicas.values())
        # who sees the error wants its reason with it, which is still being read
        return EndpointState.STARTING if dying and state is EndpointState.ERROR else state

    def load(self) -> EndpointLoad:
        """The revision as Prometheus sees it."""
        states = Counter(str(replica.state) for replica in self.pool.replicas.values())
        return EndpointLoad(
            endpoint=self.name,
            revision=self.number,
            in_flight=self.pool.in_flight,
            held=self.pool.held,
            replicas=dict(states),
        )

    def give_up_sleeper(self) -> bool:
        """Stop a replica that sleeps, as others need its GPU; False where there is none, and none on its way out."""
        sleeper = next((replica for replica in self.pool.replicas.values() if replica.state == "asleep"), None)
        if sleeper is not None:
            self._let_go(sleeper)
        return any(replica.given_up for replica in self.pool.replicas.values())

    async def run(self) -> None:
        """Keep the replicas as they should be, until the revision is retired and the last one has gone."""
        while not self.deleting or self.pool.replicas:
            if not self.closing:
                await self._step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._kick.wait()
            self._kick.clear()

    def observe(self, processes: Mapping[str, ReplicaProcess], *, listed_at: float) -> None:
        """Take in what the backend says of the processes. ``listed_at``: when it was asked."""
        for replica in list(self.pool.replicas.values()):
            if replica.state not in _LIVING or replica.since > listed_at:
                continue
            process = processes.get(replica.name)
            if process is None or process.state in ("failed", "stopped"):
                self._fail(replica, "its process has ended")
            elif replica.pid and (process.state == "restarting" or process.pid not in (None, replica.pid)):
                self._restarted(replica, process)
            else:
                replica.pid = process.pid or replica.pid

    async def _step(self) -> None:
        now = _now()
        demand = self.pool.take_peak_demand()
        self.standing.forgive(self.pool.replicas.values(), now=now)
        failures = self.standing.failures
        if self.spec.stopped or self.deleting:
            self._scale = Scale()
        else:
            unproven = scaling.unproven_replicas(self._views(), failures, was_ready=self.standing.was_ready)
            self._scale = scaling.rescale(self._scale, self.policy, demand=demand, now=now, unproven=unproven)
        actions = scaling.reconcile(
            self._views(),
            wanted=self._scale.wanted,
            may_start=now >= failures.retry_at,
            may_sleep=self._may_sleep,
        )
        for name in actions.wake:
            self.starts.ask(unless=self._views())
            self._resting.wake(self.pool.replicas[name])
        for name in actions.rest:
            self._resting.rest(self.pool.replicas[name])
        for name in (*actions.remove, *actions.drain):
            self._let_go(self.pool.replicas[name])
        for _ in range(actions.start):
            if not await self._start():
                break

    @property
    def _may_sleep(self) -> bool:
        return sleeps(self._means.config.serving, self.spec.engine) and not (self.spec.stopped or self.deleting)

    def _found_asleep(self, replica: Replica) -> None:
        """An earlier gateway started it and let it sleep: nobody needs it."""
        if replica.process.spec_digest == self.digest:
            self._scale = Scale(needed_at=self._scale.needed_at[1:])
        self._kick.set()

    async def _start(self) -> bool:
        self.starts.ask(unless=self._views())
        spec, digest = self.spec, self.digest
        try:
            process = await self._means.backend.start(spec, revision=self.number)
        except (AiHowError, OSError) as error:
            if isinstance(error, NoFreeGpuError) and self._make_room():
                return False  # tried again at the next step, until the GPU is free
            if digest == self.digest:
                self._count_failure(f"a replica could not be started: {error}")
                self._refuse_if_in_error()
            return False
        log_event("replica_started", endpoint=self.name, replica=process.name, port=process.port)
        self._add(Replica(process=process, since=_now(), pid=process.pid))
        return True

    def _add(self, replica: Replica) -> None:
        self.pool.replicas[replica.name] = replica
        replica.watch = self._watch(replica)
        self._kick.set()

    def _watch(self, replica: Replica) -> asyncio.Task[None]:
        return self._means.spawn(
            probing.watch(
                self._means.session,
                replica,
                model=self.name,
                start_timeout_s=self._means.config.serving.start_timeout_s,
                ready=self._ready,
                failed=self._fail,
            )
        )

    def _ready(self, replica: Replica) -> None:
        if replica.state != "starting":
            return
        now, first = _now(), not replica.warm
        replica.state, replica.message, replica.warm = "ready", "", True
        replica.doubt.clear()
        if first:
            replica.ready_since = now
            log_event("replica_ready", endpoint=self.name, replica=replica.name, after_s=round(now - replica.since, 3))
        if replica.process.spec_digest == self.digest:
            self.standing.was_ready = True
            if first:
                self._scale = scaling.became_ready(self._scale, self.policy, self._views(), now=now)
            if (seen := self.starts.ended(replica, now=now)) is not None:
                self._means.metrics.cold_start.labels(self.name, self.number).observe(seen.ready_s - seen.asked_s)
                self._means.spawn(self.starts.keep(replica, seen, engine=self.spec.engine))
        self.pool.serve_line()
        self._kick.set()

    def _restarted(self, replica: Replica, process: ReplicaProcess) -> None:
        """The backend started the replica's process again: it must load once more."""
        replica.restarts += 1
        replica.pid = process.pid
        if replica.process.spec_digest == self.digest:
            self._count_failure(f"the process of {replica.name} died")
        if self.standing.failures.too_many:
            self._fail(replica, "its process died again and again")
            return
        replica.state, replica.message = "starting", "its process died and was started again"
        replica.warm = replica.woken = False
        replica.unwatch()
        replica.watch = self._watch(replica)

    def _fail(self, replica: Replica, reason: str) -> None:
        if replica.state not in _LIVING:
            return
        replica.state, replica.message = "failed", reason
        if replica.process.spec_digest == self.digest:
            self._count_failure(f"{replica.name}: {reason}")
        self._kick.set()

    def _count_failure(self, reason: str) -> None:
        self.standing.failed(reason, now=_now())
        self._means.metrics.replica_failures.labels(self.name, self.number).inc()
        failures = self.standing.failures.count
        log_event("replica_failed", endpoint=self.name, revision=self.number, reason=reason, failures=failures)

    def _let_go(self, replica: Replica) -> None:
        if replica.leave is None:
            replica.given_up = replica.state == "asleep"
            replica.leave = self._means.spawn(self._leave(replica))

    async def _leave(self, replica: Replica) -> None:
        """Let the replica finish its requests (not when it failed), then stop and forget it."""
        replica.unwatch()
        if replica.state == "failed":
            tail = await leaving.last_words(replica, self._means)
            replica.heard = True
            if replica.process.spec_digest == self.digest and tail:
                self.standing.reason = f"{replica.name}: {replica.message}\n{tail}"
            self._refuse_if_in_error()
        else:
            await leaving.drain(replica, timeout_s=self._means.config.serving.drain_timeout_s)
        await leaving.stop(replica, self._means, endpoint=self.name)
        self.pool.replicas.pop(replica.name, None)
        self._kick.set()

    def _refuse_if_in_error(self) -> None:
        """Tell those who wait in vain."""
        if self.standing.failures.too_many and not self.can_answer:
            self.pool.refuse(api_errors.in_error(self.name, self.standing.reason))

    def _views(self) -> list[ReplicaView]:
        return [replica.view(self.digest) for replica in self.pool.replicas.values()]

    @property
    def message(self) -> str:
        """What to know besides the state."""
        state = self.state
        earlier = any(not view.current and view.state == "ready" for view in self._views())
        parts = []
        if self.standing.reason and state != EndpointState.STOPPED:
            parts.append(self.standing.reason)
        if earlier and state in (EndpointState.STARTING, EndpointState.PENDING, EndpointState.ERROR):
            parts.append(STILL_ANSWER)
        if state == EndpointState.RUNNING and self.asleep:
            kept = any(replica.state == "asleep" for replica in self.pool.replicas.values())
            parts.append(f"asleep{', its weights in main memory' if kept else ''}: the first request wakes it")
        return "\n".join(filter(None, (*parts, self._resting.trouble)))


def _now() -> float:
    return asyncio.get_running_loop().time()
