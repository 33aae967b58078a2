"""Will the model fit? Memory on each GPU, the longest context, the most requests at once. Pure.

Owns the sum and the search; weights, cache and overheads have modules of their own. A verdict is for one kind of GPU
and a number of equal ones that share the model (tensor parallelism).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from ai_how.capacity import engine_overhead as overhead
from ai_how.capacity.gpu_memory import UsableGpu
from ai_how.capacity.kv_cache import KvCache, LlamaCppCache, VllmCache
from ai_how.capacity.model_shape import ModelShape
from ai_how.capacity.weight_types import WeightType, weight_bytes

GIB = overhead.GIB
MOST_SEQUENCES = 1024
"""vLLM's own default of ``--max-num-seqs`` on large GPUs: more is not looked for."""


class Engine(StrEnum):
    """Who serves it: the engine decides how memory is taken."""

    VLLM = "vllm"
    LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True, kw_only=True)
class ModelInMemory:
    """A model as it would be loaded.

    ``stored_bytes``: what the files' headers say, where the model is loaded as it is stored; None: it is computed from
    the shape and ``kind``. ``beyond_bytes``: weights in the files that the shape does not have (a vision tower), at
    their own size; every GPU is taken to hold them. ``adapter_rank``: of LoRA adapters the largest, 0 without one;
    ``adapters``: how many there are. ``shape`` is None where only the headers are known.
    """

    shape: ModelShape | None
    kind: WeightType
    engine: Engine = Engine.VLLM
    stored_bytes: int | None = None
    beyond_bytes: int = 0
    adapter_rank: int = 0
    adapters: int = 1

    def weights_on_gpu(self, gpus: int) -> int:
        """Bytes of weights on one of ``gpus`` GPUs, rounded up."""
        if self.shape is None or not self.shape.weights:
            return -(-(self.stored_bytes or 0) // gpus)
        computed = weight_bytes(self.shape, self.kind, gpus=gpus)
        copies = overhead.latent_copy_bytes(self.shape, gpus=gpus) if self.engine is Engine.VLLM else 0
        if self.stored_bytes is None:
            return computed + self.beyond_bytes + copies
        # the headers know the total, the shape knows what each GPU must hold of it
        total = weight_bytes(self.shape, self.kind, gpus=1)
        of_shape = self.stored_bytes - self.beyond_bytes
        return -(-of_shape * computed // total) + self.beyond_bytes + copies


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of it: ``sequences`` requests at once, each of up to ``context_tokens`` (prompt and answer)."""

    context_tokens: int
    sequences: int
    gpus: int = 1
    kv_bits: int = 16
    utilization: float = 0.9


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """Memory of one GPU from all of it to what is left; ``free_bytes`` is negative by what is lacking.

    ``reserve_bytes`` is what the engine may not touch (1 - utilization).
    """

    total_bytes: int
    reserve_bytes: int
    weights_bytes: int
    adapter_bytes: int
    activations_bytes: int
    graphs_bytes: int
    runtime_bytes: int
    kv_cache_bytes: int

    @property
    def fixed_bytes(self) -> int:
        """All but the cache."""
        return (
            self.reserve_bytes
            + self.weights_bytes
            + self.adapter_bytes
            + self.activations_bytes
            + self.graphs_bytes
            + self.runtime_bytes
        )

    @property
    def free_bytes(self) -> int:
        return self.total_bytes - self.fixed_bytes - self.kv_cache_bytes


class Fits(StrEnum):
    """``tight``: by less than the error of the estimate. ``unknown``: what a token takes is not known."""

    YES = "yes"
    TIGHT = "tight"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """For one kind of GPU: the longest context with the sequences asked for, the most sequences with that context.

    ``refusal`` says what no memory would mend: the GPU is too old, the model cannot be split so.
    """

    gpu: UsableGpu
    gpus: int
    fits: Fits
    refusal: str = ""
    waterfall: Waterfall | None = None
    longest_context_tokens: int | None = None
    most_sequences: int | None = None


def judge(model: ModelInMemory, gpu: UsableGpu, load: Load) -> Verdict:
    """Whether the model fits on ``load.gpus`` GPUs of that kind, and how far it would go."""
    refusal = refusal_of(model, gpu, load.gpus)
    if refusal:
        return Verdict(gpu=gpu, gpus=load.gpus, fits=Fits.NO, refusal=refusal)
    water = waterfall(model, gpu, load)
    if model.shape is None:
        fits = Fits.NO if water.free_bytes < 0 else Fits.UNKNOWN
        return Verdict(gpu=gpu, gpus=load.gpus, fits=fits, waterfall=water)
    tight = water.free_bytes < overhead.ERROR_GIB * GIB
    fits = Fits.NO if water.free_bytes < 0 else Fits.TIGHT if tight else Fits.YES
    return Verdict(
        gpu=gpu,
        gpus=load.gpus,
        fits=fits,
        waterfall=water,
        longest_context_tokens=longest_context(model, gpu, load),
        most_sequences=_largest(lambda n: _has_room(model, gpu, replace(load, sequences=n)), MOST_SEQUENCES),
    )


def refusal_of(model: ModelInMemory, gpu: UsableGpu, gpus: int) -> str:
    """Why this GPU can never serve it, in a sentence; empty where only memory decides."""
    if model.engine is Engine.LLAMA_CPP and gpus > 1:
        return "llama.cpp spreads layers, not tensors: it is judged on one GPU only"
    least = model.kind.least_capability
    # bfloat16 becomes float16 on older cards: the same size
    if model.kind.name == "bfloat16":
        least = (7, 5)
    if gpu.compute_capability is not None and gpu.compute_capability < least:
        wanted, has = ("{}.{}".format(*pair) for pair in (least, gpu.compute_capability))
        return f"too old: compute {has}, needs {wanted}"
    return (model.shape.split_refusal(gpus) if model.shape is not None else None) or ""


def waterfall(model: ModelInMemory, gpu: UsableGpu, load: Load) -> Waterfall:
    """Where one GPU's memory goes; without a shape only the weights are known, the rest is 0."""
    total = int(gpu.usable_gib * GIB)
    shape, gpus = model.shape, load.gpus
    found = Waterfall(
        total_bytes=total,
        reserve_bytes=total - int(total * load.utilization),
        weights_bytes=model.weights_on_gpu(gpus),
        adapter_bytes=0,
        activations_bytes=0,
        graphs_bytes=0,
        runtime_bytes=0,
        kv_cache_bytes=0,
    )
    if shape is None:
        return found
    needed = cache_of(model, shape, gpu, load).bytes_needed(
        context_tokens=load.context_tokens, sequences=load.sequences
    )
    if model.engine is Engine.LLAMA_CPP:
        return replace(
            found,
            activations_bytes=overhead.llama_cpp_bytes(shape),
            runtime_bytes=overhead.runtime_bytes(1),
            kv_cache_bytes=needed,
        )
    rank, sequences = model.adapter_rank, load.sequences
    at_once = overhead.adapters_at_once(model.adapters, sequences)
    tokens = max(overhead.batched_tokens(gpu.usable_gib, gpu.name), sequences)
    return replace(
        found,
        adapter_bytes=at_once * overhead.adapter_bytes(shape, rank=rank, gpus=gpus) if rank else 0,
        activations_bytes=overhead.activation_bytes(shape, gpus=gpus, tokens=tokens, sequences=sequences),
        graphs_bytes=overhead.graph_bytes(shape, sequences=sequences, tokens=tokens, adapters=bool(rank)),
        runtime_bytes=overhead.runtime_bytes(gpus),
        kv_cache_bytes=needed,
    )


def cache_of(model: ModelInMemory, shape: ModelShape, gpu: UsableGpu, load: Load) -> KvCache:
    """The cache that the model's engine would make."""
    if model.engine is Engine.LLAMA_CPP:
        return LlamaCppCache(shape, kv_bits=load.kv_bits)
    tokens = max(overhead.batched_tokens(gpu.usable_gib, gpu.name), load.sequences)
    return VllmCache(shape, gpus=load.gpus, kv_bits=load.kv_bits, in_flight_tokens=2 * tokens)


def longest_context(model: ModelInMemory, gpu: UsableGpu, load: Load) -> int:
    """Tokens of the longest context that ``load.sequences`` requests may have at once; whole blocks, 0 if none fits."""
    if model.shape is None:
        return 0
    step, limit = cache_of(model, model.shape, gpu, load).longest_step(), model.shape.longest_context_tokens
    steps = _largest(
        lambda n: _has_room(model, gpu, replace(load, context_tokens=min(n * step, limit))), -(-limit // step)
    )
    return min(steps * step, limit)


def _has_room(model: ModelInMemory, gpu: UsableGpu, load: Load) -> bool:
    return waterfall(model, gpu, load).free_bytes >= 0


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` that fits, 0 if none does; what fits must not fit less as the number falls."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
