"""A small load generator: so many connections, each sends its next request when the answer to the last is whole.

``python closed_loop.py --url U --body JSON --connections N --seconds S``: prints one JSON object. Its own process, so
that it shares no event loop with what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop


class Connection(asyncio.Protocol):
    """One client. Knows just enough HTTP to see where an answer ends: Content-Length or chunks."""

    def __init__(self, request: bytes, *, until: float, keep: bool) -> None:
        self.request = request
        self.until = until
        self.keep = keep
        self.latencies_s: list[float] = []
        self.errors = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not _whole(self.buffer):
            return
        self.latencies_s.append(time.perf_counter() - self.sent_at)
        self.errors += not self.buffer.startswith(b"HTTP/1.1 200")
        self.buffer = b""
        if self.keep and time.perf_counter() < self.until:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def _send(self) -> None:
        self.sent_at = time.perf_counter()
        self.transport.write(self.request)


def _whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return body.endswith(b"0\r\n\r\n")
    length = lower.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


async def client(host: str, port: int, request: bytes, *, until: float, keep: bool) -> Connection:
    """One after the other until the time is over; a lost connection is opened again and counts as an error."""
    loop = asyncio.get_running_loop()
    total = Connection(request, until=until, keep=keep)
    while time.perf_counter() < until:
        began = time.perf_counter()
        _, one = await loop.create_connection(lambda: Connection(request, until=until, keep=keep), host, port)
        await one.lost
        if not keep and one.latencies_s:
            one.latencies_s = [time.perf_counter() - began]
        total.latencies_s += one.latencies_s
        total.errors += one.errors + (not one.latencies_s)
    return total


async def load(url: str, body: str, *, connections: int, seconds: float, key: str, keep: bool) -> dict[str, float]:
    """Requests a second and percentiles of latency over ``seconds``."""
    parts = urlsplit(url)
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{'' if keep else 'Connection: close' + chr(13) + chr(10)}\r\n{body}"
    ).encode()
    began = time.perf_counter()
    done = await asyncio.gather(
        *(
            client(parts.hostname or "", parts.port or 80, request, until=began + seconds, keep=keep)
            for _ in range(connections)
        )
    )
    took = time.perf_counter() - began
    latencies = sorted(value for one in done for value in one.latencies_s)
    points = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    return {
        "requests": len(latencies),
        "errors": sum(one.errors for one in done),
        "per_second": len(latencies) / took,
        "p50_ms": points[49] * 1000,
        "p95_ms": points[94] * 1000,
        "p99_ms": points[98] * 1000,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--body", required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--key", default="none")
    parser.add_argument("--close", action="store_true", help="a new connection for each request")
    given = parser.parse_args()
    found = load(
        given.url,
        given.body,
        connections=given.connections,
        seconds=given.seconds,
        key=given.key,
        keep=not given.close,
    )
    print(json.dumps(uvloop.run(found)))
