"""The few answers of the Hugging Face Hub that fetching a model needs: a double, since the hub is on the internet."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPO = "org/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def running_hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves ``folder`` as revision ``main`` of ``org/tiny``; yields its URL and the files that were fetched."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_args: object) -> None:
            pass

        def _answer(self) -> None:
            path = self.path.split("?")[0]
            if path in (f"/api/models/{REPO}/revision/{rev}" for rev in ("main", COMMIT)):
                files = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                self._send(200, json.dumps({"id": REPO, "sha": COMMIT, "siblings": files}).encode())
            elif path == f"/api/models/{REPO}/tree/{COMMIT}":
                entries = [
                    {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": file.name}
                    for file in sorted(folder.iterdir())
                ]
                self._send(200, json.dumps(entries).encode())
            elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
                name = path.rsplit("/", 1)[1]
                if self.command == "GET":
                    fetched.append(name)
                self._send(200, (folder / name).read_bytes())
            elif path.startswith(f"/api/models/{REPO}/revision/"):
                self._send(404, b"{}", code="RevisionNotFound")
            else:
                self._send(404, b"{}", code="RepoNotFound")

        def _send(self, status: int, body: bytes, *, code: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fetched
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
