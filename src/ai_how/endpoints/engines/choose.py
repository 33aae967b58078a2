"""Which engine serves a model on a host. Pure. A new engine is one module and one line in ``ENGINES``."""

from __future__ import annotations

from ai_how.endpoints.engines.base import Engine, EngineHost
from ai_how.endpoints.engines.llamacpp import LlamaCpp
from ai_how.endpoints.engines.vllm import Vllm
from ai_how.errors import SpecError
from ai_how.models.types import ModelInfo

ENGINES: tuple[Engine, ...] = (Vllm(), LlamaCpp())
"""In the order in which ``auto`` prefers them."""


def engine_named(name: str) -> Engine:
    """The engine of that name.

    Raises:
        SpecError: there is none.
    """
    for engine in ENGINES:
        if engine.name == name:
            return engine
    raise SpecError(f"there is no engine {name!r}", evidence=f"there are: {', '.join(e.name for e in ENGINES)}")


def choose(info: ModelInfo, host: EngineHost, wanted: str) -> Engine:
    """The engine for a model: the wanted one, or with ``auto`` the first that can.

    Raises:
        SpecError: none can; the evidence is each engine's reason.
    """
    candidates = ENGINES if wanted == "auto" else (engine_named(wanted),)
    reasons = []
    for engine in candidates:
        reason = engine.refusal(info, host)
        if reason is None:
            return engine
        reasons.append(f"{engine.name}: {reason}")
    raise SpecError(
        f"no engine here can serve this {info.architecture} ({info.format})",
        evidence="\n".join(reasons),
        next_step="deploy another format (a GGUF file runs on any CPU), or see docs/explanation/engines.md",
    )
