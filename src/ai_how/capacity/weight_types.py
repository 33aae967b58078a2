"""How many bytes weights take in a type or a quantization, and which GPUs can compute with it. Pure.

Owns the formats' arithmetic. Sources: safetensors' types; vLLM 0.32's ``layers/quantization`` for scales and the least
compute capability; ggml's table of block sizes (``ggml-common.h``; a test compares it with the ``gguf`` package).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ai_how.capacity.model_shape import ModelShape, Part, Weight
from ai_how.errors import SpecError

_NEVER_QUANTIZED = (Part.OTHER, Part.EMBEDDING, Part.HEAD)


@dataclass(frozen=True, kw_only=True)
class WeightType:
    """A way to store weights.

    ``bits`` of a number; a group of ``group`` numbers along a row (0: the whole row) shares ``group_bits`` of scale and
    zero point. ``whole_model``: embeddings and the head are stored so too, as GGUF files do. ``least_capability`` is of
    the oldest GPU that the engine runs it on, ``native_from`` of the oldest that computes in it: others save memory.
    """

    name: str
    bits: float
    group: int = 0
    group_bits: int = 0
    whole_model: bool = False
    least_capability: tuple[int, int] = (7, 5)
    native_from: tuple[int, int] | None = None
    vllm_option: str = ""

    @property
    def quantized(self) -> bool:
        return self.bits <= 8

    def weight_bits(self, weight: Weight, rows: int) -> float:
        """Bits of ``rows`` rows of each matrix of a weight; what is not quantized stays at 16 bits."""
        numbers = rows * weight.columns * weight.count
        if not self.quantized:
            return numbers * self.bits
        if weight.part is Part.OTHER or (weight.part in _NEVER_QUANTIZED and not self.whole_model):
            return numbers * 16.0
        groups = -(-weight.columns // self.group) if self.group else 1
        return numbers * self.bits + rows * weight.count * groups * self.group_bits


_PLAIN = (
    WeightType(name="bfloat16", bits=16, least_capability=(8, 0)),
    WeightType(name="float16", bits=16),
    WeightType(name="float32", bits=32),
)
_FOR_VLLM = (
    # one float32 scale a row; before 8.9 the weights are widened while they are read (Marlin)
    WeightType(
        name="fp8", bits=8, group_bits=32, least_capability=(8, 0), native_from=(8, 9), vllm_option="--quantization fp8"
    ),
    WeightType(name="int8", bits=8, group_bits=32),
    # groups of 128: a 16-bit scale and, with AWQ, a 4-bit zero point
    WeightType(name="awq", bits=4, group=128, group_bits=20),
    WeightType(name="gptq", bits=4, group=128, group_bits=20),
    # groups of 64 with a float32 maximum
    WeightType(name="nf4", bits=4, group=64, group_bits=32, vllm_option="--quantization bitsandbytes"),
)
_GGUF_BLOCKS = {"q8_0": (32, 34), "q6_k": (256, 210), "q5_k": (256, 176), "q4_k": (256, 144), "q4_0": (32, 18)}
"""Numbers and bytes of a block."""

_FOR_LLAMA_CPP = tuple(
    WeightType(name=name, bits=8 * size_bytes / numbers, whole_model=True, least_capability=(5, 0))
    for name, (numbers, size_bytes) in _GGUF_BLOCKS.items()
)

WEIGHT_TYPES: Mapping[str, WeightType] = {kind.name: kind for kind in (*_PLAIN, *_FOR_VLLM, *_FOR_LLAMA_CPP)}
QUANTIZATIONS = tuple(kind.name for kind in (*_FOR_VLLM, *_FOR_LLAMA_CPP))
SMALLER = ("fp8", "int8", "awq")
"""What is tried, in this order, when a model does not fit: the least loss first."""

_DTYPES = {"half": "float16", "float": "float32", "fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


def is_for_llama_cpp(kind: WeightType) -> bool:
    """Whether it is a type of GGUF files, which llama.cpp serves."""
    return kind.whole_model


def plain_type(name: str) -> WeightType:
    """The type that ``torch_dtype`` or ``--dtype`` names.

    Raises:
        SpecError: there is no such type of weights.
    """
    found = _DTYPES.get(name, name)
    if found in ("bfloat16", "float16", "float32"):
        return WEIGHT_TYPES[found]
    raise SpecError(f"{name} is no type of weights", evidence="there are bfloat16, float16 and float32")


def declared_type(quantization: Mapping[str, object]) -> WeightType:
    """The type that ``quantization_config`` of a ``config.json`` declares.

    Raises:
        SpecError: it is one whose size is not known here.
    """
    method = quantization.get("quant_method")
    bits, group = quantization.get("bits", 4), quantization.get("group_size", 128)
    if method == "compressed-tensors":
        method, bits, group = _compressed(quantization)
    if method in ("awq", "gptq") and type(bits) is int and type(group) is int and bits in (4, 8):
        width = group if group > 0 else 0
        return WeightType(name=f"{method}, {bits} bits", bits=bits, group=width, group_bits=16 + bits)
    if method in ("fp8", "fbgemm_fp8"):
        return WEIGHT_TYPES["fp8"]
    if method == "int8":
        return WEIGHT_TYPES["int8"]
    if method == "bitsandbytes" and quantization.get("load_in_4bit") is True:
        return WEIGHT_TYPES["nf4"]
    raise SpecError(
        f"config.json: the size of weights quantized by {method!r} is not known from the configuration alone",
        next_step="give the checkpoint's folder: its headers tell every byte",
    )


def _compressed(quantization: Mapping[str, object]) -> tuple[object, object, object]:
    groups = quantization.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = first.get("weights") if isinstance(first, Mapping) else None
    if not isinstance(weights, Mapping):
        return "compressed-tensors", None, None
    bits, kind = weights.get("num_bits"), weights.get("type")
    if bits == 8:
        return ("fp8" if kind == "float" else "int8"), 8, 0
    return ("gptq" if kind == "int" else "compressed-tensors"), bits, weights.get("group_size") or 0


def weight_bytes(shape: ModelShape, kind: WeightType, *, gpus: int) -> int:
    """Bytes of a model's weights on one of ``gpus`` GPUs, rounded up."""
    bits = sum(kind.weight_bits(weight, weight.rows_on_gpu(gpus)) for weight in shape.weights)
    return -int(-bits // 8)
