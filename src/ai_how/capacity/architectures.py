"""From a Hugging Face ``config.json`` to a ``ModelShape``: which weights an architecture has, and how it attends. Pure.

Owns what is known of each architecture. Anything else is refused by name: a guess would be believed. Every entry's
number of parameters is checked against Transformers' own modules (``tests/fixtures/published_memory.toml``).

Source: Transformers 5.24, ``models/*/configuration_*.py`` and ``modeling_*.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ai_how.capacity import decoder_weights as weights
from ai_how.capacity.config_values import MOST_LAYERS, Config, flag, mapping, size, sizes_of, whole_number
from ai_how.capacity.model_shape import Experts, LatentAttention, ModelShape, Weight
from ai_how.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Family:
    """How an architecture differs from Llama. ``defaults`` are what its ``config.json`` may leave out."""

    kind: str = "llama"
    qkv_bias: bool = False
    qk_norm: bool = False
    norms: int = 2
    tied_by_default: bool = False
    full_every: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


_GEMMA_3 = Family(
    qk_norm=True,
    norms=4,
    tied_by_default=True,
    full_every=6,
    # what Gemma 3's own files leave out: Gemma3TextConfig
    defaults={
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    },
)

FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": Family(),
    "MistralForCausalLM": Family(),
    "GraniteForCausalLM": Family(),
    "SmolLM3ForCausalLM": Family(tied_by_default=True),
    "Phi3ForCausalLM": Family(),
    "Qwen2ForCausalLM": Family(qkv_bias=True),
    "Qwen3ForCausalLM": Family(qk_norm=True),
    "GemmaForCausalLM": Family(tied_by_default=True, defaults={"head_dim": 256}),
    "Gemma2ForCausalLM": Family(norms=4, tied_by_default=True, full_every=2, defaults={"head_dim": 256}),
    "Gemma3ForCausalLM": _GEMMA_3,
    "Gemma3ForConditionalGeneration": _GEMMA_3,
    "MixtralForCausalLM": Family(kind="mixtral"),
    "Qwen2MoeForCausalLM": Family(kind="qwen-moe", qkv_bias=True),
    "Qwen3MoeForCausalLM": Family(kind="qwen-moe", qk_norm=True),
    "DeepseekV2ForCausalLM": Family(kind="deepseek"),
    "DeepseekV3ForCausalLM": Family(kind="deepseek"),
    "GPT2LMHeadModel": Family(kind="gpt2", tied_by_default=True),
    "GPTNeoXForCausalLM": Family(kind="neox"),
}


def architecture_name(config: Config) -> str:
    """The architecture that a configuration names, or ``unknown``."""
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else "unknown"


def shape_of(config: Config) -> ModelShape:
    """The shape of the decoder that ``config.json`` describes; of a model that also sees images, its language part.

    Raises:
        SpecError: the architecture is not known here, or the configuration lacks a size or holds nonsense.
    """
    name = architecture_name(config)
    family = FAMILIES.get(name)
    if family is None:
        raise SpecError(
            f"the architecture {name} is not known to ai-how",
            evidence=f"known are {', '.join(FAMILIES)}",
            next_step="start vLLM with it and read its log: it prints the weights' size and the size of the KV cache",
        )
    text = mapping(config, "text_config") if "text_config" in config else config
    known = {**family.defaults, **{key: value for key, value in text.items() if value is not None}}
    if family.kind in ("gpt2", "neox"):
        return _gpt(name, family, known)
    return _decoder(name, family, known)


def _decoder(name: str, family: Family, config: Config) -> ModelShape:
    layers = size(config, "num_hidden_layers", largest=MOST_LAYERS)
    hidden = size(config, "hidden_size")
    heads = size(config, "num_attention_heads")
    kv_heads = size(config, "num_key_value_heads", default=heads)
    latent = _latent(config) if family.kind == "deepseek" else None
    head_dim = latent.key_dim if latent else _head_dim(config, hidden, heads)
    if heads % kv_heads:
        raise _nonsense(f"{heads} attention heads cannot share {kv_heads} KV heads")
    experts, sparse = _experts(family, config, layers)
    shape = ModelShape(
        architecture=name,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=latent.value_dim if latent else head_dim,
        feed_forward=size(config, "intermediate_size") if sparse < layers else 0,
        vocabulary=size(config, "vocab_size"),
        longest_context_tokens=size(config, "max_position_embeddings"),
        windows=_windows(name, family, config, layers),
        latent=latent,
        experts=experts,
    )
    found: list[Weight] = [
        *weights.embeddings(shape, tied=flag(config, "tie_word_embeddings", default=family.tied_by_default)),
        *weights.norms(shape, per_layer=family.norms, qk_norm=family.qk_norm),
        *weights.attention(
            shape,
            qkv_bias=family.qkv_bias or flag(config, "attention_bias", default=False),
            out_bias=flag(config, "attention_bias", default=False) and not family.qkv_bias,
            query_rank=whole_number(config, "q_lora_rank"),
        ),
        *weights.feed_forward(shape, layers=layers - sparse, bias=flag(config, "mlp_bias", default=False)),
    ]
    if experts:
        count = _expert_count(config)
        shared = _shared_width(family, config)
        found += weights.experts(shape, layers=sparse, count=count, shared_width=shared)
        if family.kind == "qwen-moe" and shared:
            found.append(weights.vector("shared expert gate", hidden, count=sparse))
        if name == "DeepseekV3ForCausalLM":
            found.append(weights.vector("expert score bias", count, count=sparse))
    return _with(shape, found)


def _gpt(name: str, family: Family, config: Config) -> ModelShape:
    gpt2 = family.kind == "gpt2"
    hidden = size(config, "n_embd" if gpt2 else "hidden_size")
    heads = size(config, "n_head" if gpt2 else "num_attention_heads")
    layers = size(config, "n_layer" if gpt2 else "num_hidden_layers", largest=MOST_LAYERS)
    head_dim = _head_dim(config, hidden, heads)
    shape = ModelShape(
        architecture=name,
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        value_dim=head_dim,
        feed_forward=size(config, "n_inner" if gpt2 else "intermediate_size", default=4 * hidden),
        vocabulary=size(config, "vocab_size"),
        longest_context_tokens=size(config, "n_positions" if gpt2 else "max_position_embeddings"),
        windows=(None,) * layers,
    )
    tied = flag(config, "tie_word_embeddings", default=family.tied_by_default)
    positions = shape.longest_context_tokens if gpt2 else 0
    return _with(shape, weights.gpt(shape, tied=tied, positions=positions))


def _with(shape: ModelShape, found: list[Weight]) -> ModelShape:
    return replace(shape, weights=tuple(weight for weight in found if weight.count and weight.rows))


def _head_dim(config: Config, hidden: int, heads: int) -> int:
    if "head_dim" in config:
        return size(config, "head_dim")
    if hidden % heads:
        raise _nonsense(f"a hidden size of {hidden} cannot be divided among {heads} attention heads")
    return hidden // heads


def _latent(config: Config) -> LatentAttention:
    rope_dim = size(config, "qk_rope_head_dim")
    return LatentAttention(
        kv_rank=size(config, "kv_lora_rank"),
        rope_dim=rope_dim,
        value_dim=size(config, "v_head_dim"),
        key_dim=size(config, "qk_nope_head_dim") + rope_dim,
    )


def _experts(family: Family, config: Config, layers: int) -> tuple[Experts | None, int]:
    """The mixture of experts, and the number of layers that have one."""
    if family.kind == "mixtral":
        width = size(config, "intermediate_size")
        return Experts(per_token=size(config, "num_experts_per_tok"), feed_forward=width), layers
    if family.kind == "qwen-moe":
        dense = sizes_of(config, "mlp_only_layers")
        step = size(config, "decoder_sparse_step", default=1)
        sparse = sum(1 for i in range(layers) if i not in dense and (i + 1) % step == 0)
    elif family.kind == "deepseek":
        first = min(whole_number(config, "first_k_dense_replace"), layers)
        every = size(config, "moe_layer_freq", default=1)
        sparse = sum(1 for i in range(first, layers) if i % every == 0)
    else:
        return None, 0
    if not sparse:
        return None, 0
    width = size(config, "moe_intermediate_size")
    return Experts(per_token=size(config, "num_experts_per_tok"), feed_forward=width), sparse


def _expert_count(config: Config) -> int:
    return next(
        (size(config, key) for key in ("n_routed_experts", "num_local_experts", "num_experts") if key in config), 0
    ) or size(config, "num_experts")


def _shared_width(family: Family, config: Config) -> int:
    if family.kind == "deepseek":
        return whole_number(config, "n_shared_experts") * size(config, "moe_intermediate_size")
    return whole_number(config, "shared_expert_intermediate_size")


def _windows(name: str, family: Family, config: Config, layers: int) -> tuple[int | None, ...]:
    window = size(config, "sliding_window") if "sliding_window" in config else None
    kinds = config.get("layer_types")
    if kinds is not None:
        if not isinstance(kinds, list) or len(kinds) != layers:
            raise _nonsense(f"layer_types has not one entry for each of {layers} layers")
        other = [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]
        if other:
            raise SpecError(
                f"{name} has layers of {other[0]}: what they keep of a token is not known to ai-how",
                next_step="start vLLM with it and read its log: it prints the size of the KV cache",
            )
        sliding = [kind == "sliding_attention" for kind in kinds]
    elif family.full_every:
        every = size(config, "sliding_window_pattern", default=family.full_every)
        sliding = [(i + 1) % every != 0 for i in range(layers)]
    elif name.startswith("Qwen"):
        first = whole_number(config, "max_window_layers")
        sliding = [flag(config, "use_sliding_window", default=False) and i >= first for i in range(layers)]
    else:
        sliding = [name in ("MistralForCausalLM", "Phi3ForCausalLM")] * layers
    return tuple(window if slides else None for slides in sliding)


def _nonsense(what: str) -> SpecError:
    return SpecError(f"config.json: {what}", next_step="copy config.json again from where the model was published")
