"""How an endpoint's OpenAI API is reached from this machine, whatever serves it.

Owns where a request goes and whom it trusts there. Knows no provider, and never shows the key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ai_how.models.types import SecretText
from ai_how.run.http import Response, request
from ai_how.run.tls_http import TlsSession


@dataclass(frozen=True, kw_only=True)
class Door:
    """One endpoint's address and what opens it.

    ``url`` is the base URL as clients know it, without a slash at the end. ``connect_to`` (``host:port``) is where the
    connection goes where that name leads nowhere from here; empty: to the URL's own. ``authority_pem`` signs the
    server; empty: one that the system trusts. ``forward`` is what opens the same way for others, where ours closes with
    the command: it brings the server's port to the same port of this machine.
    """

    url: str
    api_key: SecretText
    connect_to: str = ""
    authority_pem: str = field(default="", repr=False)
    forward: tuple[str, ...] = ()

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must have."""
        return urlsplit(self.url).hostname or ""

    def post(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None, timeout_s: float = 600
    ) -> Response:
        """Send JSON with the key and read the whole answer; any status is an answer.

        Raises:
            TryAgainError: none came; its message says why.
        """
        sent = {"authorization": f"Bearer {self.api_key}", "content-type": "application/json", **(headers or {})}
        if not self.connect_to and not self.authority_pem:
            return request("POST", f"{self.url}{path}", json_body=body, headers=sent, timeout_s=timeout_s)
        parts = urlsplit(self.url)
        session = TlsSession(
            f"{parts.scheme}://{self.connect_to or parts.netloc}",
            authority_pem=self.authority_pem,
            server_name=self.server_name if parts.scheme == "https" else "",
        )
        try:
            sent["host"] = parts.netloc
            data = json.dumps(body).encode()
            return session.request("POST", f"{parts.path}{path}", body=data, headers=sent, timeout_s=timeout_s)
        finally:
            session.close()
