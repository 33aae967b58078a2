"""Convert a Hugging Face checkpoint, with a LoRA adapter merged in if there is one, into one GGUF file.

Owns the file: its order, types, lock and atomic appearance. One tensor is in memory at a time. Needs numpy and
llama.cpp's own ``gguf`` package only. What cannot be converted exactly is refused (``architectures``,
``gguf_tokenizer``, ``lora``).
"""

from __future__ import annotations

import errno
import fcntl
import json
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
from ai_how.endpoints.engines.gguf_tokenizer import load_vocabulary, write_vocabulary
from ai_how.endpoints.engines.lora import Adapter, load_adapter
from ai_how.endpoints.engines.safetensors import Tensor, open_checkpoint
from ai_how.errors import ProviderError, SpecError

if TYPE_CHECKING:
    import gguf
    from numpy.typing import NDArray

_PARTS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
    *("input_layernorm", "post_attention_layernorm"),
)
_EMBEDDINGS, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True)
class _Output:
    """One tensor of the GGUF file: its name, what it is made from, and how it is stored."""

    name: str
    source: str
    tensor: Tensor
    kind: gguf.GGMLQuantizationType

    @property
    def size_bytes(self) -> int:
        import gguf

        count = 1
        for length in self.tensor.shape:
            count *= length
        return count * (4 if self.kind == gguf.GGMLQuantizationType.F32 else 2)


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
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock")):
        if target.is_file():
            return
        partial = target.with_suffix(".partial")
        try:
            _write(checkpoint, adapter, partial, say)
            partial.replace(target)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _disk_full(partial, needed_bytes=None) from error
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _write(checkpoint: Path, adapter_dir: Path | None, file: Path, say: Callable[[str], None]) -> None:
    import gguf

    config = _load_config(checkpoint)
    architecture = architecture_of(config)
    shape = shape_of(config, architecture)
    tensors = open_checkpoint(checkpoint)
    adapter = (
        load_adapter(adapter_dir, tensors, tied=shape.tied) if adapter_dir else Adapter(deltas={}, replacements={})
    )
    outputs = _plan(tensors, architecture, shape, adapter)
    tokenizer_dir = _tokenizer_dir(checkpoint, adapter_dir)
    vocabulary = load_vocabulary(tokenizer_dir, shape.vocabulary)
    _require_room(file, sum(output.size_bytes for output in outputs))

    writer = gguf.GGUFWriter(file, architecture.gguf_name)
    try:
        writer.add_file_type(_file_type(outputs))
        write_hyperparameters(writer, config, shape)
        write_vocabulary(writer, vocabulary, tokenizer_dir, config)
        factors = rope_factors(config, shape)
        if factors is not None:
            kind = gguf.GGMLQuantizationType.F32
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes, kind)
        for output in outputs:
            dtype = _numpy_type(output.kind)
            writer.add_tensor_info(output.name, output.tensor.shape, dtype, output.size_bytes, output.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for number, output in enumerate(outputs, start=1):
            writer.write_tensor_data(_numbers(output, architecture, shape, adapter))
            if number % 50 == 0 or number == len(outputs):
                say(f"converting for llama.cpp: {number} of {len(outputs)} tensors")
        writer.flush()
        for stream in writer.fout or ():
            os.fsync(stream.fileno())
    finally:
        writer.close()


def _plan(tensors: Mapping[str, Tensor], architecture: Architecture, shape: Shape, adapter: Adapter) -> list[_Output]:
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
        kind = _kind(tensor, merged=adapter.touches(source))
        outputs.append(_Output(name=name, source=source, tensor=tensor, kind=kind))
    _require_complete(outputs, shape)
    return outputs


def _require_complete(outputs: list[_Output], shape: Shape) -> None:
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


def _kind(tensor: Tensor, *, merged: bool) -> gguf.GGMLQuantizationType:
    """Vectors stay exact; BF16 is copied bit by bit; the rest, merged tensors too, becomes F16 (finer than BF16)."""
    import gguf

    if len(tensor.shape) == 1:
        return gguf.GGMLQuantizationType.F32
    if tensor.dtype == "BF16" and not merged:
        return gguf.GGMLQuantizationType.BF16
    return gguf.GGMLQuantizationType.F16


def _numbers(output: _Output, architecture: Architecture, shape: Shape, adapter: Adapter) -> NDArray[Any]:
    """The tensor as it goes into the file: adapter merged, rows reordered, in its final type."""
    import gguf
    import numpy as np

    copied = output.kind == gguf.GGMLQuantizationType.BF16
    numbers: NDArray[Any] = output.tensor.raw() if copied else adapter.merged(output.source, output.tensor)
    projection = re.search(r"\.self_attn\.([qk])_proj\.(weight|bias)$", output.source)
    if projection and architecture.permute_qk:
        numbers = permute(numbers, shape.heads if projection[1] == "q" else shape.kv_heads)
    if output.kind == gguf.GGMLQuantizationType.F16:
        with np.errstate(over="ignore"):
            numbers = numbers.astype(np.float16)
        if not np.isfinite(numbers).all():
            raise SpecError(
                f"tensor {output.source} has numbers that 16-bit floats cannot hold",
                next_step="save the model in bfloat16 and push it again",
            )
    return np.ascontiguousarray(numbers)


def _numpy_type(kind: gguf.GGMLQuantizationType) -> Any:
    import gguf
    import numpy as np

    # BF16 is handed over as 16-bit integers; add_tensor_info reads uint8 as packed bytes, so not as bytes
    return {gguf.GGMLQuantizationType.F32: np.dtype("f4")}.get(kind, np.dtype("u2"))


def _file_type(outputs: list[_Output]) -> int:
    import gguf

    matrices = [output.kind for output in outputs if len(output.tensor.shape) > 1]
    bf16 = matrices.count(gguf.GGMLQuantizationType.BF16)
    mostly = gguf.LlamaFileType
    return int(mostly.MOSTLY_BF16 if bf16 * 2 > len(matrices) else mostly.MOSTLY_F16)


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


def _tokenizer_dir(checkpoint: Path, adapter: Path | None) -> Path:
    """Trainers save the tokenizer with the adapter; it may have a chat template that the base lacks."""
    return adapter if adapter and (adapter / "tokenizer.json").is_file() else checkpoint


def _require_room(file: Path, needed_bytes: int) -> None:
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
