"""HTTP to servers that are not ours: through the environment's proxy, after redirects, waiting where they say so.

Like ``http``, it decides nothing about what an answer means: it only outlasts what passes by itself (a broken
connection, 429, 5xx), and gives up with the server's own words.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from ai_how.errors import TryAgainError

if TYPE_CHECKING:
    import urllib3

_FIRST_S = 0.5
_TOO_MANY = 429
_PASSING = frozenset({408, _TOO_MANY, 500, 502, 503, 504})
_CONNECTIONS = 16
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is borne with: ``tries`` in all, at most ``longest_s`` between two; ``stop`` ends it.

    ``away`` keeps the hosts that gave no answer in all those tries: they are asked once more each time, no longer.
    """

    tries: int = 6
    longest_s: float = 90
    stop: Event
    away: set[str] = field(default_factory=set)

    def pause_s(self, tried: int, asked_s: float | None) -> float | None:
        """Seconds before the next try, after ``tried`` of them; None where it is not worth it.

        Args:
            asked_s: What the server asked for.
        """
        if tried >= self.tries or (asked_s is not None and asked_s > self.longest_s):
            return None
        return asked_s if asked_s is not None else min(self.longest_s, _FIRST_S * 2 ** (tried - 1))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The head of an answer, names of headers in lower case, and its body in pieces."""

    status: int
    headers: Mapping[str, str]
    pieces: Iterator[bytes]

    def read(self, at_most: int) -> bytes:
        """The whole body.

        Raises:
            TryAgainError: it is longer than ``at_most`` bytes.
        """
        body = b""
        for piece in self.pieces:
            body += piece
            if len(body) > at_most:
                raise TryAgainError(f"the answer is longer than {at_most} bytes")
        return body


@contextmanager
def ask(
    url: str,
    *,
    patience: Patience,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> Iterator[Answer]:
    """Send a request and follow redirects; ``Authorization`` goes to the first host alone.

    Yields:
        The first answer that is not one of 408, 429, 5xx. The pieces raise TryAgainError where the connection breaks.

    Raises:
        TryAgainError: no such answer within the patience; the evidence is what the server said last.
    """
    sent = {"accept-encoding": "identity", "user-agent": "ai-how", **(headers or {})}
    answer = _first_good(method, url, sent, patience, timeout_s)
    try:
        names = {name.lower(): value for name, value in answer.headers.items()}
        yield Answer(status=answer.status, headers=names, pieces=_pieces(answer, url))
    finally:
        # what was not read cannot be used again
        answer.close()
        answer.release_conn()


def _first_good(
    method: str, url: str, sent: Mapping[str, str], patience: Patience, timeout_s: float
) -> urllib3.BaseHTTPResponse:
    import urllib3

    redirects = urllib3.Retry(
        total=10, redirect=10, connect=0, read=0, status=0, other=0, respect_retry_after_header=False
    )
    cause: Exception | None = None
    said, asked_s = "nothing", None
    host = urlsplit(url).netloc
    for tried in range(1, patience.tries + 1):
        asked_s = None
        try:
            answer = _pool_for(url).request(
                method, url, headers=sent, timeout=timeout_s, preload_content=False, retries=redirects
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            said, cause = reason(error), error
        else:
            patience.away.discard(host)
            if answer.status not in _PASSING:
                return answer
            asked_s = retry_after_s(answer.headers.get("retry-after"))
            said, cause = f"HTTP status {answer.status}", None
            answer.close()
        pause_s = patience.pause_s(tried, asked_s)
        if pause_s is None or host in patience.away or patience.stop.wait(pause_s):
            break
    if cause is not None:
        patience.away.add(host)
    raise _gave_up(url, said, asked_s) from cause


def _gave_up(url: str, said: str, asked_s: float | None) -> TryAgainError:
    host = urlsplit(url).netloc.rpartition("@")[2]
    if said == f"HTTP status {_TOO_MANY}":
        wait = f", and asks to wait {asked_s:.0f} s" if asked_s is not None else ""
        return TryAgainError(
            f"{host} refuses more requests for now",
            evidence=f"{url}: {said}{wait}",
            next_step="run the same command again later: what came is kept",
        )
    brief = f"{host} cannot answer now" if said.startswith("HTTP") else f"no answer from {host}"
    return TryAgainError(
        brief, evidence=f"{url}: {said}", next_step="check the network or proxy (HTTPS_PROXY), then run it again"
    )


def retry_after_s(value: str | None, *, now: float | None = None) -> float | None:
    """The seconds of a ``Retry-After`` header: a number or a date; None where there is none that can be read."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        then = parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, then - (time.time() if now is None else now))


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _loopback(host) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pool_for(url: str) -> urllib3.PoolManager:
    return _manager(proxy_for(url))


@functools.cache
def _manager(proxy: str | None) -> urllib3.PoolManager:
    import urllib3

    if proxy is None:
        return urllib3.PoolManager(num_pools=_CONNECTIONS, maxsize=_CONNECTIONS, retries=False)
    parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    account = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
    return urllib3.ProxyManager(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        num_pools=_CONNECTIONS,
        maxsize=_CONNECTIONS,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=account),
    )


def _pieces(answer: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    import urllib3

    try:
        yield from answer.stream(_PIECE_BYTES, decode_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise TryAgainError(f"the connection broke while reading {url}", evidence=reason(error)) from error


def reason(error: Exception) -> str:
    """The innermost reason in words: urllib3 wraps the operating system's error several times."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause) or type(cause).__name__
