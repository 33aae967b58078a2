"""What to do when a model does not fit, and how to start it when it does. Pure.

Owns the order in which remedies are tried: the one that costs least first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ai_how.capacity.engine_overhead import adapters_at_once, room_for_rank
from ai_how.capacity.gpu_memory import UsableGpu
from ai_how.capacity.model_memory import Engine, Fits, Load, ModelInMemory, Verdict, judge
from ai_how.capacity.weight_types import SMALLER, WEIGHT_TYPES

_USEFUL_CONTEXT_TOKENS = 2048
_GPU_COUNTS = (2, 4, 8)
_KINDS = ("context", "kv-cache", "quantization", "gpus", "smaller-on-more")


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """A change that makes it fit, and the verdict with it.

    ``kind`` says what changes: the context, the KV cache's type, the weights' type (quantization), the number of GPUs,
    or both of the last (smaller-on-more).
    """

    kind: str
    text: str
    verdict: Verdict


def remedies(model: ModelInMemory, gpu: UsableGpu, load: Load) -> list[Remedy]:
    """Changes that make the model fit on that kind of GPU, the least costly first; empty where it fits already."""
    verdict = judge(model, gpu, load)
    if verdict.fits is not Fits.NO or model.shape is None:
        return []
    return [remedy for remedy in _tried(model, gpu, load, verdict) if remedy.verdict.fits in (Fits.YES, Fits.TIGHT)]


def _tried(model: ModelInMemory, gpu: UsableGpu, load: Load, verdict: Verdict) -> Iterator[Remedy]:
    longest = verdict.longest_context_tokens or 0
    if longest >= min(_USEFUL_CONTEXT_TOKENS, load.context_tokens):
        yield Remedy(
            kind="context",
            text=f"{longest} tokens",
            verdict=judge(model, gpu, replace(load, context_tokens=longest)),
        )
    if model.engine is Engine.VLLM:
        if not verdict.refusal and load.kv_bits == 16:
            yield Remedy(kind="kv-cache", text="fp8 KV cache", verdict=judge(model, gpu, replace(load, kv_bits=8)))
        for smaller in _smaller(model):
            yield _quantized(smaller, gpu, load)
        for count in _GPU_COUNTS:
            if count > load.gpus:
                yield Remedy(kind="gpus", text=f"{count} GPUs", verdict=judge(model, gpu, replace(load, gpus=count)))
        for count in _GPU_COUNTS:
            for smaller in _smaller(model):
                if count > load.gpus:
                    verdict = judge(smaller, gpu, replace(load, gpus=count))
                    text = f"{smaller.kind.name} on {count} GPUs"
                    yield Remedy(kind="smaller-on-more", text=text, verdict=verdict)


def _quantized(model: ModelInMemory, gpu: UsableGpu, load: Load) -> Remedy:
    """The model in a smaller type; where that alone is not enough, with the longest context that fits."""
    verdict = judge(model, gpu, load)
    longest = verdict.longest_context_tokens or 0
    if verdict.fits is Fits.NO and longest >= min(_USEFUL_CONTEXT_TOKENS, load.context_tokens):
        shorter = judge(model, gpu, replace(load, context_tokens=longest))
        return Remedy(kind="quantization", text=f"{model.kind.name}, {longest} tokens", verdict=shorter)
    return Remedy(kind="quantization", text=model.kind.name, verdict=verdict)


def _smaller(model: ModelInMemory) -> Iterator[ModelInMemory]:
    """The model in each smaller type; one that is quantized already stays as it is."""
    if not model.kind.quantized:
        for name in SMALLER:
            yield replace(model, kind=WEIGHT_TYPES[name], stored_bytes=None)


def advice(model: ModelInMemory, gpu: UsableGpu, load: Load) -> str:
    """The first remedies in a few words; why there is none, where there is none; empty where it fits well."""
    verdict = judge(model, gpu, load)
    if verdict.fits is Fits.TIGHT:
        return "within the estimate's error"
    if verdict.fits is Fits.UNKNOWN:
        return "KV cache unknown"
    found = remedies(model, gpu, load)
    if verdict.fits is Fits.YES or not found:
        return "" if verdict.fits is Fits.YES else (verdict.refusal or "nothing here makes it fit")
    # one of each kind: the least costly
    first = {remedy.kind: remedy for remedy in reversed(found)}
    return " or ".join(first[kind].text for kind in _KINDS if kind in first)


def remarks(model: ModelInMemory, gpu: UsableGpu, load: Load) -> list[str]:
    """What one should know of the GPU before trusting the verdict; whole sentences without a full stop."""
    found, has = [], gpu.compute_capability
    if has is None:
        found.append("the GPU's compute capability is not known: whether vLLM runs on it was not checked")
    native = model.kind.native_from
    if native is not None and has is not None and has < native:
        found.append(f"{model.kind.name} weights save memory there, not time: it computes in 16 bits")
    if model.engine is Engine.VLLM and load.kv_bits == 8 and has is not None and has < (8, 9):
        found.append("not every attention backend of vLLM has an fp8 KV cache there: its log names the one it took")
    return found


def serve_arguments(model: ModelInMemory, gpu: UsableGpu, load: Load) -> list[str]:
    """Options of ``vllm serve`` (after the model) for what was judged; none for llama.cpp."""
    if model.engine is not Engine.VLLM:
        return []
    found = [
        *("--max-model-len", str(load.context_tokens)),
        *("--max-num-seqs", str(load.sequences)),
        *("--gpu-memory-utilization", f"{load.utilization:g}"),
    ]
    if load.gpus > 1:
        found += ["--tensor-parallel-size", str(load.gpus)]
    if model.stored_bytes is None and model.kind.vllm_option:
        found += model.kind.vllm_option.split()
    if load.kv_bits == 8:
        found += ["--kv-cache-dtype", "fp8"]
    if gpu.compute_capability is not None and gpu.compute_capability < (8, 0):
        found += ["--dtype", "half"]
    if model.adapter_rank:
        at_once = adapters_at_once(model.adapters, load.sequences)
        found += ["--enable-lora", *(["--max-loras", str(at_once)] if at_once > 1 else [])]
        found += ["--max-lora-rank", str(room_for_rank(model.adapter_rank))]
    return found
