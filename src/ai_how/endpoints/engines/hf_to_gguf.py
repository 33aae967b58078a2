"""Convert a Hugging Face checkpoint, with a LoRA adapter merged in if there is one, into one GGUF file.

Owns the file: its order, types, lock and atomic appearance. One tensor is in memory at a time. Needs numpy and
llama.cpp's own ``gguf`` package only. What cannot be converted exactly is refused (``architectures``,
``gguf_tokenizer``, ``lora``).
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_how.endpoints.engines.architectures import (
    Architecture,
    Shape,
    architecture_of,
    permute,
    rope_factors,
    shape_of,
    write_hyperparameters,
)
from ai_how.endpoints.engines.gguf_tokenizer import Vocabulary, load_vocabulary, write_vocabulary
from ai_how.endpoints.engines.lora import NO_ADAPTER, Adapter, load_adapter
from ai_how.endpoints.engines.safetensors import Tensor, open_checkpoint
from ai_how.errors import ProviderError, SpecError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy.typing import NDArray

_PARTS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    *("input_layernorm", "post_attention_layernorm"),
)
_EMBEDDINGS, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True)
class Output:
    """One tensor of the GGUF file: its name and what it is made from."""

    name: str
    source: str
    tensor: Tensor

    @property
    def dtype(self) -> str:
        """Vectors stay exact. F16 is finer than BF16, and llama.cpp on the CPU rounds what it multiplies by BF16."""
        return "float32" if len(self.tensor.shape) == 1 else "float16"

    @property
    def size_bytes(self) -> int:
        return math.prod(self.tensor.shape) * (4 if self.dtype == "float32" else 2)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What a file is made from."""

    config: Mapping[str, Any]
    architecture: Architecture
    shape: Shape
    adapter: Adapter
    outputs: list[Output]
    tokenizer_dir: Path
    vocabulary: Vocabulary


def convert(checkpoint: Path, target: Path, *, adapter: Path | None = None, say: Callable[[str], None]) -> None:
    """Write ``target`` from ``checkpoint``; does nothing where it is there already.

    Replicas may call it at the same time: one converts, the others wait. A file that is not whole never bears the
    name ``target``.

    Args:
        adapter: Folder of a PEFT LoRA adapter for this checkpoint; its tokenizer and chat template win.
        say: Takes progress lines.

    Raises:
        SpecError: the checkpoint or the adapter is damaged, or cannot be converted exactly.
        ProviderError: the disk is full.
    """

    def write(partial: Path) -> None:
        source = _read(checkpoint, adapter)
        require_room(partial, sum(output.size_bytes for output in source.outputs))
        _write(source, partial, say)

    write_once(target, write)


def write_once(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file that then becomes ``target``; does nothing where that is there already.

    Of several processes that want it at the same time, one writes and the others wait.

    Raises:
        ProviderError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if target.is_file():
            return
        partial = target.with_suffix(".partial")
        try:
            write(partial)
            partial.replace(target)
        except OSError as error:
            # numpy tells of a short write without an error number
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, None):
                raise
            raise _disk_full(partial, needed_bytes=None) from error
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _read(checkpoint: Path, adapter_dir: Path | None) -> _Source:
    """Everything but the numbers; all that can be refused is refused here, before anything is written."""
    config, architecture, shape = describe(checkpoint)
    tensors = open_checkpoint(checkpoint)
    # trainers save the tokenizer with the adapter; it may have a chat template that the base lacks
    has_own = adapter_dir is not None and (adapter_dir / "tokenizer.json").is_file()
    tokenizer_dir = adapter_dir if adapter_dir and has_own else checkpoint
    return _Source(
        config=config,
        architecture=architecture,
        shape=shape,
        adapter=load_adapter(adapter_dir, tensors, tied=shape.tied) if adapter_dir else NO_ADAPTER,
        outputs=plan_outputs(tensors, architecture, shape),
        tokenizer_dir=tokenizer_dir,
        vocabulary=load_vocabulary(tokenizer_dir, shape.vocabulary),
    )


def _write(source: _Source, file: Path, say: Callable[[str], None]) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(file, source.architecture.gguf_name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    write_hyperparameters(writer, source.config, source.shape)
    write_vocabulary(writer, source.vocabulary, source.tokenizer_dir, source.config)
    factors = rope_factors(source.config, source.shape)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for output in source.outputs:
        writer.add_tensor_info(output.name, output.tensor.shape, np.dtype(output.dtype), output.size_bytes)
    with written(writer):
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for number, output in enumerate(source.outputs, start=1):
            writer.write_tensor_data(_numbers(output, source))
            if number % 50 == 0 or number == len(source.outputs):
                say(f"converting for llama.cpp: {number} of {len(source.outputs)} tensors")


@contextmanager
def written(writer: GGUFWriter) -> Iterator[None]:
    """Writes a GGUF file's head; after the block has written the tensors, all of it is on the disk."""
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        yield
        writer.flush()
        for stream in writer.fout or ():
            os.fsync(stream.fileno())
    finally:
        writer.close()


def describe(checkpoint: Path) -> tuple[dict[str, Any], Architecture, Shape]:
    """What ``config.json`` says: itself, the architecture, the numbers that matter.

    Raises:
        SpecError: it is damaged, or describes what cannot be converted exactly.
    """
    config = _load_config(checkpoint)
    architecture = architecture_of(config)
    return config, architecture, shape_of(config, architecture)


def plan_outputs(tensors: Mapping[str, Tensor], architecture: Architecture, shape: Shape) -> list[Output]:
    """What goes into the file, in the checkpoint's order; every tensor that the model needs must be there."""
    import gguf

    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.gguf_name)
    names = gguf.get_tensor_name_map(arch, shape.layers)
    outputs = []
    for source, tensor in tensors.items():
        # tied: llama.cpp takes the input embeddings; the buffer of frequencies is computed from the config
        if (shape.tied and source == _HEAD) or source.endswith(".rotary_emb.inv_freq"):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise SpecError(
                f"the checkpoint has a tensor that its architecture has not: {source}",
                next_step="is config.json the one that belongs to these weights?",
            )
        outputs.append(Output(name=name, source=source, tensor=tensor))
    _require_complete(outputs, shape)
    return outputs


def _require_complete(outputs: list[Output], shape: Shape) -> None:
    """Refuse a checkpoint that lacks a tensor or whose embeddings are not as many as it says."""
    found = {output.source for output in outputs}
    needed = {f"model.layers.{i}.{part}.weight" for i in range(shape.layers) for part in _PARTS}
    needed |= {_EMBEDDINGS, "model.norm.weight"} | (set() if shape.tied else {_HEAD})
    missing = sorted(needed - found)
    if missing:
        raise SpecError(
            f"the checkpoint lacks {len(missing)} tensors that its config.json calls for",
            evidence=f"the first: {missing[0]}",
            next_step="copy all shards, then push again",
        )
    rows = next(output.tensor.shape[0] for output in outputs if output.source == _EMBEDDINGS)
    if rows != shape.vocabulary:
        raise SpecError(
            "config.json and the weights disagree on the size of the vocabulary",
            evidence=f"vocab_size is {shape.vocabulary}, the embeddings are {rows}",
            next_step="save the model again with its config.json",
        )


def _numbers(output: Output, source: _Source) -> NDArray[Any]:
    """The tensor as it goes into the file: adapter merged, rows reordered, in its final type."""
    import numpy as np

    merged = source.adapter.merged(output.source, output.tensor)
    numbers = in_order(merged, output.source, source.architecture, source.shape)
    with np.errstate(over="ignore"):
        numbers = numbers.astype(output.dtype)
    if not np.isfinite(numbers).all():
        raise SpecError(
            f"tensor {output.source} has numbers that 16-bit floats cannot hold",
            next_step="serve it with vLLM on a GPU (serving.engine: vllm)",
        )
    return np.ascontiguousarray(numbers)


def in_order(rows: NDArray[Any], name: str, architecture: Architecture, shape: Shape) -> NDArray[Any]:
    """The rows of the tensor ``name`` in the order that llama.cpp computes with."""
    projection = re.search(r"\.self_attn\.([qk])_proj\.(weight|bias)$", name)
    if projection and architecture.permute_qk:
        return permute(rows, shape.heads if projection[1] == "q" else shape.kv_heads)
    return rows


def _load_config(checkpoint: Path) -> dict[str, Any]:
    file = checkpoint / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SpecError(
            "config.json cannot be read",
            evidence=str(error),
            next_step="save the model again with its config.json",
        ) from error
    if not isinstance(config, dict):
        raise SpecError("config.json is not a JSON object")
    return config


def require_room(file: Path, needed_bytes: int) -> None:
    if shutil.disk_usage(file.parent).free < needed_bytes:
        raise _disk_full(file, needed_bytes=needed_bytes)


def _disk_full(file: Path, *, needed_bytes: int | None) -> ProviderError:
    free = shutil.disk_usage(file.parent).free
    need = "" if needed_bytes is None else f", {needed_bytes / 2**20:.0f} MiB are needed"
    return ProviderError(
        "no room on the disk to convert the model for llama.cpp",
        evidence=f"{free / 2**20:.0f} MiB are free in {file.parent}{need}",
        next_step="free some space; models that are no longer served: ai-how model delete",
    )
