"""A cluster's way in for tests: the Gateway by its HTTPRoutes, KEDA's interceptor that holds requests, vLLM's key.

Reads the routes from the API at each request, as the real ones follow them; passes it on to a ready pod's engine.
"""

from __future__ import annotations

import http.client
import itertools
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ai_how.kserve.look import ROUTE

from .certificates import Pair
from .kserve_controller import SPACE, KServe

KEY = "sk-of-the-cluster"
HOLD_S = 50.0
Object = dict[str, Any]


@dataclass
class ClusterGateway:
    """``held`` counts the requests that waited for a pod, ``hosts`` every host that was asked for."""

    kserve: KServe
    port: int = 0
    held: int = 0
    hosts: list[str] = field(default_factory=list)
    turns: itertools.count[int] = field(default_factory=itertools.count)

    def backend(self, host: str, path: str, headers: Mapping[str, str]) -> Object | None:
        """Where a request goes by the first rule that fits it, one with a header before one without."""
        for route in self.kserve.listed(*ROUTE):
            if host not in route["spec"]["hostnames"]:
                continue
            rules = sorted(route["spec"]["rules"], key=lambda rule: "headers" not in rule["matches"][0])
            for rule in rules:
                if any(_fits(match, path, headers) for match in rule["matches"]):
                    return self._one_of(rule["backendRefs"])
        return None

    def _one_of(self, backends: list[Object]) -> Object:
        turns = [one for one in backends for _ in range(one.get("weight", 1))]
        return turns[next(self.turns) * 37 % len(turns)]

    def service_of(self, host: str, backend: Object) -> tuple[str, bool]:
        """The Service behind a backend, and whether requests to it are held while it has no pod."""
        if backend.get("namespace", SPACE) == SPACE:
            return backend["name"], False
        for kind in (("http.keda.sh/v1beta1", "InterceptorRoute"), ("http.keda.sh/v1alpha1", "HTTPScaledObject")):
            for one in self.kserve.listed(*kind):
                spec = one["spec"]
                if host in (spec.get("hosts") or [host for rule in spec["rules"] for host in rule["hosts"]]):
                    return (spec.get("target") or spec["scaleTargetRef"])["service"], True
        return "", True


@contextmanager
def cluster_gateway(kserve: KServe, pair: Pair | None = None, *, port: int = 0) -> Iterator[ClusterGateway]:
    """Running on loopback, with TLS where a certificate is given."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    found = ClusterGateway(kserve=kserve, port=server.server_address[1])
    server.gateway = found  # type: ignore[attr-defined]
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Quiet: a test's output is its own."""

    def do_POST(self) -> None:
        gateway: ClusterGateway = self.server.gateway  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"]))
        host = str(self.headers["host"]).partition(":")[0]
        gateway.hosts.append(host)
        backend = gateway.backend(host, self.path, {key.lower(): value for key, value in self.headers.items()})
        if backend is None:
            self._send(404, b"no route")
            return
        name = self._pod(gateway, *gateway.service_of(host, backend))
        if not name:
            self._send(503, b"no pod")
        elif self.headers.get("authorization") != f"Bearer {KEY}":
            self._send(401, b'{"error": "Unauthorized"}')
        else:
            self._pass_on(gateway.kserve, name, body)

    def _pod(self, gateway: ClusterGateway, service: str, held: bool) -> str:
        until = time.monotonic() + HOLD_S
        waited = False
        while True:
            pods = gateway.kserve.pods(service)
            if pods:
                name = str(pods[next(gateway.turns) % len(pods)]["metadata"]["name"])
                gateway.held += waited
                return name
            if not held or time.monotonic() > until:
                return ""
            waited = True
            gateway.kserve.wake(service)
            time.sleep(0.05)

    def _pass_on(self, kserve: KServe, name: str, body: bytes) -> None:
        kserve.in_flight[name] = kserve.in_flight.get(name, 0) + 1
        try:
            connection = http.client.HTTPConnection("127.0.0.1", kserve.ports[name], timeout=30)
            connection.request("POST", self.path, body=body, headers={"content-type": "application/json"})
            answer = connection.getresponse()
            self._send(answer.status, answer.read())
            connection.close()
        except OSError as error:
            self._send(502, str(error).encode())
        finally:
            kserve.in_flight[name] -= 1

    def _send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _fits(match: Object, path: str, headers: Mapping[str, str]) -> bool:
    wanted = match["path"]
    path_fits = path == wanted["value"] if wanted["type"] == "Exact" else path.startswith(wanted["value"])
    return path_fits and all(headers.get(one["name"]) == one["value"] for one in match.get("headers") or [])
