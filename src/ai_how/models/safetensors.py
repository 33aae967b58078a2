"""The header of a safetensors file: what tensors it says it has, checked against what the file can hold.

Owns the layout (8 bytes of length, a JSON object, then the tensors without gaps). Never reads a weight.
Source: https://huggingface.co/docs/safetensors, "Format", and the checks of its reference implementation.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

from ai_how.errors import SpecError

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""

LENGTH_BYTES = 8

BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Bits of one number, by the format's name of its type."""

_TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn",
    "I16": "int16", "F16": "float16", "BF16": "bfloat16", "I32": "int32", "F32": "float32", "I64": "int64",
    "F64": "float64",
}  # fmt: skip

# the reference implementation refuses dimensions that do not fit its machine word
_MAX_DIMENSION = 2**63


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One entry of the header. ``start`` and ``end`` are bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def parameters(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Header:
    """All tensors of a file by name; ``data_start`` is where the first one begins in the file."""

    tensors: dict[str, Tensor]
    data_start: int


def read_header(path: Path) -> Header:
    """The header of a file, checked against the file's size; reads nothing but the header.

    Raises:
        SpecError: truncated, over-long or no safetensors file; the message does not name the file.
    """
    with path.open("rb") as file:
        size_bytes = path.stat().st_size
        head = file.read(LENGTH_BYTES)
        length = header_length(head, size_bytes=size_bytes)
        return parse_header(file.read(length), body_bytes=size_bytes - LENGTH_BYTES - length)


def header_length(head: bytes, *, size_bytes: int) -> int:
    """The length of the JSON header, from the first eight bytes of a file of ``size_bytes``."""
    if len(head) < LENGTH_BYTES:
        raise SpecError(f"truncated: {size_bytes} bytes are too few for a safetensors file")
    length = int.from_bytes(head, "little")
    if length > MAX_HEADER_BYTES:
        raise SpecError(f"no safetensors file: it begins with a header length of {length} bytes")
    if LENGTH_BYTES + length > size_bytes:
        raise SpecError(f"truncated: its header takes {length} bytes, the whole file has {size_bytes}")
    return length


def parse_header(text: bytes, *, body_bytes: int) -> Header:
    """Check a header's JSON text against the bytes that follow it.

    Raises:
        SpecError: as ``read_header``.
    """
    try:
        entries = json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"no safetensors file: its header is not JSON ({error})") from error
    if not isinstance(entries, dict):
        raise SpecError("no safetensors file: its header is not a JSON object")
    entries.pop("__metadata__", None)
    tensors = {name: _tensor(name, entry) for name, entry in entries.items()}
    _check_layout(tensors, body_bytes)
    return Header(tensors=tensors, data_start=LENGTH_BYTES + len(text))


def summary(tensors: list[Tensor]) -> tuple[int, str]:
    """Number of weights, and torch's name of the type that most of them have."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.dtype] += tensor.parameters
    most = counts.most_common(1)
    dtype = most[0][0] if most else "none"
    return counts.total(), _TORCH_NAMES.get(dtype, dtype.lower())


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _tensor(name: str, entry: Any) -> Tensor:
    if not isinstance(entry, dict):
        raise SpecError(f"damaged header: tensor {name} is not described")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise SpecError(f"damaged header: tensor {name} has the unknown type {dtype!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise SpecError(f"damaged header: tensor {name} has no sound shape and offsets")
    start, end = offsets
    bits = prod(shape) * BITS[dtype]
    if (end - start) * 8 != bits:
        raise SpecError(
            f"damaged header: tensor {name} of shape {list(shape)} and type {dtype} takes {bits / 8:g} bytes, "
            f"its offsets span {end - start}"
        )
    return Tensor(dtype=dtype, shape=tuple(shape), start=start, end=end)


def _are_counts(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < _MAX_DIMENSION for value in values)


def _check_layout(tensors: dict[str, Tensor], body_bytes: int) -> None:
    """The tensors must fill the rest of the file: no gap, no overlap, nothing after them."""
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            raise SpecError(f"damaged header: tensor {name} begins at {tensor.start}, not at {position}")
        position = tensor.end
    if position > body_bytes:
        raise SpecError(f"truncated: {position - body_bytes} of {position} bytes of weights are missing")
    if position < body_bytes:
        raise SpecError(f"too long: {body_bytes - position} bytes follow the last tensor")
