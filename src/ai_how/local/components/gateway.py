"""The gateway's process and its configuration file."""

from __future__ import annotations

import json
import sys

from ai_how import __version__
from ai_how.gateway.config import GatewayConfig
from ai_how.local.components.base import Setting, local_url
from ai_how.local.process import ProcessSpec

NAME = "gateway"


def gateway(setting: Setting, *, s3_url: str) -> ProcessSpec:
    """The process: the gateway on the address of the site file, its admin API on loopback."""
    site, layout = setting.site, setting.layout
    wanted = site.gateway
    port = setting.ports.port("gateway", wanted=wanted.port, host=wanted.host)
    admin_port = setting.ports.port("gateway-admin")
    config = GatewayConfig(
        site=site.name,
        host=wanted.host,
        port=port,
        admin_port=admin_port,
        api_keys_file=setting.secrets.api_keys,
        admin_key_file=setting.secrets.admin_key,
        endpoints_dir=layout.endpoints,
        gateway=wanted,
        serving=site.serving,
    )
    replicas = {
        "root": str(layout.root),
        "site": site.name,
        "serving": site.serving.model_dump(mode="json"),
        "s3": {
            "endpoint_url": s3_url,
            "region": site.object_store.region,
            "bucket": site.object_store.bucket,
            "env_file": str(setting.secrets.s3_env),
        },
    }
    config_file = layout.conf / "gateway.json"
    replicas_file = layout.conf / "replicas.json"
    return ProcessSpec(
        name=NAME,
        argv=(
            sys.executable,
            *("-m", "ai_how.local.gateway_main"),
            *("--config", str(config_file), "--replicas", str(replicas_file)),
        ),
        files={
            str(config_file): config.model_dump_json(indent=2) + "\n",
            str(replicas_file): json.dumps(replicas, indent=2) + "\n",
        },
        ports={"gateway": port, "gateway-admin": admin_port},
        health=f"{local_url(port) if wanted.host == '0.0.0.0' else url(wanted.host, port)}/v2/health/live",  # noqa: S104
        stop_wait_s=site.serving.drain_timeout_s + 5,
        version=__version__,
    )


def url(host: str, port: int) -> str:
    """Base URL for a host name or an IPv4 or IPv6 address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
