"""What every request of both listeners goes through: request id, one form for all errors, metrics, access log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from ai_how.errors import AiHowError, ConflictError, NotFoundError, SpecError
from ai_how.gateway import api_errors
from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.exchange import CLIENT_GONE, EXCHANGE, Exchange, begin, standard_headers
from ai_how.gateway.log import log_event
from ai_how.gateway.metrics import Metrics

BODY_TIMEOUT_S = 60.0
KEEPALIVE_TIMEOUT_S = 75.0
"""How long a connection may lie idle, or take to send the head of a request."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_log = logging.getLogger("ai_how.gateway")


class NoMalformedRequests(logging.Filter):
    """For aiohttp's log: bytes that are no HTTP get a line without them, for they may hold a key, and no traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            log_event("malformed_request", reason=type(error).__name__)
            return False
        return True


def edge(metrics: Metrics, *, quiet: Callable[[Exchange], bool]) -> Any:
    """The middleware of a listener; ``quiet`` tells which requests stay out of the access log."""

    @web.middleware
    async def follow(request: web.Request, handler: Handler) -> web.StreamResponse:
        exchange = begin(request)
        request[EXCHANGE] = exchange
        try:
            answer = await _answer(request, handler, exchange)
            exchange.status = CLIENT_GONE if exchange.client_gone else answer.status
            if not answer.prepared:
                answer.headers.update(standard_headers(exchange))
        except (asyncio.CancelledError, ConnectionError):
            exchange.status = CLIENT_GONE
            raise
        finally:
            exchange.finish(metrics, quiet=quiet(exchange))
        return answer

    return follow


async def read_body(request: web.Request, *, limit_bytes: int) -> bytes:
    """The whole body, of bounded size and within bounded time.

    Raises:
        ApiError: 413 too large, 408 too slow, 415 compressed, 400 broken off.
    """
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise ApiError(415, "unsupported_encoding", "Send the request body without Content-Encoding.")
    if (request.content_length or 0) > limit_bytes:
        raise api_errors.too_large(limit_bytes)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise api_errors.too_large(limit_bytes) from None
    except TimeoutError:
        message = f"The request body did not arrive within {BODY_TIMEOUT_S:g} s."
        raise ApiError(408, "request_timeout", message) from None
    except RequestPayloadError as error:
        raise ApiError(400, "invalid_body", f"The request body is broken: {error}") from error


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        ApiError: 400, it is none.
    """
    try:
        data = json.loads(body)
    except RecursionError:
        raise ApiError(400, "invalid_json", "The request body is nested too deeply.") from None
    except ValueError as error:
        raise ApiError(400, "invalid_json", f"The request body is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ApiError(400, "invalid_json", "The request body must be a JSON object.")
    return data


async def expect_later(_request: web.Request) -> None:
    """Leave ``Expect: 100-continue`` to ``read_body``: what is refused anyway is not asked for."""


async def _answer(request: web.Request, handler: Handler, exchange: Exchange) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return _error_answer(error, exchange)
    except web.HTTPException as error:
        return _error_answer(_of_router(request, error), exchange)
    except AiHowError as error:
        return _error_answer(_of_ours(error), exchange)
    except ConnectionError:
        raise
    except Exception:  # noqa: BLE001 (the server's edge: a mistake of ours costs one request, and is told)
        _log.exception("request %s failed", exchange.request_id)
        return _error_answer(
            ApiError(500, "internal_error", "The gateway failed on this request; its log says why."), exchange
        )


def _error_answer(error: ApiError, exchange: Exchange) -> web.Response:
    exchange.code = error.code
    body = error.body()
    exchange.bytes_out = len(body)
    answer = web.Response(status=error.status, body=body, content_type="application/json", headers=error.headers)
    if error.status in (408, 413):
        answer.force_close()
    return answer


def _of_router(request: web.Request, error: web.HTTPException) -> ApiError:
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.method} is not allowed here; allowed: {allowed}."
        return ApiError(405, "method_not_allowed", message, headers={"allow": allowed})
    if error.status == 404:
        return ApiError(404, "unknown_url", f"There is no {request.method} {request.path[:200]} here.")
    return ApiError(error.status, "http_error", error.reason)


def _of_ours(error: AiHowError) -> ApiError:
    kinds: dict[type[AiHowError], tuple[int, str]] = {
        SpecError: (400, "invalid_spec"),
        NotFoundError: (404, "not_found"),
        ConflictError: (409, "conflict"),
    }
    status, code = kinds.get(type(error), (500, "failed"))
    message = ": ".join(part for part in (error.brief, error.evidence) if part)
    return ApiError(status, code, message, next_step=error.next_step)
