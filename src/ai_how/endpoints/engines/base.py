"""The shape of an inference engine. Pure: an engine says what to run; ``local`` or Kubernetes runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ai_how.models.types import ModelInfo


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One GPU: Oumi's spelling of its name, memory in GiB, CUDA compute capability such as 8.6."""

    name: str
    memory_gib: float
    compute_capability: float | None = None


@dataclass(frozen=True, kw_only=True)
class EngineHost:
    """What the machine offers to engines: its GPUs, the ``vllm`` program if any, physical CPU cores."""

    accelerators: tuple[Accelerator, ...] = ()
    vllm: Path | None = None
    cpu_cores: int = 1


@dataclass(frozen=True, kw_only=True)
class AdapterFiles:
    """An adapter by the name that clients send; ``scratch_dir`` is for files derived from it and its base.

    ``version`` is what it is registered as, where that is known.
    """

    name: str
    folder: Path
    scratch_dir: Path
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class ReplicaLaunch:
    """Everything an engine needs to serve one replica. ``model_dir`` holds the model's files, already verified.

    ``scratch_dir`` is for files derived from the model (a conversion); it is shared by the replicas of a model.
    ``sleep_mode``: it is to be able to sleep, where the engine knows how;
    ``streams``: so that its weights are streamed.
    ``adapters`` share one base, which is then in ``model_dir`` and described by ``info``; ``served_name`` may be one of
    them. ``base_dir`` is set where a single adapter is served.
    """

    served_name: str
    model_dir: Path
    info: ModelInfo
    scratch_dir: Path
    host: str
    port: int
    context_tokens: int
    parallel_requests: int
    threads: int
    gpu_count: int = 0
    base_dir: Path | None = None
    sleep_mode: bool = False
    streams: bool = False
    adapters: tuple[AdapterFiles, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EngineCommand:
    """What to run for a replica. ``ready_path`` answers 200 once the model is loaded."""

    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    ready_path: str = "/health"


class Engine(Protocol):
    """An inference engine that speaks OpenAI's API over HTTP."""

    name: str
    numbers_adapters: bool
    """Whether a request names one of several adapters by its number, not by ``model``."""

    def refusal(self, info: ModelInfo, host: EngineHost) -> str | None:
        """Why this engine cannot serve the model on this host, in one sentence; None where it can."""
        ...

    def prepare(self, launch: ReplicaLaunch) -> None:
        """Derive what the engine needs from the checkpoint (a conversion); does nothing where it is there already.

        The only method with effects: it writes below ``launch.scratch_dir`` and nowhere else.
        """
        ...

    def command(self, launch: ReplicaLaunch) -> EngineCommand:
        """The command line that serves ``launch`` once ``prepare`` has run."""
        ...
