"""From a GGUF file's metadata to a ``ModelShape`` without weights: its header has those. Pure.

Source: ggml's ``docs/gguf.md`` for the keys; llama.cpp's ``src/models`` for which layers have a window.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ai_how.capacity.config_values import MOST_LAYERS
from ai_how.capacity.model_shape import LatentAttention, ModelShape
from ai_how.errors import SpecError

_FULL_EVERY = {"gemma2": 2, "gemma3": 6}
"""Architectures in which every so many layers one sees the whole context, and the others a window."""

_RECURRENT = ("ssm.", "wkv.", "shortconv.", "linear_attention.")
_LARGEST = 2**40


def shape_of_gguf(metadata: Mapping[str, Any], arrays: Collection[str]) -> ModelShape:
    """The shape, without weights; a window that llama.cpp's graph may not use is left out, which is the larger reading.

    Args:
        arrays: Keys whose value in ``metadata`` is the length of an array.

    Raises:
        SpecError: the metadata lack a size or hold nonsense, or some layers keep something else than keys and values.
    """
    name = str(metadata.get("general.architecture"))
    sizes = _Sizes(name, metadata, arrays)
    recurrent = [key for key in metadata if key.startswith(tuple(f"{name}.{part}" for part in _RECURRENT))]
    if recurrent:
        raise SpecError(
            f"{name} keeps a state instead of keys and values in some layers: its size is not known to ai-how",
            evidence=f"the file has {recurrent[0]}",
            next_step="load it with llama.cpp and read its log: it prints the size of its buffers",
        )
    hidden, heads, layers = (
        sizes.of("embedding_length"),
        sizes.of("attention.head_count"),
        sizes.of("block_count", largest=MOST_LAYERS),
    )
    key_dim = sizes.of("attention.key_length", default=hidden // heads or 1)
    value_dim = sizes.of("attention.value_length", default=key_dim)
    rank = sizes.of("attention.kv_lora_rank", default=0)
    latent = None
    if rank:
        rope = sizes.of("rope.dimension_count")
        latent = LatentAttention(kv_rank=rank, rope_dim=rope, value_dim=value_dim, key_dim=key_dim)
    window, every = sizes.of("attention.sliding_window", default=0), _FULL_EVERY.get(name, 1)
    vocabulary = metadata.get("tokenizer.ggml.tokens") or sizes.of("vocab_size")
    return ModelShape(
        architecture=name,
        hidden=hidden,
        heads=heads,
        kv_heads=sizes.of("attention.head_count_kv", default=heads),
        head_dim=key_dim,
        value_dim=value_dim,
        feed_forward=sizes.of("feed_forward_length", default=0),
        vocabulary=vocabulary if type(vocabulary) is int else sizes.of("vocab_size"),
        longest_context_tokens=sizes.of("context_length"),
        windows=tuple(window if window and (i + 1) % every else None for i in range(layers)),
        latent=latent,
    )


class _Sizes:
    """The sizes of one architecture in the metadata."""

    def __init__(self, architecture: str, metadata: Mapping[str, Any], arrays: Collection[str]) -> None:
        self.architecture = architecture
        self.metadata = metadata
        self.arrays = arrays

    def of(self, key: str, *, default: int | None = None, largest: int = _LARGEST) -> int:
        key = f"{self.architecture}.{key}"
        value = self.metadata.get(key)
        if key in self.arrays:
            raise SpecError(
                f"{key} differs from layer to layer: what its layers keep is not known to ai-how",
                next_step="load it with llama.cpp and read its log: it prints the size of its buffers",
            )
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 < value <= largest:
            raise SpecError(
                f"the GGUF file has no {key}" if value is None else f"the GGUF file's {key} is {value!r}, not a size",
                next_step="convert the model again with a current llama.cpp",
            )
        return value
