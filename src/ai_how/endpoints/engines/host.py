"""What this machine offers to engines."""

from __future__ import annotations

import psutil

from ai_how.endpoints.engines.base import EngineHost


def observe_engine_host() -> EngineHost:
    return EngineHost(cpu_cores=psutil.cpu_count(logical=False) or 1)
