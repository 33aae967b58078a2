"""Which Hugging Face architectures can become GGUF, and how: hyper-parameters and tensor names. Pure.

Every entry is checked against Transformers' own logits (see ``tests/reference``). A setting that the target
architecture of llama.cpp cannot express is refused: a model that loads and answers wrongly is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_how.errors import SpecError

if TYPE_CHECKING:
    import gguf
    import numpy as np
    from numpy.typing import NDArray

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A GGUF architecture. ``permute_qk``: llama.cpp pairs rotary dimensions as neighbours, Transformers as halves.

    ``tied_by_default``: what a missing ``tie_word_embeddings`` means; Transformers leaves defaults out of the file.
    """

    gguf_name: str
    permute_qk: bool = False
    tied_by_default: bool = False
    check: Callable[[Config], None] = lambda _: None


def _check_smollm3(config: Config) -> None:
    layers = config["num_hidden_layers"]
    every_fourth = [int((i + 1) % 4 != 0) for i in range(layers)]
    if (config.get("no_rope_layers") or every_fourth) != every_fourth:
        raise _refused("layers without rotary embedding are not every fourth one")


ARCHITECTURES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": Architecture(gguf_name="llama", permute_qk=True),
    "MistralForCausalLM": Architecture(gguf_name="llama", permute_qk=True),
    "Qwen2ForCausalLM": Architecture(gguf_name="qwen2"),
    "Qwen3ForCausalLM": Architecture(gguf_name="qwen3"),
    "SmolLM3ForCausalLM": Architecture(
        gguf_name="smollm3", permute_qk=True, tied_by_default=True, check=_check_smollm3
    ),
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a decoder that names, permutations and metadata are made from."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context_tokens: int
    tied: bool


def architecture_of(config: Config) -> Architecture:
    """The architecture of a checkpoint's ``config.json``.

    Raises:
        SpecError: it is none of ours, or is set up in a way that llama.cpp would compute differently.
    """
    name = (config.get("architectures") or ["none"])[0]
    architecture = ARCHITECTURES.get(name)
    if architecture is None:
        raise _refused(f"architecture {name}; convertible are {', '.join(ARCHITECTURES)}")
    if config.get("quantization_config"):
        raise _refused("the weights are quantized")
    if config.get("hidden_act", "silu") != "silu":
        raise _refused(f"activation {config['hidden_act']}")
    if _rope(config).get("partial_rotary_factor", config.get("partial_rotary_factor", 1)) != 1:
        raise _refused("rotary embedding of a part of each head")
    architecture.check(config)
    return architecture


def shape_of(config: Config, architecture: Architecture) -> Shape:
    """The decoder's sizes.

    Raises:
        SpecError: ``config.json`` lacks one of them.
    """
    heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
    return Shape(
        layers=_size(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_size(config, "num_key_value_heads", heads),
        head_dim=_size(config, "head_dim", hidden // heads),
        feed_forward=_size(config, "intermediate_size"),
        vocabulary=_size(config, "vocab_size"),
        context_tokens=_context_tokens(config),
        tied=bool(config.get("tie_word_embeddings", architecture.tied_by_default)),
    )


def _size(config: Config, key: str, default: int | None = None) -> int:
    value = config.get(key)
    size = default if value is None else value
    if not isinstance(size, int) or size < 1:
        raise SpecError(
            f"config.json has no {key}" if value is None else f"config.json: {key} is {value!r}, not a size",
            next_step="save the model again with its config.json",
        )
    return size


def _number(rope: Config, key: str) -> float:
    value = rope.get(key)
    if not isinstance(value, int | float):
        raise SpecError(
            f"config.json: rope scaling {rope['rope_type']} needs a number for {key}",
            next_step="save the model again with its config.json",
        )
    return float(value)


def _context_tokens(config: Config) -> int:
    """llama.cpp's llama and qwen graphs have no sliding window: up to its size the two are the same."""
    longest = _size(config, "max_position_embeddings")
    window: int | None = config.get("sliding_window")
    if window and config.get("use_sliding_window", True):
        return min(longest, window)
    return longest


def write_hyperparameters(writer: gguf.GGUFWriter, config: Config, shape: Shape) -> None:
    """Add the model's sizes and its rotary embedding to the metadata."""
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    writer.add_vocab_size(shape.vocabulary)
    rope = _rope(config)
    writer.add_rope_freq_base(_number(rope, "rope_theta"))
    _write_rope_scaling(writer, config, rope)


def _write_rope_scaling(writer: gguf.GGUFWriter, config: Config, rope: Config) -> None:
    import gguf

    kind = rope["rope_type"]
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(_number(rope, "factor"))
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(_number(rope, "factor"))
        original = rope.get("original_max_position_embeddings") or _size(config, "max_position_embeddings")
        writer.add_rope_scaling_orig_ctx_len(round(original))
        if set(rope) & {"attention_factor", "mscale", "mscale_all_dim", "truncate"}:
            raise _refused("YaRN with settings of its own for attention")
        if "beta_fast" in rope:
            writer.add_rope_scaling_yarn_beta_fast(_number(rope, "beta_fast"))
        if "beta_slow" in rope:
            writer.add_rope_scaling_yarn_beta_slow(_number(rope, "beta_slow"))
    elif kind not in ("default", "llama3"):
        raise _refused(f"rope scaling of type {kind}")


def rope_factors(config: Config, shape: Shape) -> NDArray[np.float32] | None:
    """Llama 3's division of each rotary frequency, which llama.cpp takes as a tensor; None for other scalings.

    Source: ``_compute_llama3_parameters`` in Transformers' ``modeling_rope_utils``.
    """
    import numpy as np

    rope = _rope(config)
    if rope["rope_type"] != "llama3":
        return None
    factor, low, high = (_number(rope, key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = _number(rope, "original_max_position_embeddings")
    exponents = np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim
    wavelengths = 2 * math.pi * _number(rope, "rope_theta") ** exponents
    smooth = np.clip((original / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def _rope(config: Config) -> dict[str, Any]:
    """The rotary settings, whether as Transformers 5 writes them (rope_parameters) or as 4 did (rope_scaling)."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_type", rope.get("type", "default"))
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    return rope


def permute(weights: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the rows of a query or key projection (or its bias) from halves to neighbouring pairs."""
    head_dim = weights.shape[0] // heads
    paired = weights.reshape(heads, 2, head_dim // 2, *weights.shape[1:])
    return paired.swapaxes(1, 2).reshape(weights.shape)


def _refused(reason: str) -> SpecError:
    return SpecError(
        "this checkpoint cannot be converted for llama.cpp",
        evidence=reason,
        next_step="serve it with vLLM on a GPU (serving.engine: vllm), or push a GGUF file of it",
    )
