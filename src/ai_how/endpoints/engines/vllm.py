"""vLLM as an engine: Hugging Face checkpoints and LoRA adapters on NVIDIA GPUs.

Owns the command line. Whether the model fits into the GPUs' memory is vLLM's own check: it says so at its start, and
the replica's log is shown.

Source: the options of ``vllm serve`` (vLLM 0.11 and later name them alike); compute capability from its releases; sleep
from its documentation (docs/features/sleep_mode.md) and vllm/entrypoints/serve/sleep/api_router.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ai_how.capacity.engine_overhead import adapters_at_once, room_for_rank
from ai_how.endpoints.engines.base import EngineCommand, EngineHost, ReplicaLaunch
from ai_how.errors import MissingToolError
from ai_how.models.types import ModelFormat, ModelInfo
from ai_how.run.process import which

LEAST_COMPUTE_CAPABILITY = 7.5
STREAMER = "runai_streamer"
"""Load format that streams safetensors into the GPU; source: vLLM's docs/models/extensions/runai_model_streamer.md."""
SLEEP_PATH, WAKE_PATH, ASLEEP_PATH = "/sleep", "/wake_up", "/is_sleeping"
"""Only with ``VLLM_SERVER_DEV_MODE=1``; the first two answer once it is done."""
SLEEP_LEVEL = "1"
"""Weights go to main memory, the KV cache is forgotten; level 2 would forget the weights too."""


class Vllm:
    """Serves on one or more GPUs of this machine."""

    name = "vllm"
    numbers_adapters = False

    def refusal(self, info: ModelInfo, host: EngineHost) -> str | None:
        if not host.accelerators:
            return "vLLM needs an NVIDIA GPU with a driver, and none was found"
        if host.vllm is None:
            return "the vllm program is not on PATH; install it in its own environment: uv tool install vllm"
        able = [gpu for gpu in host.accelerators if (gpu.compute_capability or 0) >= LEAST_COMPUTE_CAPABILITY]
        if not able:
            seen = ", ".join(f"{gpu.name} {gpu.compute_capability}" for gpu in host.accelerators)
            return f"vLLM needs compute capability {LEAST_COMPUTE_CAPABILITY} or more, this machine has {seen}"
        if info.format == ModelFormat.GGUF:
            return "GGUF files are served by llama.cpp; vLLM reads them only experimentally"
        return None

    def prepare(self, launch: ReplicaLaunch) -> None:
        """Nothing: vLLM reads the checkpoint as it is."""

    def command(self, launch: ReplicaLaunch) -> EngineCommand:
        """Every request may use ``context_tokens``, up to what the model was trained for."""
        program = which("vllm")
        if program is None:
            raise MissingToolError("vllm is not on PATH", next_step="uv tool install vllm, then: ai-how up")
        loras = _loras(launch)
        trained = launch.info.context_tokens or launch.context_tokens
        argv = (
            str(program),
            *("serve", str(launch.base_dir or launch.model_dir)),
            *("--host", launch.host, "--port", str(launch.port)),
            # where the endpoint's name is an adapter's, the base is reachable under its own
            *(
                "--served-model-name",
                f"{launch.served_name}-base" if launch.served_name in loras else launch.served_name,
            ),
            *("--max-model-len", str(min(launch.context_tokens, trained))),
            *("--max-num-seqs", str(launch.parallel_requests)),
            *("--tensor-parallel-size", str(max(1, launch.gpu_count))),
            *(("--load-format", STREAMER) if launch.streams else ()),
            *(("--enable-sleep-mode",) if launch.sleep_mode else ()),
            *(lora_options(loras, [_rank(folder) for folder in loras.values()], launch.parallel_requests)),
        )
        # nothing is fetched and nobody is told: the checkpoint lies here, complete
        env = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if launch.sleep_mode:
            env["VLLM_SERVER_DEV_MODE"] = "1"
        return EngineCommand(argv=argv, env=env, ready_path="/health")


def lora_options(
    loras: Mapping[str, Path] | Mapping[str, str], ranks: Sequence[int], parallel_requests: int
) -> tuple[str, ...]:
    """vLLM's options for adapters, by the names that clients send; nothing where there are none."""
    if not loras:
        return ()
    batch = adapters_at_once(len(loras), parallel_requests)
    return (
        "--enable-lora",
        *(("--max-loras", str(batch)) if batch > 1 else ()),
        # all stay in the host's memory, so that none is read from the disk again
        *(("--max-cpu-loras", str(len(loras))) if batch < len(loras) else ()),
        *("--max-lora-rank", str(room_for_rank(max(ranks)))),
        "--lora-modules",
        *(f"{name}={folder}" for name, folder in loras.items()),
    )


def _loras(launch: ReplicaLaunch) -> dict[str, Path]:
    if launch.base_dir is not None:
        return {launch.served_name: launch.model_dir}
    return {one.name: one.folder for one in launch.adapters}


def _rank(adapter: Path) -> int:
    try:
        return int(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get("r", 16))
    except (OSError, ValueError, TypeError):
        return 16
