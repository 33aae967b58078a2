"""One request and its answer, as metrics and the access log tell of it. Never holds a prompt, an answer or a key."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter

from aiohttp import web

from ai_how.gateway.log import log_event
from ai_how.gateway.metrics import Metrics

REQUEST_ID = "x-request-id"
TEXT_ROUTES = ("/v1/chat/completions", "/v1/completions")
"""The paths that engines answer."""
CLIENT_GONE = 499
"""nginx's status for a client that hung up before the answer; only in log and metrics."""
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_PATH_SHOWN = 200


@dataclass(kw_only=True, slots=True)
class Exchange:
    """What is known of a request so far.

    ``began`` is ``perf_counter``'s time; ``key`` the key's name; ``endpoint`` one that exists, or empty; ``model`` its
    name, or an adapter of it that exists; ``revision`` the one that answers, None before it is chosen; ``route`` one of
    the gateway's own paths, or ``other``.
    """

    request_id: str
    began: float
    method: str
    path: str
    route: str = "other"
    endpoint: str = ""
    model: str = ""
    revision: int | None = None
    key: str | None = None
    status: int = 0
    code: str | None = None
    replica: str | None = None
    retries: int = 0
    held_s: float | None = None
    first_byte_s: float | None = None
    client_gone: bool = False
    bytes_in: int = 0
    bytes_out: int = 0

    def finish(self, metrics: Metrics, *, quiet: bool) -> None:
        """Count the request and write its line of the access log (not where ``quiet``)."""
        seconds = perf_counter() - self.began
        labels = metrics.labels(self.endpoint, self.revision)
        metrics.requests.labels(*labels, self.route, self.status).inc()
        if labels[0]:
            metrics.duration.labels(*labels, self.route).observe(seconds)
            metrics.request_bytes.labels(*labels).inc(self.bytes_in)
            metrics.response_bytes.labels(*labels).inc(self.bytes_out)
            if self.first_byte_s is not None:
                metrics.first_byte.labels(*labels).observe(self.first_byte_s)
            if self.status == HTTPStatus.OK and self.route in TEXT_ROUTES:
                metrics.as_vllm.answered(*labels, model=self.model, seconds=seconds, first_byte_s=self.first_byte_s)
            if self.held_s is not None:
                metrics.hold.labels(*labels).observe(self.held_s)
        if quiet:
            return
        log_event(
            "request",
            request_id=self.request_id,
            method=self.method,
            path=self.path[:_PATH_SHOWN],
            status=self.status,
            code=self.code,
            endpoint=self.endpoint or None,
            model=self.model if self.model != self.endpoint else None,
            revision=self.revision,
            key=self.key,
            replica=self.replica,
            duration_ms=_ms(seconds),
            first_byte_ms=_ms(self.first_byte_s),
            held_ms=_ms(self.held_s),
            retries=self.retries or None,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
        )


EXCHANGE: web.RequestKey[Exchange] = web.RequestKey("exchange", Exchange)


def begin(request: web.BaseRequest) -> Exchange:
    """Start to follow a request; the client's own request id is kept where it is sane."""
    given = request.headers.get(REQUEST_ID, "")
    request_id = given if _SANE_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
    return Exchange(request_id=request_id, began=perf_counter(), method=request.method, path=request.path)


def standard_headers(exchange: Exchange) -> dict[str, str]:
    """What every answer carries; ``server`` says no versions."""
    return {REQUEST_ID: exchange.request_id, "server": "ai-how"}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
