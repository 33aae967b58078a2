"""The gateway's own configuration file (JSON), written by the provider. Holds paths to secrets, never secrets."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ai_how.site.spec import Gateway, Serving


class GatewayConfig(BaseModel):
    """Everything that the gateway process needs to start.

    ``api_keys_file``: JSON object, key name -> key, mode 0600; read again when it changes.
    ``admin_key_file``: one line, mode 0600. ``endpoints_dir``: one JSON file an endpoint, owned by the gateway.
    The admin API listens on 127.0.0.1 only, whatever ``gateway.host`` says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str
    host: str
    port: int
    admin_port: int
    api_keys_file: Path
    admin_key_file: Path
    endpoints_dir: Path
    gateway: Gateway
    serving: Serving
