"""Passes a request on to a replica and its answer back: as it arrives, unchanged but for the form of errors.

Owns what happens when the engine fails: a second try before the first byte, one clear error after it.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import aiohttp
from aiohttp import web

from ai_how.gateway import api_errors, engine_errors
from ai_how.gateway.adapters import for_replica
from ai_how.gateway.api_errors import CannotStartError, MovedError
from ai_how.gateway.exchange import REQUEST_ID, Exchange, standard_headers
from ai_how.gateway.metrics import Metrics
from ai_how.gateway.pool import Replica
from ai_how.gateway.revision import Revision

CONNECT_TIMEOUT_S = 5.0
KEEP_S = 2.0
CLIENT_STALL_S = 60.0
"""How long a client may leave an answer unread before it loses its place at the engine."""
_TRIES = 2
_LACKING_PAUSE_S = 0.1
_CONNECT_TRIES = 5
_LARGE_BODY = 2**20
_LONGEST_EVENT = 2**20
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
# what engines may learn of a request, and clients of an answer: neither keys nor connection headers are among them
_TO_ENGINE = ("content-type", "accept", "traceparent", "tracestate")
_TO_CLIENT = ("content-type", "cache-control", "retry-after")
_FAILED = (aiohttp.ClientError, OSError, TimeoutError)


class _ConnectError(Exception):
    """The engine never saw the request."""


class _BrokenError(Exception):
    """The connection broke before the first byte of the answer."""


class _DiedError(Exception):
    """The connection broke in the middle of the answer; a stream's client got ``answer``."""

    def __init__(self, answer: web.StreamResponse | None = None) -> None:
        super().__init__("the connection broke in the middle of an answer")
        self.answer = answer


def make_session(*, keep: bool) -> aiohttp.ClientSession:
    """A client for engines.

    Args:
        keep: Keep connections for the next request, which halves what the gateway adds. Only for less time than
            llama.cpp and vLLM keep theirs (5 s), lest they close one in the moment that it is used again.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, **({"keepalive_timeout": KEEP_S} if keep else {"force_close": True})),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        skip_auto_headers=("accept-encoding", "user-agent"),
    )


@dataclass(frozen=True, kw_only=True)
class Forwarder:
    """Sends requests to replicas; second tries on ``fresh``, whose connections are new."""

    session: aiohttp.ClientSession
    fresh: aiohttp.ClientSession
    metrics: Metrics
    hold_timeout_s: float

    async def forward(
        self, request: web.Request, exchange: Exchange, choose: Callable[[], Revision], body: bytes
    ) -> web.StreamResponse:
        """Answer a request with what a replica answers.

        Args:
            choose: The revision whose turn it is; asked again when the one that was chosen takes no more requests, or
                cannot start.

        Raises:
            ApiError: no replica could take it, or the engine failed before the first byte of the answer was sent.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.hold_timeout_s
        sent = refused = 0
        waited = False
        revision = choose()
        while True:
            exchange.revision = revision.number
            try:
                replica = await self._acquire(exchange, revision, deadline=deadline, first=waited)
            except MovedError:
                waited, revision = True, choose()
                continue
            except CannotStartError:
                waited, instead = True, choose()
                if instead is revision or instead.refusal():
                    raise
                revision = instead
                continue
            waited = True
            try:
                return await self._try(request, exchange, replica, body, again=bool(sent))
            except _ConnectError as error:
                refused += 1
                revision.doubt(replica, str(error))
            except _BrokenError as error:
                sent += 1
                revision.doubt(replica, str(error))
            except _DiedError as error:
                revision.doubt(replica, str(error))
                if error.answer is None:
                    raise api_errors.engine_died(revision.name) from error
                return error.answer
            finally:
                revision.pool.release(replica)
            if sent == _TRIES or refused == _CONNECT_TRIES:
                raise api_errors.engine_died(revision.name)
            exchange.retries += 1
            self.metrics.retries.labels(revision.name, revision.number).inc()

    async def _acquire(self, exchange: Exchange, revision: Revision, *, deadline: float, first: bool) -> Replica:
        replica = None if first or revision.refusal() else revision.pool.try_acquire(exchange.model)
        if replica is None or not replica.process.has_loaded(exchange.model):
            began = perf_counter()
            try:
                replica = await self._wait(exchange, revision, replica, deadline=deadline, first=first)
            finally:
                exchange.held_s = (exchange.held_s or 0.0) + perf_counter() - began
        exchange.replica = replica.name
        return replica

    async def _wait(
        self, exchange: Exchange, revision: Revision, replica: Replica | None, *, deadline: float, first: bool
    ) -> Replica:
        """A replica that has the adapter asked for: one that was just added is loaded by replicas that are starting."""
        replica = replica or await revision.acquire(deadline=deadline, first=first, model=exchange.model)
        while not replica.process.has_loaded(exchange.model):
            revision.pool.release(replica)
            if asyncio.get_running_loop().time() >= deadline:
                raise api_errors.adapter_not_loaded(exchange.model)
            if exchange.model not in revision.spec.served_names:
                raise api_errors.moved(revision.name)
            await asyncio.sleep(_LACKING_PAUSE_S)
            replica = await revision.acquire(deadline=deadline, first=True, model=exchange.model)
        return replica

    async def _try(
        self, request: web.Request, exchange: Exchange, replica: Replica, body: bytes, *, again: bool
    ) -> web.StreamResponse:
        session = self.fresh if again else self.session
        headers = {name: request.headers[name] for name in _TO_ENGINE if name in request.headers}
        headers[REQUEST_ID] = exchange.request_id
        body = for_replica(body, replica.process, exchange.model)
        data = body if len(body) < _LARGE_BODY else io.BytesIO(body)
        try:
            upstream = await session.post(replica.url(exchange.route), data=data, headers=headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _ConnectError(f"cannot connect: {error}") from error
        except _FAILED as error:
            raise _BrokenError(f"the connection broke: {error or type(error).__name__}") from error
        async with upstream:
            try:
                first = await upstream.content.readany()
            except _FAILED as error:
                raise _BrokenError(f"the connection broke: {error or type(error).__name__}") from error
            if upstream.content_type == "text/event-stream":
                return await _stream(request, exchange, upstream, first)
            return await _whole(exchange, upstream, first, request_body=body)


async def _whole(
    exchange: Exchange, upstream: aiohttp.ClientResponse, first: bytes, *, request_body: bytes
) -> web.Response:
    """An answer that is not streamed is read to its end first: the client gets all of it or an error."""
    try:
        body = first if upstream.content.at_eof() else first + await upstream.content.read()
    except _FAILED as error:
        raise _DiedError from error
    if upstream.status >= 400:
        refused = engine_errors.refusal(exchange.endpoint, status=upstream.status, answer=body, request=request_body)
        if "retry-after" in upstream.headers:
            refused.headers["retry-after"] = upstream.headers["retry-after"]
        raise refused
    exchange.bytes_out = len(body)
    return web.Response(status=upstream.status, body=body, headers=_answer_headers(upstream))


async def _stream(
    request: web.Request, exchange: Exchange, upstream: aiohttp.ClientResponse, first: bytes
) -> web.StreamResponse:
    headers = _answer_headers(upstream) | standard_headers(exchange)
    answer = web.StreamResponse(status=upstream.status, headers=headers)
    await answer.prepare(request)
    exchange.status = upstream.status
    exchange.first_byte_s = perf_counter() - exchange.began
    try:
        await _pass_on(request, exchange, upstream, answer, first)
    except ConnectionError:
        exchange.client_gone = True
    finally:
        # llama.cpp may close a connection after a streamed answer while it says that it keeps it
        upstream.close()
    return answer


async def _pass_on(
    request: web.Request,
    exchange: Exchange,
    upstream: aiohttp.ClientResponse,
    answer: web.StreamResponse,
    pending: bytes,
) -> None:
    """Write whole events as they arrive until the engine has ended.

    Half an event waits for its other half: should that never come, the client's parser meets our error instead.
    A ``ConnectionError`` that leaves here is the client's.
    """
    while True:
        end = whole_events(pending)
        if end:
            events = engine_errors.with_openai_errors(pending[:end])
            await _write(request, answer, events)
            exchange.bytes_out += len(events)
            pending = pending[end:]
        try:
            chunk = await upstream.content.readany()
        except _FAILED as error:
            died = api_errors.engine_died(exchange.endpoint)
            exchange.code = died.code
            answer.force_close()
            await _write(request, answer, died.event())
            await answer.write_eof()
            raise _DiedError(answer) from error
        if not chunk:
            break
        pending += chunk
    pending = engine_errors.with_openai_errors(pending)
    exchange.bytes_out += len(pending)
    await answer.write_eof(pending)


def whole_events(data: bytes) -> int:
    """Where the last whole server-sent event of ``data`` ends; all of it where half of one is too long to keep."""
    if data.endswith(_EVENT_ENDS):
        return len(data)
    end = max((found + len(mark) for mark in _EVENT_ENDS if (found := data.rfind(mark)) >= 0), default=0)
    return len(data) if len(data) - end > _LONGEST_EVENT else end


async def _write(request: web.Request, answer: web.StreamResponse, chunk: bytes) -> None:
    try:
        async with asyncio.timeout(CLIENT_STALL_S):
            await answer.write(chunk)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client does not read its answer") from None


def _answer_headers(upstream: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: upstream.headers[name] for name in _TO_CLIENT if name in upstream.headers}
