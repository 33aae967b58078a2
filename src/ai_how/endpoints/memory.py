"""Whether a model will fit on the GPUs that an endpoint gets: a word before it is started, never a refusal.

Reads headers only. What cannot be told is left to the engine, which says so at its start.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from ai_how.capacity.fit_advice import advice
from ai_how.capacity.gpu_memory import UsableGpu
from ai_how.capacity.model_memory import Fits, Load, judge
from ai_how.endpoints.adapters import with_adapters
from ai_how.endpoints.engines.base import Accelerator, EngineHost
from ai_how.endpoints.types import EndpointSpec
from ai_how.errors import SpecError
from ai_how.models.shape import read_model
from ai_how.site.spec import Serving


def memory_warning(source: Path, spec: EndpointSpec, *, serving: Serving, host: EngineHost) -> tuple[str, ...]:
    """What to say where vLLM would have too little memory: what is short, what would help, what to type; else nothing.

    Args:
        source: The checkpoint's folder.
    """
    gpu = next((gpu for gpu in host.accelerators if gpu.name == spec.hardware.accelerator), None)
    if spec.engine != "vllm" or spec.adapter_base_uri is not None or gpu is None:
        return ()
    try:
        planned = read_model(source)
    except SpecError:
        # an architecture that planning does not know may well be one that the engine does
        return ()
    longest = planned.longest_context_tokens or serving.context_tokens
    load = Load(
        context_tokens=min(serving.context_tokens, longest),
        sequences=serving.parallel_requests,
        gpus=max(1, spec.hardware.count),
    )
    usable = _usable(gpu)
    memory = with_adapters(planned.memory, spec.adapters)
    if judge(memory, usable, load).fits is not Fits.NO:
        return ()
    asked = f"{load.sequences} requests of {load.context_tokens} tokens"
    words = ["ai-how", "model", "fit", str(source), "--gpu", gpu.name, "--gpus", str(load.gpus)]
    words += ["--context", str(load.context_tokens), "--sequences", str(load.sequences)]
    return (
        f"warning: by our estimate it does not fit on {load.gpus}x {gpu.name} with {asked} at once",
        f"what would help: {advice(memory, usable, load)}",
        f"details: {shlex.join(words)}",
    )


def _usable(gpu: Accelerator) -> UsableGpu:
    """All that the driver reports: the mildest reading, so that a warning is worth reading."""
    capability = None if gpu.compute_capability is None else (int(gpu.compute_capability), _minor(gpu))
    return UsableGpu(
        name=gpu.name,
        nominal_gib=gpu.memory_gib,
        usable_gib=gpu.memory_gib,
        source="the NVIDIA driver of this machine",
        compute_capability=capability,
    )


def _minor(gpu: Accelerator) -> int:
    return round((gpu.compute_capability or 0) * 10) % 10
