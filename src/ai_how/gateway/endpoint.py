"""One endpoint: its revisions, whose turn it is, and what the admin API says of it.

Owns which revision answers a request. How a revision's replicas live is the revision's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ai_how.endpoints import interface
from ai_how.endpoints.digest import process_digest
from ai_how.endpoints.rollout.journal import Fate, fate_when_replaced
from ai_how.endpoints.types import EndpointSpec, EndpointState, EndpointStatus
from ai_how.gateway import api_errors
from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.backend import ReplicaProcess
from ai_how.gateway.means import Means
from ai_how.gateway.metrics import EndpointLoad
from ai_how.gateway.record_changes import AT_ONCE
from ai_how.gateway.records import Record, RevisionRecord
from ai_how.gateway.revision import Revision
from ai_how.gateway.shares import Turns
from ai_how.gateway.standing import Standing


@dataclass(frozen=True, kw_only=True, eq=False)
class _Running:
    """A revision and the task that keeps it as it should be."""

    revision: Revision
    task: asyncio.Task[None]


class Endpoint:
    """A model that clients may call.

    Args:
        look: Called when the processes should be looked at soon, because one seems to have died.
        make_room: Called where no GPU is free; True where one that sleeps is being stopped for it.
    """

    def __init__(
        self, record: Record, means: Means, *, look: Callable[[], None], make_room: Callable[[], bool]
    ) -> None:
        self.record = record
        self.deleting = False
        self._means = means
        self._look, self._make_room = look, make_room
        self._closing = False
        # by the number that a revision was started as, which it keeps
        self._running: dict[int, _Running] = {}
        self._leaving: set[_Running] = set()
        self._turns = Turns(record.shares)

    def open(self, replicas: list[ReplicaProcess], *, restored: bool) -> list[ReplicaProcess]:
        """Start to work, with the replicas that run already; those that belong to no revision are given back.

        Args:
            restored: It was there in an earlier life of the gateway: one that may sleep does.
        """
        for one in self.record.revisions:
            may_sleep = restored and one.spec.autoscaling.min_replicas == 0
            self._start(one, Standing(was_ready=may_sleep, from_start=not restored))
        return [replica for replica in replicas if not self._adopt(replica)]

    @property
    def spec(self) -> EndpointSpec:
        return self.record.main.spec

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def state(self) -> EndpointState:
        return self._main.state

    def refusal(self) -> ApiError | None:
        """Why requests cannot be taken now, or None."""
        return self._main.refusal()

    @property
    def can_answer(self) -> bool:
        return self._main.can_answer

    @property
    def asleep(self) -> bool:
        return self._main.asleep

    @property
    def in_flight(self) -> int:
        return sum(one.pool.in_flight for one in self._all())

    def models(self) -> tuple[str, ...]:
        """What clients may send as ``model``: its name, and its adapters' in any revision that gets requests."""
        names = (name for one in self._by_share if one.share_percent for name in one.spec.served_names)
        return tuple(dict.fromkeys(names)) or (self.name,)

    def has(self, model: str) -> bool:
        """Whether any of its revisions serves the model, one without a share included."""
        return any(model in one.spec.served_names for one in self.record.revisions)

    def version_of(self, model: str) -> int:
        """The registered version of a model that it has: the main revision's, or that of another one that has it."""
        specs = (self.spec, *(one.spec for one in self._by_share))
        spec = next(one for one in specs if model in one.served_names)
        return dict(zip(spec.served_names, spec.served, strict=True))[model].model_version

    def choose(self, asked: str | None, model: str) -> Revision:
        """The revision that answers a request: the one whose turn it is, or another one where that cannot start.

        Args:
            asked: The revision's number, where the request names one: then no other answers.
            model: One of ``models``; only revisions that have it answer.

        Raises:
            ApiError: 404, there is no such revision, or none that has the adapter.
        """
        if asked is None:
            chosen = self._with(model, self._at(self._turns.next()))
            return self._instead_of(chosen, model) if chosen.refusal() else chosen
        number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0
        if number not in self.record.shares:
            raise api_errors.unknown_revision(self.name, asked, sorted(self.record.shares))
        revision = self._at(number)
        if model not in revision.spec.served_names:
            raise api_errors.unknown_model(model, revision.spec.served_names)
        return revision

    def follow(self, record: Record, *, renew: bool = False) -> list[asyncio.Task[None]]:
        """Be as another record says; the tasks returned end when the revisions that left have stopped.

        Args:
            renew: End the error of the main revision, where it is in one.
        """
        before, self.record = self.record, record
        if record.shares != before.shares:
            self._turns = Turns(record.shares)
        for one in record.revisions:
            if one.first not in self._running:
                self._start(one, Standing())
                self._running[one.first].revision.want(1)
                continue
            revision = self._running[one.first].revision
            if one.number != revision.number:
                self._means.metrics.forget(self.name, revision.number)
                self._means.metrics.know(self.name, one.number)
            if one.spec != revision.spec or one.number != revision.number or (renew and one == record.main):
                revision.change(one.spec, number=one.number)
            if not one.share_percent and before.shares.get(one.number):
                revision.move_line()
        gone = [first for first in self._running if first not in {one.first for one in record.revisions}]
        return [self._retire(first, api_errors.moved(self.name)) for first in gone]

    def delete(self) -> list[asyncio.Task[None]]:
        """Drain all revisions and stop their replicas."""
        self.deleting = True
        for first in list(self._running):
            self._retire(first, api_errors.stopped(self.name), forget=False)
        return [one.task for one in (*self._running.values(), *self._leaving)]

    def forget(self) -> None:
        """It is gone: nothing of it is counted any more."""
        for number in self.record.shares:
            self._means.metrics.forget(self.name, number)

    def want(self, replicas: int) -> None:
        """Want at least so many replicas of the main revision, within its bounds, until they are idle."""
        self._main.want(replicas)

    def give_up_sleeper(self) -> bool:
        """Stop a replica that sleeps, as others need its GPU; False where there is none, and none on its way out."""
        return any(revision.give_up_sleeper() for revision in self._all())

    def close_line(self) -> None:
        """The gateway stops: nobody waits any longer."""
        self._closing = True
        for revision in self._all():
            revision.close_line()

    def observe(self, processes: Mapping[str, ReplicaProcess], *, listed_at: float) -> None:
        """Take in what the backend says of the processes. ``listed_at``: when it was asked."""
        for revision in self._all():
            revision.observe(processes, listed_at=listed_at)

    def status(self, url: str) -> EndpointStatus:
        """The endpoint as the admin API shows it; while a rollout is under way, as its main revision is."""
        main = self._main
        return EndpointStatus(
            spec=self.spec,
            state=main.state,
            url=url,
            replicas=tuple(replica for one in self._all() for replica in one.pool.statuses(revision=one.number)),
            held_requests=sum(one.pool.held for one in self._all()),
            message=main.message,
            last_start_s=main.starts.last_s,
            last_start=main.starts.last,
        )

    def revisions(self) -> tuple[interface.Revision, ...]:
        """The revisions as the admin API shows them."""
        return tuple(
            interface.Revision(
                number=one.number,
                spec=one.spec,
                share_percent=one.share_percent,
                state=self._at(one.number).state,
                message=self._at(one.number).message,
                was_ready=not self._at(one.number).standing.never_ready,
            )
            for one in sorted(self.record.revisions, key=lambda one: one.number)
        )

    def fate(self) -> Fate:
        """What becomes of the main revision where another spec takes its place now."""
        main = next(one for one in self.revisions() if one.number == self.record.main.number)
        return fate_when_replaced(main, why=AT_ONCE)

    def loads(self) -> Iterator[EndpointLoad]:
        """The revisions as Prometheus sees them."""
        return (one.load() for one in self._all())

    def newest_replica(self) -> str:
        """The name of the replica that was started last, empty where there is none."""
        replicas = [replica for one in self._all() for replica in one.pool.replicas.values()]
        newest = max(replicas, key=lambda replica: replica.since, default=None)
        return newest.name if newest else ""

    def _with(self, model: str, revision: Revision) -> Revision:
        """The revision if it has the adapter, else the one with the largest share that does.

        Raises:
            ApiError: none does any more.
        """
        if model in revision.spec.served_names:
            return revision
        found = next((one for one in self._by_share if one.share_percent and model in one.spec.served_names), None)
        if found is None:
            raise api_errors.unknown_model(model, self.models())
        return self._at(found.number)

    def _instead_of(self, revision: Revision, model: str) -> Revision:
        """An earlier revision, or one with a share, that is ready to answer; the same one where there is none."""
        others = (
            self._at(one.number)
            for one in self._by_share
            if (one.share_percent or one.number < revision.number) and model in one.spec.served_names
        )
        return next((one for one in others if one.can_answer and not one.refusal()), revision)

    @property
    def _by_share(self) -> list[RevisionRecord]:
        return sorted(self.record.revisions, key=lambda one: -one.share_percent)

    @property
    def _main(self) -> Revision:
        return self._at(self.record.main.number)

    def _at(self, number: int) -> Revision:
        first = next(one.first for one in self.record.revisions if one.number == number)
        return self._running[first].revision

    def _all(self) -> list[Revision]:
        return [one.revision for one in (*self._running.values(), *self._leaving)]

    def _start(self, one: RevisionRecord, standing: Standing) -> None:
        revision = Revision(
            one.spec,
            self._means,
            number=one.number,
            standing=standing,
            look=self._look,
            make_room=self._make_room,
        )
        if self._closing:
            revision.close_line()
        self._means.metrics.know(self.name, one.number)
        self._running[one.first] = _Running(revision=revision, task=self._means.spawn(revision.run()))

    def _adopt(self, replica: ReplicaProcess) -> bool:
        """Give a replica to its revision; False where that is no more."""
        owner = self._owner(replica)
        if owner is not None:
            self._running[owner.first].revision.adopt(replica)
        return owner is not None

    def _owner(self, replica: ReplicaProcess) -> RevisionRecord | None:
        revisions = self.record.revisions
        if replica.revision:
            return next((one for one in revisions if one.first <= replica.revision <= one.number), None)
        same = (one for one in revisions if process_digest(one.spec) == replica.spec_digest)
        return next(same, self.record.main)

    def _retire(self, first: int, refusal: ApiError, *, forget: bool = True) -> asyncio.Task[None]:
        leaving = self._running[first]
        leaving.revision.retire(refusal)
        if forget:
            del self._running[first]
            self._leaving.add(leaving)
            leaving.task.add_done_callback(lambda _task: self._left(leaving))
        return leaving.task

    def _left(self, leaving: _Running) -> None:
        self._leaving.discard(leaving)
        self._means.metrics.forget(self.name, leaving.revision.number)
