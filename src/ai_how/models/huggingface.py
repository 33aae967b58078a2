"""A checkpoint folder as Transformers, PEFT and Oumi write it: do its files belong together?

Owns the names of those files. Reads headers and JSON, never weights.
Source: Transformers' ``utils/hub.py`` and ``modeling_utils.py``, PEFT's ``utils/constants.py``.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from ai_how.errors import SpecError
from ai_how.models import lora_config, safetensors
from ai_how.models.findings import Findings
from ai_how.models.types import ModelFormat, ModelInfo

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
TOKENIZER_CONFIG = "tokenizer_config.json"

_TOKENIZERS = ({"tokenizer.json"}, {"tokenizer.model"}, {"vocab.json", "merges.txt"}, {"vocab.txt"})
_CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json")
# config.json names the longest context differently from one family to the next
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")
_COPY_AGAIN = "copy the file again from where the model was trained"
_COPY_BOTH = f"copy {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} again, both from the same training"
_AS_SAFETENSORS = "save it again as safetensors: model.save_pretrained(FOLDER, safe_serialization=True)"


def inspect_full(folder: Path, names: Collection[str], found: Findings) -> tuple[ModelInfo, set[str]]:
    """A full model: its description, and the weight files that belong to it."""
    config = _read_object(folder, CONFIG, found)
    architectures = config.get("architectures")
    if not (isinstance(architectures, list) and architectures and isinstance(architectures[0], str)):
        architectures = ["unknown"]
        if config:
            found.problem(f"{CONFIG}: it names no architecture", next_step=f'add "architectures": [...] to {CONFIG}')
    files, tensors = _full_weights(folder, names, found)
    parameters, dtype = safetensors.summary(tensors)
    info = ModelInfo(
        format=ModelFormat.HUGGING_FACE,
        architecture=architectures[0],
        parameters=parameters,
        dtype=dtype,
        context_tokens=_context_tokens(config),
        chat_template=_chat_template(folder, names, found),
    )
    if not any(files <= set(names) for files in _TOKENIZERS) and not any(n.endswith(".tiktoken") for n in names):
        found.warnings.append("no tokenizer files: most engines cannot serve the model without them")
    return info, files


def inspect_adapter(folder: Path, names: Collection[str], found: Findings) -> tuple[ModelInfo, set[str]]:
    """A PEFT adapter: its description, and the weight file that belongs to it."""
    config = _read_object(folder, ADAPTER_CONFIG, found)
    base = config.get("base_model_name_or_path")
    if config and not (isinstance(base, str) and base):
        found.problem(
            f"{ADAPTER_CONFIG}: it names no base model",
            next_step=f'add "base_model_name_or_path": "NAME" to {ADAPTER_CONFIG}',
        )
    tensors: dict[str, safetensors.Tensor] = {}
    if ADAPTER_WEIGHTS in names:
        with found.of_file(ADAPTER_WEIGHTS, next_step=_COPY_AGAIN):
            tensors = safetensors.read_header(folder / ADAPTER_WEIGHTS).tensors
            for problem in lora_config.problems(config, {name: tensor.shape for name, tensor in tensors.items()}):
                found.problem(problem, next_step=_COPY_BOTH)
    else:
        _no_weights(ADAPTER_WEIGHTS, names, found)
    if WEIGHTS in names or INDEX in names:
        found.problem(
            "it holds both a full model and an adapter",
            next_step=f"push the adapter from a folder of its own, or remove {ADAPTER_CONFIG}",
        )
    parameters, dtype = safetensors.summary(list(tensors.values()))
    info = ModelInfo(
        format=ModelFormat.PEFT_ADAPTER,
        architecture=str(config.get("peft_type") or "unknown"),
        parameters=parameters,
        dtype=dtype,
        chat_template=_chat_template(folder, names, found),
        base_model=base if isinstance(base, str) else None,
    )
    return info, {ADAPTER_WEIGHTS}


def _full_weights(folder: Path, names: Collection[str], found: Findings) -> tuple[set[str], list[safetensors.Tensor]]:
    if WEIGHTS in names:
        with found.of_file(WEIGHTS, next_step=_COPY_AGAIN):
            return {WEIGHTS}, list(safetensors.read_header(folder / WEIGHTS).tensors.values())
    elif INDEX in names:
        return _sharded_weights(folder, names, found)
    else:
        _no_weights(f"{WEIGHTS} or {INDEX}", names, found)
    return {WEIGHTS}, []


def _sharded_weights(
    folder: Path, names: Collection[str], found: Findings
) -> tuple[set[str], list[safetensors.Tensor]]:
    weight_map = _read_object(folder, INDEX, found).get("weight_map")
    if not (
        isinstance(weight_map, dict)
        and weight_map
        and all(isinstance(shard, str) and shard == PurePosixPath(shard).name for shard in weight_map.values())
    ):
        found.problem(f"{INDEX}: it has no map from weights to files beside it", next_step=_COPY_AGAIN)
        return {INDEX}, []
    tensors: list[safetensors.Tensor] = []
    shards = sorted(set(weight_map.values()))
    for shard in shards:
        if shard not in names:
            found.problem(f"{shard}: missing, but {INDEX} names it", next_step=f"copy {shard} into the folder")
            continue
        with found.of_file(shard, next_step=_COPY_AGAIN):
            held = safetensors.read_header(folder / shard).tensors
            wanted = [name for name, file in weight_map.items() if file == shard]
            lacking = [name for name in wanted if name not in held]
            if lacking:
                raise SpecError(f"it lacks {len(lacking)} weights that {INDEX} looks for in it, such as {lacking[0]}")
            tensors += [held[name] for name in wanted]
    return {INDEX, *shards}, tensors


def _no_weights(wanted: str, names: Collection[str], found: Findings) -> None:
    pickled = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
    if pickled:
        found.problem(
            f"{pickled[0]}: pickled weights are refused, since loading them can run any code", next_step=_AS_SAFETENSORS
        )
    else:
        found.problem(f"no weights: there is no {wanted}", next_step=f"copy {wanted} into the folder")


def _chat_template(folder: Path, names: Collection[str], found: Findings) -> bool:
    config = _read_object(folder, TOKENIZER_CONFIG, found) if TOKENIZER_CONFIG in names else {}
    return bool(config.get("chat_template")) or any(name in names for name in _CHAT_TEMPLATES)


def _context_tokens(config: dict[str, Any]) -> int | None:
    text = config.get("text_config")
    for section in (config, text if isinstance(text, dict) else {}):
        for key in _CONTEXT_KEYS:
            if type(section.get(key)) is int and section[key] > 0:
                return int(section[key])
    return None


def _read_object(folder: Path, name: str, found: Findings) -> dict[str, Any]:
    with found.of_file(name, next_step=_COPY_AGAIN):
        try:
            content = json.loads((folder / name).read_bytes())
        except (ValueError, RecursionError) as error:
            raise SpecError(f"broken JSON: {error}") from error
        if isinstance(content, dict):
            return content
        raise SpecError("it holds no JSON object")
    return {}
