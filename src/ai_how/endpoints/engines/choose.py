"""Which engine serves a model here. Pure."""

from __future__ import annotations

from ai_how.endpoints.engines.base import Engine, EngineHost
from ai_how.endpoints.engines.llamacpp import LlamaCpp
from ai_how.errors import SpecError
from ai_how.models.types import ModelInfo

ENGINES: tuple[Engine, ...] = (LlamaCpp(),)


def engine_named(name: str) -> Engine:
    for engine in ENGINES:
        if engine.name == name:
            return engine
    raise SpecError(f"there is no engine {name!r}", evidence=", ".join(engine.name for engine in ENGINES))


def choose(info: ModelInfo, host: EngineHost, wanted: str) -> Engine:
    reasons = []
    for engine in ENGINES:
        if wanted not in ("auto", engine.name):
            continue
        reason = engine.refusal(info, host)
        if reason is None:
            return engine
        reasons.append(f"{engine.name}: {reason}")
    raise SpecError("no engine can serve this model here", evidence="\n".join(reasons), next_step="x")
