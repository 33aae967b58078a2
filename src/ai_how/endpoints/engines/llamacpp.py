"""llama.cpp as an engine: GGUF files as they are, Hugging Face checkpoints and LoRA adapters after a conversion.

A single adapter is merged into its base; several lie beside it, and each request names the one it wants by its number.
Owns which files are served and the command line of ``llamacpp_server``. The conversions are ``hf_to_gguf``'s and
``lora_to_gguf``'s.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ai_how.endpoints.engines.architectures import ARCHITECTURES
from ai_how.endpoints.engines.base import AdapterFiles, EngineCommand, EngineHost, ReplicaLaunch
from ai_how.endpoints.engines.chat_template import agreed_template
from ai_how.errors import SpecError
from ai_how.models.types import ModelFormat, ModelInfo

CONVERSION = 1
"""Raise it when the converter writes other files than before, so that old ones are not served."""

# llama.cpp's OpenMP threads spin while they wait: with more runnable threads than cores, latency explodes
_ENV = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "HF_HUB_OFFLINE": "1"}


class LlamaCpp:
    """Serves on the CPU, wherever ai-how runs."""

    name = "llamacpp"
    numbers_adapters = True

    def refusal(self, info: ModelInfo, host: EngineHost) -> str | None:  # noqa: ARG002 (any host will do)
        """An adapter is judged by its base, which only ``prepare`` sees."""
        if info.format == ModelFormat.HUGGING_FACE and info.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            return f"llama.cpp gets no {info.architecture} from us; convertible are {known}, and any GGUF file"
        return None

    def prepare(self, launch: ReplicaLaunch) -> None:
        """Convert the checkpoint unless that was done before.

        Raises:
            SpecError: the checkpoint or the adapter is damaged, or cannot be converted exactly.
            ProviderError: the disk is full.
        """
        if launch.info.format == ModelFormat.GGUF:
            _gguf_file(launch.model_dir)
            return
        # in a process that serves nothing yet, numpy and gguf take 0.3 s: not on the way of a GGUF file
        from ai_how.endpoints.engines.hf_to_gguf import convert

        adapter = launch.model_dir if launch.info.format == ModelFormat.PEFT_ADAPTER else None
        checkpoint = _checkpoint_dir(launch)
        if launch.adapters:
            from ai_how.endpoints.adapters import named_in_errors
            from ai_how.endpoints.engines.lora_to_gguf import convert_adapter

            _template(launch)
            for one in launch.adapters:
                with named_in_errors(one.name.rpartition(":")[2], one.version):
                    convert_adapter(one.folder, checkpoint, _adapter_file(one))
        convert(
            checkpoint,
            _converted_file(launch),
            adapter=adapter,
            say=lambda line: print(line, flush=True),  # noqa: T201 (the replica's log)
        )

    def command(self, launch: ReplicaLaunch) -> EngineCommand:
        """Every request may use ``context_tokens``, up to what the model was trained for."""
        is_gguf = launch.info.format == ModelFormat.GGUF
        file = _gguf_file(launch.model_dir) if is_gguf else _converted_file(launch)
        template = _template(launch) if launch.adapters else None
        trained = launch.info.context_tokens or launch.context_tokens
        argv = (
            *(sys.executable, "-m", "ai_how.endpoints.engines.llamacpp_server"),
            *("--model", str(file)),
            *("--served-name", launch.served_name),
            *("--host", launch.host),
            *("--port", str(launch.port)),
            *("--context-tokens", str(min(launch.context_tokens, trained))),
            *("--parallel-requests", str(launch.parallel_requests)),
            *("--threads", str(launch.threads)),
            *(word for one in launch.adapters for word in ("--adapter", str(_adapter_file(one)))),
            *(() if template is None else ("--template-of", str(template))),
        )
        return EngineCommand(argv=argv, env=dict(_ENV))


def _checkpoint_dir(launch: ReplicaLaunch) -> Path:
    if launch.info.format != ModelFormat.PEFT_ADAPTER:
        return launch.model_dir
    if launch.base_dir is None:
        raise SpecError(
            "the adapter's base model is not here",
            evidence=f"base model: {launch.info.base_model}",
            next_step="push the base model too, and name it in the deploy file (base_model)",
        )
    if not (launch.base_dir / "config.json").is_file():
        raise SpecError(
            "the adapter's base must be a Hugging Face checkpoint",
            evidence=f"no config.json in {launch.base_dir}",
            next_step="push the base as a Hugging Face checkpoint, or merge the adapter before pushing",
        )
    return launch.base_dir


def _converted_file(launch: ReplicaLaunch) -> Path:
    """One file for each base that an adapter is merged into: the base's folder bears its digest."""
    base = f"-{launch.base_dir.name[:16]}" if launch.base_dir else ""
    return launch.scratch_dir / f"llamacpp-{CONVERSION}{base}.gguf"


def _template(launch: ReplicaLaunch) -> Path | None:
    adapters = {one.name: one.folder for one in launch.adapters}
    return agreed_template(launch.model_dir, adapters, base_is_served=launch.served_name not in adapters)


def _adapter_file(adapter: AdapterFiles) -> Path:
    return adapter.scratch_dir / f"llamacpp-{CONVERSION}-adapter.gguf"


def _gguf_file(folder: Path) -> Path:
    """The GGUF file of a model: the only one, or the first part of a split one (the rest is found by name)."""
    files = sorted(path for path in folder.rglob("*.gguf") if not path.name.startswith("mmproj"))
    parts = [path for path in files if re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name)]
    firsts = [path for path in parts if re.search(r"-0+1-of-\d+\.gguf$", path.name)]
    if files and files == parts and len(firsts) == 1:
        return firsts[0]
    if len(files) == 1:
        return files[0]
    raise SpecError(
        f"one GGUF file is needed, {len(files)} were found",
        evidence="\n".join(path.name for path in files) or f"looked in {folder}",
        next_step="push one file: ai-how model push FILE.gguf --name NAME",
    )
