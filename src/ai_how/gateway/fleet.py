"""All endpoints of the site: loaded and adopted at the start, created, changed and deleted while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from ai_how.endpoints.interface import Revision
from ai_how.endpoints.rollout.journal import Journal
from ai_how.endpoints.types import EndpointSpec, EndpointState, EndpointStatus
from ai_how.errors import AiHowError, ConflictError, NotFoundError
from ai_how.gateway import record_changes
from ai_how.gateway.backend import ReplicaProcess
from ai_how.gateway.endpoint import Endpoint
from ai_how.gateway.log import log_event
from ai_how.gateway.means import Means
from ai_how.gateway.metrics import EndpointLoad
from ai_how.gateway.records import Record, delete_record, first_record, load_records, save_record

OBSERVE_INTERVAL_S = 1.0
_FIRST_LIST_TRIES = 20
_FIRST_LIST_EVERY_S = 0.5


class Fleet:
    """Endpoints by name. ``broken`` holds records that cannot be read, with the reason."""

    def __init__(self, means: Means, *, url: str) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.broken: dict[str, str] = {}
        self.closing = False
        self._means = means
        self._url = url
        self._look = asyncio.Event()
        self._changing = asyncio.Lock()
        means.metrics.watch(self._loads)

    async def open(self) -> None:
        """Load the records, adopt the replicas that run already, stop those of endpoints that are gone.

        Raises:
            AiHowError: the backend does not answer.
        """
        folder = self._means.config.endpoints_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        records = load_records(folder)
        self.broken.update(records.broken)
        for name, reason in records.broken.items():
            log_event("record_broken", endpoint=name, reason=reason)
        replicas = await self._first_list()
        for record in records.sound.values():
            self._add(record, restored=True, replicas=replicas)
        for replica in replicas:
            # a broken record may be mended: its replicas stay
            if replica.endpoint not in self.endpoints and replica.endpoint not in self.broken:
                self._means.spawn(self._stop_orphan(replica.name))
        self._means.spawn(self._observe())

    def callable_models(self) -> list[str]:
        """What clients may send as ``model``: endpoints and their adapters."""
        stopped = (EndpointState.STOPPED, EndpointState.STOPPING)
        running = (endpoint for endpoint in self.endpoints.values() if endpoint.state not in stopped)
        return sorted(model for endpoint in running for model in endpoint.models())

    def endpoint_of(self, model: str) -> Endpoint | None:
        """The endpoint that answers for what a client sent as ``model``; None where there is none."""
        endpoint = self.endpoints.get(model.partition(":")[0])
        return endpoint if endpoint is not None and endpoint.has(model) else None

    def statuses(self) -> list[EndpointStatus]:
        """All endpoints, broken records included, ordered by name."""
        return [self.status(name) for name in sorted({*self.endpoints, *self.broken})]

    def status(self, name: str) -> EndpointStatus:
        """One endpoint.

        Raises:
            NotFoundError: there is none of that name.
        """
        if name in self.endpoints:
            return self.endpoints[name].status(self._url)
        if name in self.broken:
            return _broken_status(name, self.broken[name], self._url)
        raise NotFoundError(f"there is no endpoint {name!r}")

    async def put(self, spec: EndpointSpec) -> EndpointStatus:
        """Create the endpoint or change it; the record is on disk when this returns.

        Raises:
            ConflictError: it is being deleted.
            ProviderError: the disk is full.
        """
        async with self._changing:
            known = self._known(spec.name)
            if not spec.created_at:
                spec = replace(spec, created_at=known.spec.created_at if known else _today())
            if known:
                record = record_changes.with_spec(known.record, spec, at=_today(), fate=known.fate())
                await self._keep(record)
                known.follow(record, renew=True)
            else:
                record = first_record(spec)
                await self._keep(record)
                replicas = await self._means.backend.list_replicas() if spec.name in self.broken else []
                self.broken.pop(spec.name, None)
                endpoint = self._add(record, restored=False, replicas=replicas)
                if not spec.stopped:
                    endpoint.want(1)
        log_event("endpoint_put", endpoint=spec.name, model=f"{spec.model_name}/{spec.model_version}")
        return self.status(spec.name)

    def revisions(self, name: str) -> tuple[Revision, ...]:
        """The revisions of an endpoint.

        Raises:
            NotFoundError: there is none of that name.
        """
        return self._sound(name).revisions()

    async def add_revision(self, spec: EndpointSpec) -> Revision:
        """Start one more revision, without a share; the record is on disk when this returns.

        Raises:
            NotFoundError: there is no endpoint of that name.
            ConflictError: it has two revisions already, or is stopped.
        """
        at = _today()
        spec = replace(spec, created_at=at)
        await self._change(spec.name, lambda record: record_changes.with_revision(record, spec, at=at))
        log_event("revision_added", endpoint=spec.name, model=f"{spec.model_name}/{spec.model_version}")
        return self._sound(spec.name).revisions()[-1]

    async def set_shares(self, name: str, shares: Mapping[int, int]) -> None:
        """Give each revision its part of the requests.

        Raises:
            NotFoundError: there is no endpoint of that name.
            SpecError: they do not add up to 100, or name a revision that is not there.
        """
        await self._change(name, lambda record: record_changes.with_shares(record, shares))
        log_event("shares_set", endpoint=name, shares={str(number): share for number, share in shares.items()})

    async def remove_revision(self, name: str, number: int) -> None:
        """Drain a revision and stop its replicas; returns once they have gone.

        Raises:
            NotFoundError: there is no endpoint of that name, or no such revision.
            ConflictError: it still has a share.
        """
        leaving = await self._change(name, lambda record: record_changes.without_revision(record, number, at=_today()))
        if leaving:
            await asyncio.wait(leaving)
        log_event("revision_removed", endpoint=name, revision=number)

    def journal(self, name: str) -> Journal:
        """What is remembered of an endpoint.

        Raises:
            NotFoundError: there is none of that name.
        """
        return self._sound(name).record.journal

    async def keep_journal(self, name: str, journal: Journal) -> None:
        """Remember this instead.

        Raises:
            NotFoundError: there is none of that name.
        """
        await self._change(name, lambda record: record_changes.with_journal(record, journal))

    async def delete(self, name: str) -> None:
        """Forget the endpoint, drain it and stop its replicas; returns once they have gone.

        Raises:
            NotFoundError: there is none of that name.
        """
        async with self._changing:
            self.status(name)
            # the record goes first: should the gateway die now, the next one stops the replicas as orphans
            await asyncio.to_thread(delete_record, self._means.config.endpoints_dir, name)
            if self.broken.pop(name, None) is not None:
                for replica in await self._means.backend.list_replicas():
                    if replica.endpoint == name:
                        self._means.spawn(self._stop_orphan(replica.name))
                return
            endpoint = self.endpoints[name]
            leaving = endpoint.delete()
        await asyncio.wait(leaving)
        # whoever asked for the same at the same time must not take away one that was made since
        if self.endpoints.get(name) is endpoint:
            del self.endpoints[name]
            endpoint.forget()
        log_event("endpoint_deleted", endpoint=name)

    def want_replicas(self, name: str, replicas: int) -> EndpointStatus:
        """Want at least so many replicas now, within the bounds, until they are idle.

        Raises:
            NotFoundError: there is none of that name.
            ConflictError: it is stopped or its record is broken.
        """
        status = self.status(name)
        if name in self.broken or status.spec.stopped:
            raise ConflictError(f"the endpoint {name!r} is {status.state}")
        self.endpoints[name].want(replicas)
        return self.status(name)

    async def log_tail(self, name: str, lines: int) -> tuple[str, str]:
        """Name and end of the log of the newest replica; two empty texts where there is none.

        Raises:
            NotFoundError: there is no endpoint of that name.
        """
        self.status(name)
        endpoint = self.endpoints.get(name)
        newest = endpoint.newest_replica() if endpoint else ""
        return newest, await self._means.backend.log_tail(newest, lines) if newest else ""

    def close_line(self) -> None:
        """The gateway stops: those who wait are sent away, and nobody may wait any more."""
        self.closing = True
        for endpoint in self.endpoints.values():
            endpoint.close_line()

    async def drained(self, *, timeout_s: float) -> None:
        """Return when no request is in flight any more, or after ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while any(endpoint.in_flight for endpoint in self.endpoints.values()):
                    await asyncio.sleep(0.02)

    def _add(self, record: Record, *, restored: bool, replicas: list[ReplicaProcess]) -> Endpoint:
        name = record.main.spec.name
        endpoint = Endpoint(record, self._means, look=self._look.set, make_room=self._make_room)
        self.endpoints[name] = endpoint
        own = [replica for replica in replicas if replica.endpoint == name]
        for replica in endpoint.open(own, restored=restored):
            # of a revision that was being removed when the gateway ended
            self._means.spawn(self._stop_orphan(replica.name))
        return endpoint

    def _sound(self, name: str) -> Endpoint:
        """The endpoint.

        Raises:
            NotFoundError: there is none of that name.
            ConflictError: its record is broken.
        """
        if name in self.broken:
            raise ConflictError(
                f"the record of endpoint {name!r} is broken",
                evidence=self.broken[name],
                next_step=f"ai-how deploy up, with its model again; or: ai-how deploy delete {name}",
            )
        if name not in self.endpoints:
            raise NotFoundError(f"there is no endpoint {name!r}")
        return self.endpoints[name]

    async def _change(self, name: str, become: Callable[[Record], Record]) -> list[asyncio.Task[None]]:
        """Change an endpoint's record, on disk first; the tasks returned end when what left has stopped."""
        async with self._changing:
            endpoint = self._known(name) or self._sound(name)
            record = become(endpoint.record)
            await self._keep(record)
            return endpoint.follow(record)

    async def _keep(self, record: Record) -> None:
        await asyncio.to_thread(save_record, self._means.config.endpoints_dir, record)

    def _known(self, name: str) -> Endpoint | None:
        known = self.endpoints.get(name)
        if known and known.deleting:
            raise ConflictError(f"the endpoint {name!r} is being deleted")
        return known

    async def _first_list(self) -> list[ReplicaProcess]:
        for _ in range(_FIRST_LIST_TRIES - 1):
            try:
                return await self._means.backend.list_replicas()
            except (AiHowError, OSError) as error:
                log_event("replicas_unknown", reason=str(error))
                await asyncio.sleep(_FIRST_LIST_EVERY_S)
        return await self._means.backend.list_replicas()

    async def _observe(self) -> None:
        """Look at the processes now and then, and soon after a connection to one failed."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OBSERVE_INTERVAL_S):
                    await self._look.wait()
            self._look.clear()
            listed_at = loop.time()
            try:
                processes = {replica.name: replica for replica in await self._means.backend.list_replicas()}
            except (AiHowError, OSError) as error:
                log_event("replicas_unknown", reason=str(error))
                await asyncio.sleep(OBSERVE_INTERVAL_S)
                continue
            for endpoint in self.endpoints.values():
                endpoint.observe(processes, listed_at=listed_at)
            await asyncio.sleep(0.1)

    async def _stop_orphan(self, name: str) -> None:
        log_event("orphan_stopped", replica=name)
        try:
            await self._means.backend.stop(name)
        except (AiHowError, OSError) as error:
            log_event("replica_not_stopped", replica=name, reason=str(error))

    def _make_room(self) -> bool:
        """Stop one replica that sleeps; False where there is none, and none on its way out."""
        return any(endpoint.give_up_sleeper() for endpoint in self.endpoints.values())

    def _loads(self) -> Iterator[EndpointLoad]:
        return (load for endpoint in self.endpoints.values() for load in endpoint.loads())


def _today() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _broken_status(name: str, reason: str, url: str) -> EndpointStatus:
    spec = EndpointSpec(name=name, model_name="", model_version=0, model_uri="", model_digest="", engine="")
    message = f"its record is broken: {reason}; deploy it again or delete it"
    return EndpointStatus(spec=spec, state=EndpointState.ERROR, url=url, message=message)
