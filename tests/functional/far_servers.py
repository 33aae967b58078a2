"""Servers that behave as those of the internet do: files, a container registry with tokens, charts, a proxy.

All of them are one process on loopback with two ports: the second is what large things are redirected to, and it
refuses whoever brings the first one's token, as storage services do.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
TOKEN = "anonymous-token"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Far:
    """What the servers have, how they misbehave, and what they were asked."""

    port: int = 0
    storage_port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    """By repository, and tag or digest: media type and content."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    """By path: statuses and headers that are answered first, one a request."""
    break_after: dict[str, list[int]] = field(default_factory=dict)
    """By path: after how many bytes of an answer the connection breaks, one a request."""
    ranges: bool = True
    redirect: bool = True
    with_tokens: bool = True
    digest_header: bool = True
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def add_file(self, path: str, content: bytes) -> str:
        """Put a file somewhere; gives its digest."""
        self.files[path] = content
        return digest_of(content)

    def add_image(
        self,
        repository: str,
        tag: str,
        *,
        platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64"),
        list_type: str = OCI_INDEX,
        size: int = 3000,
        base: bytes = b"",
    ) -> str:
        """Put an image somewhere; gives the digest of what its tag stands for. ``base`` is a layer to share."""
        listed = []
        for platform in platforms:
            layer = (f"{repository}:{tag} {platform} ".encode() * size)[:size]
            config = json.dumps({"architecture": platform.split("/")[1], "os": "linux"}).encode()
            layers = [one for one in (base, layer) if one]
            content = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "config": self._described(config, "application/vnd.oci.image.config.v1+json"),
                    "layers": [self._described(one, "application/vnd.oci.image.layer.v1.tar+gzip") for one in layers],
                }
            ).encode()
            self.manifests[repository, digest_of(content)] = (OCI_MANIFEST, content)
            system, machine = platform.split("/")[:2]
            listed.append(
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": digest_of(content),
                    "size": len(content),
                    "platform": {"os": system, "architecture": machine},
                }
            )
        if list_type:
            # what build tools add beside the platforms' own
            attestation = {**listed[0], "platform": {"os": "unknown", "architecture": "unknown"}}
            media_type = list_type
            document = {"schemaVersion": 2, "mediaType": list_type, "manifests": [attestation, *listed]}
            content = json.dumps(document).encode()
        else:
            media_type = OCI_MANIFEST
        self.manifests[repository, tag] = self.manifests[repository, digest_of(content)] = (media_type, content)
        return digest_of(content)

    def add_oci_chart(self, repository: str, tag: str, archive: bytes) -> None:
        """Put a chart into the registry, as Helm does."""
        config = self._described(b"{}", "application/vnd.cncf.helm.config.v1+json")
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config}
        content = json.dumps({**document, "layers": [self._described(archive, CHART)]}).encode()
        self.manifests[repository, tag] = self.manifests[repository, digest_of(content)] = (OCI_MANIFEST, content)

    def _described(self, content: bytes, media_type: str) -> dict[str, object]:
        self.blobs[digest_of(content)] = content
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    def count(self, path: str, method: str = "GET") -> int:
        """How often a path was asked."""
        return sum(one[0] == method and one[1].partition("?")[0] == path for one in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    far: Far

    def log_message(self, *_: object) -> None:
        return

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        far, path = self.far, urlsplit(self.path).path
        with far.guard:
            far.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            first = far.refuse[path].pop(0) if far.refuse.get(path) else None
        if first:
            self.answer(first[0], b"no", headers=first[1])
        elif self.server.server_address[1] == far.storage_port:
            self.storage(path)
        elif self.path.startswith("http://"):
            self.answer(200, f"by proxy: {self.path}".encode())
        elif path.startswith("/v2/"):
            self.registry(path)
        elif path == "/token":
            wanted = parse_qs(urlsplit(self.path).query)
            good = wanted.get("service") == ["far"] and wanted["scope"][0].startswith("repository:")
            self.answer(200 if good else 400, json.dumps({"token": TOKEN}).encode())
        elif path in far.files and path.startswith("/moved/"):
            self.answer(302, b"", headers={"Location": f"http://127.0.0.1:{far.storage_port}{path}?signed=1"})
        else:
            self.content(far.files.get(path))

    def storage(self, path: str) -> None:
        if "authorization" in (name.lower() for name in self.headers):
            self.answer(400, b"only one way to prove who you are is allowed")
            return
        self.content(self.far.files.get(path) or self.far.blobs.get(path.rsplit("/", 1)[-1]))

    def registry(self, path: str) -> None:
        far = self.far
        name, kind, which = path.removeprefix("/v2/").rsplit("/", 2)
        if far.with_tokens and self.headers.get("authorization") != f"Bearer {TOKEN}":
            realm = f'Bearer realm="{far.url("/token")}",service="far",scope="repository:{name}:pull"'
            self.answer(401, b"{}", headers={"WWW-Authenticate": realm})
        elif kind == "manifests":
            found = far.manifests.get((name, which))
            if found is None:
                self.answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
                return
            headers = {"Docker-Content-Digest": digest_of(found[1])} if far.digest_header else {}
            self.answer(200, found[1], headers={"Content-Type": found[0], **headers})
        elif which not in far.blobs:
            self.answer(404, b'{"errors": [{"code": "BLOB_UNKNOWN"}]}')
        elif far.redirect:
            self.answer(307, b"", headers={"Location": f"http://127.0.0.1:{far.storage_port}/blobs/{which}"})
        else:
            self.content(far.blobs[which])

    def content(self, body: bytes | None) -> None:
        wanted = self.headers.get("range", "")
        if body is None:
            self.answer(404, b"not here")
        elif wanted and self.far.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.answer(416, b"")
            else:
                headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
                self.answer(206, body[start:], headers=headers)
        else:
            self.answer(200, body)

    def answer(self, status: int, body: bytes, *, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        breaks = self.far.break_after.get(urlsplit(self.path).path)
        if breaks and status in (200, 206):
            self.wfile.write(body[: breaks.pop(0)])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    # a busy machine must not make connections wait to be tried again
    request_queue_size = 64
    daemon_threads = True


@contextmanager
def far_servers() -> Iterator[Far]:
    """The servers, while the block lasts."""
    far = Far()
    handler = type("Handler", (_Handler,), {"far": far})
    servers = [_Server(("127.0.0.1", 0), handler) for _ in range(2)]
    far.port, far.storage_port = (server.server_address[1] for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield far
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def chart_archive(name: str, version: str) -> bytes:
    """A small chart."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        text = f"apiVersion: v2\nname: {name}\nversion: {version}\n".encode()
        info = tarfile.TarInfo(f"{name}/Chart.yaml")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return out.getvalue()


def basic(account: str) -> str:
    """The header of an account."""
    return f"Basic {base64.b64encode(account.encode()).decode()}"
