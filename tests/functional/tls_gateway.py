"""A cluster's gateway with one endpoint behind it, in small: TLS, a key, answers in OpenAI's form, streamed or not."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .certificates import Pair


@dataclass
class TlsGateway:
    """What came: each request's Host, the name that TLS asked for, and headers."""

    port: int
    key: str
    hosts: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def tls_gateway(pair: Pair, *, key: str, port: int = 0) -> Iterator[TlsGateway]:
    """Running on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = _Server(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    seen = TlsGateway(port=server.server_address[1], key=key)
    context.sni_callback = lambda _socket, name, _context: seen.names.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.seen = seen  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Quiet: a test's output is its own."""

    def do_POST(self) -> None:
        seen: TlsGateway = self.server.seen  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        seen.hosts.append(self.headers["host"])
        seen.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.headers.get("authorization") != f"Bearer {seen.key}":
            self._send(401, b'{"error": "Unauthorized"}')
        elif body.get("stream"):
            events = [{"choices": [{"delta": {"content": "yes"}}]}, {"choices": [], "usage": {"completion_tokens": 1}}]
            lines = [f"data: {json.dumps(event)}\n\n" for event in events]
            self._send(200, "".join([*lines, "data: [DONE]\n\n"]).encode(), kind="text/event-stream")
        else:
            said = {"choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
            self._send(200, json.dumps(said).encode())

    def _send(self, code: int, body: bytes, *, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
