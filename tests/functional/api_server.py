"""A stand-in for an API server: HTTPS with client certificates in front of ``api_store``, and faults that tests order.

Only what a test cannot order of a real one is here and not in the conformance suite: refusals, silence, old versions.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .api_endpoint import Endpoint
from .api_refusal import RefusalError
from .api_store import VERBS, Object, ServedKind, Store
from .certificates import Authority

VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.4-standin"}
MERGE_TYPES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


@dataclass(kw_only=True)
class Fault:
    """What happens to the next ``times`` requests whose method and path fit, instead of an answer.

    ``status`` 0 breaks the connection; ``hang_s`` keeps silent first.
    """

    method: str = ""
    path: str = ""
    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    times: int = 1
    hang_s: float = 0


class StandIn(ThreadingHTTPServer):
    """The server with its store; ``seen`` is every request that came, as (method, path)."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = context
        self.store = Store()
        self.faults: list[Fault] = []
        self.tokens: dict[str, str] = {}
        self.logs: dict[tuple[str, str], str] = {}
        self.disks: dict[str, tuple[int, int]] = {}
        self.seen: list[tuple[str, str]] = []
        self.ended = threading.Event()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake belongs to the connection's own thread, so that a bad one holds up no other."""
        try:
            wrapped = self.context.wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError):
            return
        super().finish_request(wrapped, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none."""

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets."""
        for fault in self.faults:
            if fault.times and fault.method in ("", method) and fault.path in path:
                fault.times -= 1
                return fault
        return None


@contextmanager
def stand_in(folder: Path) -> Iterator[tuple[Endpoint, StandIn]]:
    """A running stand-in, and the server itself for what tests order."""
    authority = Authority(folder / "pki")
    serving = authority.issue("kube-apiserver")
    admin = authority.issue("admin", organisation="system:masters")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(serving.certificate, serving.key)
    context.load_verify_locations(authority.pair.certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    server = StandIn(context)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    url = f"https://127.0.0.1:{server.server_address[1]}"
    try:
        yield Endpoint(url=url, authority=authority, admin=admin, folder=folder, is_real=False), server
    finally:
        server.ended.set()
        with server.store.changed:
            server.store.changed.notify_all()
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What a path names."""

    kind: ServedKind
    namespace: str
    name: str
    subresource: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # head and body in one piece
    server: StandIn

    def log_message(self, *_: Any) -> None:
        """Quiet: a test's output is its own."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _serve(self) -> None:
        split = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(split.query).items()}
        size = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(size)) if size else {}
        self.server.seen.append((self.command, self.path))
        fault = self.server.fault_for(self.command, self.path)
        if fault is not None:
            self._fail(fault)
            return
        try:
            self._authorise()
            if query.get("watch") == "true":
                self._watch(self._target(split.path), query)
                return
            with self.server.store.changed:
                answer = self._answer(split.path, query, body)
        except RefusalError as refusal:
            self._send(refusal.code, refusal.status)
        else:
            self._send(201 if self.command == "POST" else 200, answer)

    def _fail(self, fault: Fault) -> None:
        if fault.hang_s:
            self.server.ended.wait(fault.hang_s)
        if not fault.status:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(fault.status)
        for name, value in {"content-length": str(len(fault.body)), **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(fault.body)

    def _authorise(self) -> None:
        shown = self.connection.getpeercert() or {}  # type: ignore[attr-defined]
        names = {key: value for part in shown.get("subject", ()) for key, value in part}
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        user = self.server.tokens.get(token) if scheme == "Bearer" else names.get("commonName")
        if scheme == "Bearer" and user is None:
            raise RefusalError(401, "Unauthorized", "Unauthorized")
        if names.get("organizationName") != "system:masters" and user != "admin":
            who = user or "system:anonymous"
            message = f'User "{who}" cannot {self.command.lower()} path "{urlsplit(self.path).path}"'
            raise RefusalError(403, "Forbidden", f"forbidden: {message}")

    def _answer(self, path: str, query: Mapping[str, str], body: Object) -> Any:
        if path in _PLAIN:
            return _PLAIN[path]
        found = self._discovery(path)
        if found is not None:
            return found
        target = self._target(path)
        if target.subresource == "log":
            self.server.store.get(target.kind, target.namespace, target.name)
            return self.server.logs.get((target.namespace, target.name), "")
        if target.subresource == "proxy":
            return self._kubelet(path, target.name)
        if self.command == "GET":
            return self._get(target, query)
        return self._change(target, query, body)

    def _kubelet(self, path: str, node: str) -> Object:
        """What the kubelet of a node says of its disk; without one there is nobody to say anything."""
        if not path.endswith("/proxy/stats/summary") or node not in self.server.disks:
            raise RefusalError(503, "ServiceUnavailable", f"error trying to reach service: dial tcp: {node}")
        free, size = self.server.disks[node]
        return {"node": {"nodeName": node, "fs": {"availableBytes": free, "capacityBytes": size}}, "pods": []}

    def _get(self, target: _Target, query: Mapping[str, str]) -> Object:
        store = self.server.store
        if target.name:
            return store.get(target.kind, target.namespace, target.name)
        items = store.listed(target.kind, target.namespace, _selection(query))
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(items) + 1
        more = str(start + limit) if start + limit < len(items) else ""
        metadata = {"resourceVersion": store.version, **({"continue": more} if more else {})}
        page = items[start : start + limit]
        kind = f"{target.kind.kind}List"
        if "PartialObjectMetadataList" in self.headers.get("accept", ""):
            kind = "PartialObjectMetadataList"
            page = [{"kind": "PartialObjectMetadata", "metadata": item["metadata"]} for item in page]
        else:
            page = [{k: v for k, v in item.items() if k not in ("apiVersion", "kind")} for item in page]
        return {"kind": kind, "apiVersion": target.kind.api_version, "metadata": metadata, "items": page}

    def _change(self, target: _Target, query: Mapping[str, str], body: Object) -> Object:
        store, kind, namespace, name = self.server.store, target.kind, target.namespace, target.name
        manager, dry = query.get("fieldManager", "unknown"), query.get("dryRun") == "All"
        if self.command == "DELETE":
            return store.delete(kind, namespace, name, body)
        if self.command == "POST":
            return store.create(kind, namespace, body, manager, dry=dry)
        if self.command == "PUT" and target.subresource == "finalize":
            thing = store.get(kind, namespace, name)
            return store.write(kind, namespace, name, {**thing, "spec": body["spec"]}, manager, "Update")
        if self.command == "PUT":
            return store.write(kind, namespace, name, body, manager, "Update", dry)
        if self.headers.get("content-type") == "application/apply-patch+yaml":
            return store.apply(kind, namespace, body, manager, force=query.get("force") == "true", dry=dry)
        if self.headers.get("content-type") not in MERGE_TYPES:
            raise RefusalError(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        after = _merge_patch(store.get(kind, namespace, name), body)
        return store.write(kind, namespace, name, after, manager, "Update", dry)

    def _watch(self, target: _Target, query: Mapping[str, str]) -> None:
        store, accepts = self.server.store, _selection(query)
        seen = int(query.get("resourceVersion") or 0)
        until = time.monotonic() + float(query.get("timeoutSeconds") or 30)
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.flush()
        if seen < store.oldest:
            gone = RefusalError(410, "Expired", f"too old resource version: {seen} ({store.oldest})")
            self._chunk({"type": "ERROR", "object": gone.status})
        while seen >= store.oldest and time.monotonic() < until and not self.server.ended.is_set():
            with store.changed:
                news = [entry for entry in store.history if entry[0] > seen]
                if not news:
                    store.changed.wait(0.2)
            for version, change, resource, thing in news:
                seen = version
                fits = resource == target.kind.resource and accepts(thing)
                if fits and target.namespace in ("", thing["metadata"].get("namespace", "")):
                    whole = {**thing, "apiVersion": target.kind.api_version, "kind": target.kind.kind}
                    self._chunk({"type": change, "object": whole})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, change: Object) -> None:
        line = json.dumps(change).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()

    def _discovery(self, path: str) -> Object | None:
        kinds = list(self.server.store.kinds.values())
        if path == "/apis":
            newest = {kind.group: kind.version for kind in kinds if kind.group}
            groups = [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                    "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
                }
                for group, version in newest.items()
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        api_version = path.removeprefix("/apis/").removeprefix("/api/")
        served = [kind for kind in kinds if kind.api_version == api_version]
        if not served:
            return None
        resources = [
            {"name": kind.plural, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS} for kind in served
        ]
        return {"kind": "APIResourceList", "groupVersion": api_version, "resources": resources}

    def _target(self, path: str) -> _Target:
        parts = path.strip("/").split("/")
        group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[2:])
        if parts[0] not in ("api", "apis") or len(rest) < 2:
            raise RefusalError(404, "NotFound", "the server could not find the requested resource")
        version, rest = rest[0], rest[1:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = self.server.store.kind_of(group, version, rest[0])
        name = rest[1] if len(rest) > 1 else ""
        return _Target(kind=kind, namespace=namespace, name=name, subresource=rest[2] if len(rest) > 2 else "")

    def _send(self, code: int, answer: Any) -> None:
        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "text/plain" if isinstance(answer, str) else "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


_PLAIN: Mapping[str, Any] = {"/version": VERSION, "/readyz": "ok"}


def _selection(query: Mapping[str, str]) -> Callable[[Object], bool]:
    labels = [part.partition("=") for part in query.get("labelSelector", "").split(",") if part]
    wanted = [part.partition("=")[::2] for part in query.get("fieldSelector", "").split(",") if part]

    def accepts(thing: Object) -> bool:
        own = thing["metadata"].get("labels") or {}
        # a name alone asks whether there is such a label
        return all(own.get(key) == value if sign else key in own for key, sign, value in labels) and all(
            _field(thing, path) == value for path, value in wanted
        )

    return accepts


def _field(thing: Any, path: str) -> Any:
    for name in path.split("."):
        thing = (thing or {}).get(name)
    return thing


def _merge_patch(thing: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(thing) if isinstance(thing, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif key == "containers":  # the one list that a strategic merge of these tests names
            merged[key] = _merge_named(merged.get(key) or [], value)
        else:
            merged[key] = _merge_patch(merged.get(key), value)
    return merged


def _merge_named(items: list[Object], patches: list[Object]) -> list[Object]:
    changes = {patch["name"]: patch for patch in patches}
    kept = [_merge_patch(item, changes.pop(item["name"], {})) for item in items]
    return kept + list(changes.values())
