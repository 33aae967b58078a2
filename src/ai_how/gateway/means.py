"""What the parts of the gateway that look after replicas work with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_how.gateway.backend import ReplicaBackend
from ai_how.gateway.config import GatewayConfig
from ai_how.gateway.metrics import Metrics

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, kw_only=True)
class Means:
    """What endpoints work with. ``spawn`` runs a coroutine in the background until the gateway stops."""

    config: GatewayConfig
    backend: ReplicaBackend
    session: aiohttp.ClientSession
    metrics: Metrics
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
