"""The gateway's life: open, listen, drain, close."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ai_how.gateway.admin_api import AdminApi
from ai_how.gateway.backend import ReplicaBackend
from ai_how.gateway.config import GatewayConfig
from ai_how.gateway.fleet import Fleet
from ai_how.gateway.forward import Forwarder, make_session
from ai_how.gateway.http_edge import NoMalformedRequests
from ai_how.gateway.keys import Keys, parse_admin_key, parse_api_keys
from ai_how.gateway.listener import Listener
from ai_how.gateway.log import log_event
from ai_how.gateway.means import Means
from ai_how.gateway.metrics import Metrics
from ai_how.gateway.public_api import PublicApi

ADMIN_HOST = "127.0.0.1"


async def serve(config: GatewayConfig, backend: ReplicaBackend, *, stop: asyncio.Event) -> None:
    """Run the gateway until ``stop`` is set; then finish what is in flight. Replicas live on.

    Raises:
        SpecError: a key file cannot be read.
        ConflictError: an address is in use.
        ExceptionGroup: a background task failed by a mistake of ours; whoever supervises the process starts it
            again, and it finds its replicas.
    """
    logging.getLogger("aiohttp.server").addFilter(NoMalformedRequests())
    metrics = Metrics()
    api_keys = Keys(config.api_keys_file, parse_api_keys)
    admin_key = Keys(config.admin_key_file, parse_admin_key)
    background: set[asyncio.Task[None]] = set()
    async with make_session(keep=True) as session, make_session(keep=False) as fresh, asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
            task = group.create_task(work)
            background.add(task)
            task.add_done_callback(background.discard)
            return task

        means = Means(config=config, backend=backend, session=fresh, metrics=metrics, spawn=spawn)
        fleet = Fleet(means, url=f"{base_url(config.host, config.port)}/v1")
        await fleet.open()
        public = PublicApi(
            fleet,
            forwarder=Forwarder(
                session=session, fresh=fresh, metrics=metrics, hold_timeout_s=config.gateway.hold_timeout_s
            ),
            keys=api_keys,
            metrics=metrics,
            site=config.site,
            max_request_bytes=int(config.gateway.max_request_mib * 2**20),
        )
        admin = AdminApi(fleet, keys=admin_key, metrics=metrics)
        listeners = [Listener(public.app()), Listener(admin.app())]
        try:
            await listeners[0].open(config.host, config.port)
            await listeners[1].open(ADMIN_HOST, config.admin_port)
            log_event("gateway_ready", host=config.host, port=config.port, endpoints=len(fleet.endpoints))
            await stop.wait()
            log_event("gateway_stopping")
            # it listens until the last request has ended: who comes now is told so, health checks included
            fleet.close_line()
            await fleet.drained(timeout_s=config.serving.drain_timeout_s)
        finally:
            await asyncio.gather(*(listener.close() for listener in listeners))
            for task in list(background):
                task.cancel()
    log_event("gateway_stopped")


def base_url(host: str, port: int) -> str:
    """Where clients find the gateway; one that listens on all addresses is found on loopback too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
