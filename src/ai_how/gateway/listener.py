"""Opens a listener: an application at an address, where even what is no proper HTTP gets OpenAI's form of error."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from ai_how.errors import ConflictError
from ai_how.gateway.api_errors import ApiError
from ai_how.gateway.exchange import begin, standard_headers
from ai_how.gateway.http_edge import KEEPALIVE_TIMEOUT_S

_CLOSE_TIMEOUT_S = 1.0
_BACKLOG = 1024


class Protocol(web.RequestHandler):
    """aiohttp's protocol; what cannot be read as a request never reaches an application, so it is answered here."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what cannot be read, or to a mistake of ours; closes the connection."""
        # it logs, and raises where an answer has begun
        super().handle_error(request, status, exc, message)
        error, headers = _told(status, exc), standard_headers(begin(request))
        answer = web.Response(status=error.status, body=error.body(), content_type="application/json", headers=headers)
        answer.force_close()
        return answer


class Listener:
    """An application that listens, until it is closed."""

    def __init__(self, app: web.Application) -> None:
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": KEEPALIVE_TIMEOUT_S,
        }
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_CLOSE_TIMEOUT_S, **self._options)
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            ConflictError: the address is in use.
        """
        await self._runner.setup()
        manager = self._runner.server
        assert manager is not None  # noqa: S101 - setup makes it
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Protocol(manager, loop=loop, **self._options), host, port, backlog=_BACKLOG
            )
        except OSError as error:
            raise ConflictError(
                f"cannot listen on {host}:{port}",
                evidence=str(error.strerror or error),
                next_step="see what holds the port: ai-how status",
            ) from error

    async def close(self) -> None:
        """Stop listening, close idle connections, give the others a moment."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()


def _told(status: int, reason: BaseException | None) -> ApiError:
    # never with bytes of the request: they may hold a key
    if isinstance(reason, LineTooLong):
        return ApiError(431, "request_header_too_large", "The request's line or one of its headers is too long.")
    if status < 500:
        return ApiError(status, "malformed_request", "This is no HTTP request that the gateway can read.")
    return ApiError(status, "internal_error", "The gateway failed on this request; its log says why.")
