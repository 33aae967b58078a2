"""Plain, synchronous HTTP for the command line: JSON in, JSON out.

``tls_http`` is its sister for a server with keys of its own. Both load ``urllib3`` when they send something: it is
heavy, and most commands that could speak HTTP do not.
The gateway and the load generator speak HTTP with aiohttp, which is what they are made of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ai_how.errors import TryAgainError

if TYPE_CHECKING:
    import urllib3

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Response:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON, or None where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


@cache
def _pool() -> urllib3.PoolManager:
    import urllib3

    return urllib3.PoolManager(num_pools=8, retries=False)


def request(
    method: str,
    url: str,
    *,
    json_body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10,
) -> Response:
    """Send one request and read the whole answer; any status is an answer.

    Raises:
        TryAgainError: no answer came: refused, reset, or nothing within ``timeout_s``.
    """
    import urllib3

    sent = dict(headers or {})
    body = None
    if json_body is not None:
        sent.setdefault("content-type", "application/json")
        body = json.dumps(json_body).encode()
    try:
        answer = _pool().request(method, url, body=body, headers=sent, timeout=timeout_s, preload_content=True)
    except urllib3.exceptions.HTTPError as error:
        raise TryAgainError(f"no answer from {url}", evidence=reason_of(error)) from error
    return Response(status=answer.status, headers=dict(answer.headers), body=answer.data)


@contextmanager
def stream_lines(
    method: str,
    url: str,
    *,
    json_body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> Iterator[tuple[int, Iterator[str]]]:
    """Send one request and read the answer line by line (server-sent events, logs).

    Yields:
        The status and an iterator over the lines, without their line ends.
    """
    import urllib3

    sent = {"content-type": "application/json", **(headers or {})}
    try:
        answer = _pool().request(
            method,
            url,
            body=None if json_body is None else json.dumps(json_body).encode(),
            headers=sent,
            timeout=timeout_s,
            preload_content=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise TryAgainError(f"no answer from {url}", evidence=reason_of(error)) from error
    try:
        yield answer.status, lines_of(answer)
    finally:
        answer.close()


@contextmanager
def stream_bytes(
    url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 60
) -> Iterator[tuple[int, Mapping[str, str], Iterator[bytes]]]:
    """GET something large and read it in pieces as it was sent; redirects are followed.

    Yields:
        The status, the headers with names in lower case, and an iterator over the body; it raises TryAgainError
        where the connection breaks.
    """
    import urllib3

    sent = {"accept-encoding": "identity", **(headers or {})}
    redirects = urllib3.Retry(total=5, redirect=5, connect=0, read=0, status=0, other=0)
    try:
        answer = _pool().request("GET", url, headers=sent, timeout=timeout_s, preload_content=False, retries=redirects)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise TryAgainError(f"no answer from {url}", evidence=reason_of(error)) from error
    try:
        names = {name.lower(): value for name, value in answer.headers.items()}
        yield answer.status, names, _pieces(answer, url)
    finally:
        answer.close()


def _pieces(answer: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    import urllib3

    try:
        yield from answer.stream(_PIECE_BYTES, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise TryAgainError(f"the connection broke while reading {url}", evidence=reason_of(error)) from error


def lines_of(answer: urllib3.BaseHTTPResponse) -> Iterator[str]:
    """An answer's body line by line as it comes, without line ends."""
    rest = b""
    for chunk in answer.stream(4096, decode_content=True):
        rest += chunk
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def reason_of(error: Exception) -> str:
    """The innermost reason in words: urllib3 wraps the operating system's error several times."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause) or type(cause).__name__
