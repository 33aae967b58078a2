"""A PEFT LoRA adapter as a GGUF file of its own, which llama.cpp puts on a base that is loaded once.

Owns that file. The numbers are the adapter's, as 32-bit floats; their scale is in them, since GGUF has one for the
whole file and PEFT one for each layer. What cannot be told apart from the base is refused: such an adapter is merged
(``hf_to_gguf``). Source of the names: llama.cpp's ``llama_adapter_lora_init``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_how.endpoints.engines.architectures import Architecture, Shape
from ai_how.endpoints.engines.gguf_tokenizer import load_vocabulary
from ai_how.endpoints.engines.hf_to_gguf import describe, in_order, plan_outputs, require_room, write_once, written
from ai_how.endpoints.engines.lora import Delta, load_adapter
from ai_how.endpoints.engines.safetensors import open_checkpoint
from ai_how.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class _Source:
    """``names`` are GGUF's, by the base's name of a tensor."""

    architecture: Architecture
    shape: Shape
    deltas: Mapping[str, Delta]
    names: Mapping[str, str]


def convert_adapter(adapter: Path, checkpoint: Path, target: Path) -> None:
    """Write ``target`` from an adapter of ``checkpoint``; does nothing where it is there already.

    Raises:
        SpecError: the adapter is damaged, does not fit the base, or changes more than low-rank matrices can say.
        ProviderError: the disk is full.
    """

    def write(partial: Path) -> None:
        source = _read(adapter, checkpoint)
        numbers = ((delta.down.shape, delta.up.shape) for delta in source.deltas.values())
        require_room(partial, sum(4 * (down[0] * down[1] + up[0] * up[1]) for down, up in numbers))
        _write(source, partial)

    write_once(target, write)


def _read(adapter: Path, checkpoint: Path) -> _Source:
    _, architecture, shape = describe(checkpoint)
    tensors = open_checkpoint(checkpoint)
    found = load_adapter(adapter, tensors, tied=shape.tied)
    if found.replacements:
        raise SpecError(
            "the adapter cannot share its base with others",
            evidence=f"it brings whole layers of its own (modules_to_save): {sorted(found.replacements)[0]}",
            next_step="give it an endpoint of its own (model_type: adapter), or serve both with vLLM on a GPU",
        )
    _require_same_tokens(adapter, checkpoint, shape.vocabulary)
    names = {output.source: output.name for output in plan_outputs(tensors, architecture, shape)}
    return _Source(architecture=architecture, shape=shape, deltas=found.deltas, names=names)


def _require_same_tokens(adapter: Path, checkpoint: Path, size: int) -> None:
    """Trainers save a tokenizer with the adapter; the one that is used is the base's."""
    if not (adapter / "tokenizer.json").is_file():
        return
    if load_vocabulary(adapter, size).tokens != load_vocabulary(checkpoint, size).tokens:
        raise SpecError(
            "the adapter cannot share its base with others",
            evidence="its tokenizer.json has other tokens than the base's",
            next_step="give it an endpoint of its own (model_type: adapter)",
        )


def _write(source: _Source, file: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(file, source.architecture.gguf_name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    # none: the scale is in the numbers
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 0.0)
    for name, delta in source.deltas.items():
        writer.add_tensor(f"{source.names[name]}.lora_a", delta.down.float32())
        writer.add_tensor(f"{source.names[name]}.lora_b", _up(name, delta, source))
    with written(writer):
        writer.write_tensors_to_file()


def _up(name: str, delta: Delta, source: _Source) -> NDArray[np.float32]:
    import numpy as np

    rows: NDArray[Any] = in_order(delta.scale * delta.up.float32(), name, source.architecture, source.shape)
    return np.ascontiguousarray(rows, dtype=np.float32)
