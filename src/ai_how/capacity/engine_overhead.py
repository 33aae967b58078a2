"""What an engine takes beside weights and cache: activations, CUDA graphs, its own run-time, adapters. Pure.

Owns a model of each, fitted to what vLLM 0.19 itself reported for starts of 18 models on an H100 with 80 GB (llm-d
planner, ``accuracy/results/v0.19.0/results_raw.csv``, 2026-04); ``docs/explanation/model-memory.md`` shows each error.
vLLM before 0.17 took up to three times the activations. The rules for batch sizes and captured graphs are vLLM 0.32's
(``engine/arg_utils.py``, ``config/vllm.py``).
"""

from __future__ import annotations

from ai_how.capacity.model_shape import ModelShape, Part

GIB = 2**30
MIB = 2**20

ERROR_GIB = 0.9
"""How far the sum of activations, graphs and run-time was from what vLLM reported, at most (see the page above)."""

_SAMPLER_BYTES = 15
"""A logit in the sampler: 16-bit, 32-bit, a sorted copy, indices, probabilities. Fitted; every GPU has all of it."""

_GRAPHS_GIB = 0.2
_GRAPH_LAYER_MIB = 0.2
"""CUDA graphs: a pool, and for each captured graph so much a layer. Fitted."""

_RUNTIME_GIB = {1: 0.25}
_RUNTIME_OF_MANY_GIB = 2.1
"""What CUDA libraries take; with several GPUs mostly buffers to communicate. Measured with 2 and 4."""

_LLAMA_CPP_BATCH = 512
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM has kernels for."""


def batched_tokens(total_gib: float, name: str) -> int:
    """Tokens that ``vllm serve`` computes at once unless told otherwise: by the GPU's memory and name."""
    if total_gib >= 160:
        return 16_384
    return 8_192 if total_gib >= 70 and "a100" not in name.lower() else 2_048


def activation_bytes(shape: ModelShape, *, gpus: int, tokens: int, sequences: int) -> int:
    """Peak of what vLLM's profiling run allocates and frees again, with ``tokens`` at once and ``sequences`` requests.

    The residual stream and the experts' work space stay; on top comes the larger of one layer's feed-forward and the
    sampler, which runs for ``sequences`` rows of logits.
    """
    stream = tokens * shape.hidden * 2
    layer = tokens * 3 * (shape.feed_forward // gpus + shape.hidden) * 2
    sampler = min(sequences, tokens) * shape.vocabulary * _SAMPLER_BYTES
    return stream + _expert_bytes(shape, gpus=gpus, tokens=tokens) + max(layer, sampler)


def _expert_bytes(shape: ModelShape, *, gpus: int, tokens: int) -> int:
    if shape.experts is None:
        return 0
    width = shape.experts.feed_forward // gpus
    return tokens * shape.experts.per_token * (max(2 * width, shape.hidden) + width) * 2


def captured_graphs(sequences: int, tokens: int) -> int:
    """Graphs that vLLM captures: for mixed batches up to twice the sequences, and for pure decoding."""
    largest = min(2 * sequences, 512, tokens)
    sizes = [n for n in (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)) if n <= largest]
    return len(sizes) + sum(1 for n in sizes if n <= sequences)


def graph_bytes(shape: ModelShape, *, sequences: int, tokens: int, adapters: bool = False) -> int:
    """CUDA graphs; with LoRA each is captured a second time, without adapters."""
    graphs = captured_graphs(sequences, tokens) * (2 if adapters else 1)
    return round(_GRAPHS_GIB * GIB + graphs * shape.layers * _GRAPH_LAYER_MIB * MIB)


def runtime_bytes(gpus: int) -> int:
    """What the CUDA libraries take while the model runs, beside PyTorch."""
    return round(_RUNTIME_GIB.get(gpus, _RUNTIME_OF_MANY_GIB) * GIB)


def latent_copy_bytes(shape: ModelShape, *, gpus: int) -> int:
    """The 16-bit copies that vLLM makes of the expansion of keys and values for latent attention; 0 for others."""
    if shape.latent is None:
        return 0
    numbers = (shape.latent.key_dim - shape.latent.rope_dim + shape.latent.value_dim) * shape.latent.kv_rank
    return shape.layers * -(-shape.heads // gpus) * numbers * 2


def adapters_at_once(adapters: int, sequences: int) -> int:
    """Adapters that vLLM is told to keep on the GPU: no batch has more of them than requests."""
    return min(adapters, sequences)


def room_for_rank(rank: int) -> int:
    """What ``--max-lora-rank`` must be for an adapter of that rank: an adapter takes the next one up."""
    return next((known for known in _RANKS if known >= rank), rank)


def adapter_bytes(shape: ModelShape, *, rank: int, gpus: int) -> int:
    """Room that vLLM reserves for one LoRA adapter: in every linear layer, for the next rank that it has kernels for.

    One of the two small matrices is held whole by every GPU; counting both whole is the stricter reading.
    """
    room = room_for_rank(rank)
    linear = [weight for weight in shape.weights if weight.part is Part.LINEAR]
    return sum(room * (weight.rows_on_gpu(gpus) + weight.columns) * weight.count * 2 for weight in linear)


def llama_cpp_bytes(shape: ModelShape) -> int:
    """llama.cpp's compute buffer with flash attention: 32-bit logits and hidden state of a batch of 512 tokens."""
    return _LLAMA_CPP_BATCH * (shape.vocabulary + shape.hidden) * 4
