"""Reads what memory planning needs of a model: its shape and the size of its weights. Headers and JSON, never weights.

Owns which files are looked at: a checkpoint folder, a bare ``config.json``, a GGUF file, a PEFT adapter with its base.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ai_how.capacity.architectures import FAMILIES, architecture_name, shape_of
from ai_how.capacity.gguf_shape import shape_of_gguf
from ai_how.capacity.model_memory import Engine, ModelInMemory
from ai_how.capacity.model_shape import ModelShape
from ai_how.capacity.weight_types import WeightType, declared_type, is_for_llama_cpp, plain_type
from ai_how.errors import SpecError
from ai_how.models import gguf_header, huggingface, safetensors
from ai_how.models.checkpoint import inspect
from ai_how.models.types import ModelFormat

DEFAULT_RANK = 16
"""PEFT writes its rank into every configuration; this is vLLM's default of the room for one."""


@dataclass(frozen=True, kw_only=True)
class PlannedModel:
    """A model to plan for. ``parameters`` and ``stored_as`` as the files say; ``notes`` are what a reader must know.

    ``served_path`` is what an engine is given: of an adapter its base, of a bare configuration a placeholder.
    """

    name: str
    served_path: str
    memory: ModelInMemory
    architecture: str
    parameters: int
    stored_as: str
    longest_context_tokens: int | None
    notes: tuple[str, ...] = ()


def read_model(path: Path, *, kind: WeightType | None = None, base: Path | None = None) -> PlannedModel:
    """The model at a path as it would be loaded, in its own type or in ``kind``.

    Args:
        base: The base model's folder or ``config.json``, for an adapter.

    Raises:
        SpecError: it is no sound model, or its shape is not known and cannot be told from its headers.
    """
    if path.is_dir() and (path / huggingface.ADAPTER_CONFIG).is_file():
        return _adapter(path, base, kind)
    if base is not None:
        raise SpecError(f"{path} is no adapter: it has no base", next_step="leave --base out")
    if path.is_file() and path.suffix == ".json":
        return _from_config(path, _load_config(path), kind)
    if not path.exists():
        raise SpecError(
            f"{path} does not exist",
            next_step="give a folder, a config.json or a .gguf file; a registered model: ai-how model pull NAME FOLDER",
        )
    found = inspect(path)
    if found.info.format is ModelFormat.GGUF:
        return _gguf(found.root / found.files[0], kind)
    return _checkpoint(found.root, kind)


def _load_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path} cannot be read", evidence=error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not JSON", evidence=str(error), next_step="copy the file again") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path} holds no JSON object", next_step="give the config.json of a model")
    return content


def _from_config(path: Path, config: dict[str, Any], kind: WeightType | None) -> PlannedModel:
    """From the configuration alone: for planning before a download."""
    shape = shape_of(config)
    stored = _declared(config)
    notes = ["weights are computed from config.json alone; the files may hold a little more"]
    if "text_config" in config:
        notes.append("only the language part is counted: what sees images or hears is not in these sizes")
    loaded = kind or _loaded(stored, notes)
    return PlannedModel(
        name=str(path),
        served_path="MODEL",
        memory=ModelInMemory(shape=shape, kind=loaded, engine=_engine(loaded)),
        architecture=shape.architecture,
        parameters=shape.parameters,
        stored_as=stored.name,
        longest_context_tokens=shape.longest_context_tokens,
        notes=tuple(notes),
    )


def _declared(config: dict[str, Any]) -> WeightType:
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict):
        return declared_type(quantization)
    text = config.get("text_config")
    sections = (config, text if isinstance(text, dict) else {})
    names = (section.get(key) for section in sections for key in ("torch_dtype", "dtype"))
    name = next((name for name in names if name), "bfloat16")
    return plain_type(name if isinstance(name, str) else repr(name))


def _loaded(stored: WeightType, notes: list[str]) -> WeightType:
    if stored.name == "float32":
        notes.append("vLLM loads float32 weights as 16-bit ones unless --dtype float32 is given")
        return plain_type("float16")
    return stored


def _engine(kind: WeightType) -> Engine:
    return Engine.LLAMA_CPP if is_for_llama_cpp(kind) else Engine.VLLM


def _checkpoint(folder: Path, kind: WeightType | None) -> PlannedModel:
    """From the headers: what is stored, exactly; from the configuration: how it spreads, and other types."""
    config = _load_config(folder / huggingface.CONFIG)
    tensors = _tensors(folder)
    quantized = isinstance(config.get("quantization_config"), dict)
    if architecture_name(config) not in FAMILIES:
        return _headers_only(folder, architecture_name(config), tensors, kind=kind)
    shape, notes = shape_of(config), list[str]()
    parameters, stored_name = safetensors.summary(tensors)
    stored = _declared(config) if quantized else plain_type(stored_name)
    if quantized and kind is not None and kind != stored:
        raise SpecError(
            f"{folder} is quantized already ({stored.name})",
            next_step="leave --quantization and --dtype out, or give the checkpoint that it was made from",
        )
    beyond = 0 if quantized else _beyond(folder, shape, parameters, notes)
    loaded = kind or _loaded(stored, notes)
    return PlannedModel(
        name=str(folder),
        served_path=str(folder),
        memory=ModelInMemory(
            shape=shape,
            kind=loaded,
            engine=_engine(loaded),
            stored_bytes=_size_bytes(tensors) if loaded == stored else None,
            beyond_bytes=beyond * (4 if loaded.name == "float32" else 2),
        ),
        architecture=shape.architecture,
        parameters=shape.parameters if quantized else parameters,
        stored_as=stored.name,
        longest_context_tokens=shape.longest_context_tokens,
        notes=tuple(notes),
    )


def _beyond(folder: Path, shape: ModelShape, parameters: int, notes: list[str]) -> int:
    """Parameters in the files that the shape does not have."""
    beyond = parameters - shape.parameters
    if beyond < -shape.parameters // 100:
        raise SpecError(
            f"{folder}: config.json and the weights do not belong together",
            evidence=f"the configuration describes {shape.parameters} parameters, the files hold {parameters}",
            next_step="copy config.json and the weights again from the same model",
        )
    if beyond > shape.parameters // 100:
        notes.append(f"{beyond} parameters are beyond the language model (vision, extra heads): counted as well")
    return max(beyond, 0)


def _size_bytes(tensors: list[safetensors.Tensor]) -> int:
    return sum(tensor.end - tensor.start for tensor in tensors)


def _tensors(folder: Path) -> list[safetensors.Tensor]:
    """All weights of a folder that has been inspected."""
    index = folder / huggingface.INDEX
    if (folder / huggingface.WEIGHTS).is_file() or not index.is_file():
        return list(safetensors.read_header(folder / huggingface.WEIGHTS).tensors.values())
    weight_map = _load_config(index)["weight_map"]
    headers = {shard: safetensors.read_header(folder / shard).tensors for shard in set(weight_map.values())}
    return [headers[shard][name] for name, shard in weight_map.items()]


def _headers_only(
    folder: Path, name: str, tensors: list[safetensors.Tensor], *, kind: WeightType | None
) -> PlannedModel:
    if kind is not None:
        raise SpecError(
            f"the architecture {name} is not known to ai-how: its size in {kind.name} cannot be told",
            next_step="leave --quantization and --dtype out: the stored size is in the headers",
        )
    parameters, stored_name = safetensors.summary(tensors)
    return PlannedModel(
        name=str(folder),
        served_path=str(folder),
        memory=ModelInMemory(shape=None, kind=WeightType(name=stored_name, bits=16), stored_bytes=_size_bytes(tensors)),
        architecture=name,
        parameters=parameters,
        stored_as=stored_name,
        longest_context_tokens=None,
        notes=(f"the architecture {name} is not known to ai-how: only the size of its weights is, from their headers",),
    )


def _gguf(file: Path, kind: WeightType | None) -> PlannedModel:
    if kind is not None:
        raise SpecError(
            f"{file} is served as it is stored",
            next_step="leave --quantization and --dtype out, or give the checkpoint that it was made from",
        )
    header = gguf_header.read_header(file)
    shape = shape_of_gguf(header.metadata, header.arrays)
    stored = WeightType(name=header.dtype, bits=8, whole_model=True, least_capability=(5, 0))
    return PlannedModel(
        name=str(file),
        served_path=str(file),
        memory=ModelInMemory(shape=shape, kind=stored, engine=Engine.LLAMA_CPP, stored_bytes=header.weight_bytes),
        architecture=header.architecture,
        parameters=header.parameters,
        stored_as=header.dtype,
        longest_context_tokens=shape.longest_context_tokens,
        notes=("served by llama.cpp, all layers on the GPU, with flash attention",),
    )


def adapter_rank(config: Mapping[str, Any]) -> int:
    """The rank of an adapter, from its ``adapter_config.json``.

    Raises:
        SpecError: it is none.
    """
    rank = config.get("r", DEFAULT_RANK)
    if type(rank) is not int or not 0 < rank <= 512:
        raise SpecError(f"{huggingface.ADAPTER_CONFIG}: r is {rank!r}, not a rank from 1 to 512")
    return rank


def folder_rank(folder: Path) -> int:
    """The rank of the adapter in a folder; 0 where there is none.

    Raises:
        SpecError: its configuration is not sound.
    """
    file = folder / huggingface.ADAPTER_CONFIG
    return adapter_rank(_load_config(file)) if file.is_file() else 0


def _adapter(folder: Path, base: Path | None, kind: WeightType | None) -> PlannedModel:
    info = inspect(folder).info
    if base is None:
        raise SpecError(
            f"{folder} is an adapter: its base decides what fits",
            evidence=f"base model: {info.base_model}",
            next_step="name the base's folder or config.json: --base FOLDER",
        )
    rank = adapter_rank(_load_config(folder / huggingface.ADAPTER_CONFIG))
    found = read_model(base, kind=kind)
    if found.memory.engine is Engine.LLAMA_CPP or found.memory.shape is None:
        raise SpecError(
            "an adapter is planned on a Hugging Face base of a known architecture",
            evidence=f"{base} is {found.architecture}, {found.stored_as}",
            next_step="give the base's folder or its config.json",
        )
    return replace(
        found,
        name=str(folder),
        memory=replace(found.memory, adapter_rank=rank),
        notes=(*found.notes, f"LoRA adapter of rank {rank} on {base}"),
    )
