"""The header of a GGUF file: its metadata and where its tensors lie, checked against the file's size.

Owns the layout. Never reads a weight. The official ``gguf`` package's reader makes an array of every vocabulary entry
and trusts the counts it reads: slow on a whole file, endless on a damaged one. Its tables of types are used here.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ai_how.errors import SpecError

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SIZES = {kind: struct.calcsize(code) for kind, code in _SCALARS.items()}
# more would not be a model: llama.cpp allows four
_MAX_DIMENSIONS = 4
# a damaged length must not make us read gigabytes of weights as one key
_LONGEST_TEXT = 16 << 20


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says of itself. ``metadata`` has scalars and strings; arrays appear as their length.

    ``arrays`` are the keys of the arrays; ``weight_bytes`` is the size of all tensors.
    """

    metadata: dict[str, Any]
    arrays: frozenset[str]
    tensors: int
    parameters: int
    weight_bytes: int
    dtype: str

    @property
    def architecture(self) -> str:
        return str(self.metadata["general.architecture"])


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def read_header(path: Path) -> GgufHeader:
    """The header of a file, checked: every tensor lies inside the file where llama.cpp will look for it.

    Raises:
        SpecError: truncated, damaged or no GGUF file; the message does not name the file.
    """
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise SpecError("no GGUF file: it does not begin with GGUF")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse_header(data)


def parse_header(data: bytes | mmap.mmap) -> GgufHeader:
    """Check a whole file's bytes (or a map of them, of which only the header is touched).

    Raises:
        SpecError: as ``read_header``.
    """
    cursor = _Cursor(data)
    if cursor.take(4) != MAGIC:
        raise SpecError("no GGUF file: it does not begin with GGUF")
    version = cursor.scalar("I")
    if version not in (2, 3):
        big_endian = int.from_bytes(struct.pack("<I", version), "big") in (2, 3)
        raise SpecError("the GGUF file is big-endian" if big_endian else f"GGUF version {version} is not supported")
    tensor_count, key_count = cursor.scalar("Q"), cursor.scalar("Q")
    metadata: dict[str, Any] = {}
    arrays = set()
    for _ in range(key_count):
        key = cursor.text()
        if key in metadata:
            raise SpecError(f"damaged header: the key {key} appears twice")
        kind = cursor.scalar("I")
        metadata[key] = cursor.value(kind)
        if kind == _ARRAY:
            arrays.add(key)
    tensors = [cursor.tensor() for _ in range(tensor_count)]
    if not isinstance(metadata.get("general.architecture"), str):
        raise SpecError("damaged header: it names no architecture (general.architecture)")
    if not tensors:
        raise SpecError("it has no tensors: a vocabulary alone is no model")
    weight_bytes = _check_layout(tensors, metadata, header_end=cursor.position, size_bytes=len(data))
    counts: Counter[int] = Counter()
    for tensor in tensors:
        counts[tensor.kind] += prod(tensor.shape)
    return GgufHeader(
        metadata=metadata,
        arrays=frozenset(arrays),
        tensors=len(tensors),
        parameters=counts.total(),
        weight_bytes=weight_bytes,
        dtype=_type_name(counts.most_common(1)[0][0]),
    )


class _Cursor:
    """Reads little-endian values one after the other; never beyond the end."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        start = self.position
        self.skip(length)
        return self.data[start : self.position]

    def skip(self, length: int) -> None:
        if length > len(self.data) - self.position:
            raise SpecError(f"truncated: the file ends inside its header, after {len(self.data)} bytes")
        self.position += length

    def scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        length = self.scalar("Q")
        if length > _LONGEST_TEXT:
            raise SpecError(f"damaged header: a text of {length} bytes")
        return self.take(length).decode(errors="replace")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise SpecError(f"damaged header: there is no value type {kind}")
        element, length = self.scalar("I"), self.scalar("Q")
        if element in _SIZES:
            self.skip(length * _SIZES[element])
        elif element == _STRING:
            self._skip_texts(length)
        else:
            raise SpecError(f"damaged header: an array of value type {element}")
        return length

    def _skip_texts(self, count: int) -> None:
        # a vocabulary has hundreds of thousands of entries: no object is made for any of them
        data, position, unpack = self.data, self.position, struct.Struct("<Q").unpack_from
        last = len(data) - 8
        for _ in range(count):
            if position > last:
                break
            position += 8 + unpack(data, position)[0]
        else:
            self.skip(position - self.position)
            return
        self.skip(len(data) + 1)

    def tensor(self) -> _Tensor:
        name = self.text()
        dimensions = self.scalar("I")
        if not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise SpecError(f"damaged header: tensor {name} has {dimensions} dimensions")
        shape = tuple(self.scalar("Q") for _ in range(dimensions))
        return _Tensor(name=name, shape=shape, kind=self.scalar("I"), offset=self.scalar("Q"))


def _check_layout(tensors: list[_Tensor], metadata: dict[str, Any], *, header_end: int, size_bytes: int) -> int:
    """Each tensor must begin where the one before it ends, as llama.cpp demands, and the last must end in the file.

    Returns:
        Bytes of all tensors, without what aligns them.
    """
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise SpecError(f"damaged header: an alignment of {alignment!r} bytes")
    data_start = _aligned(header_end, alignment)
    position = end = weight_bytes = 0
    for tensor in tensors:
        try:
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
        except (ValueError, KeyError) as error:
            raise SpecError(f"tensor {tensor.name} has the unknown type {tensor.kind}") from error
        if tensor.shape[0] % block:
            raise SpecError(f"damaged header: rows of tensor {tensor.name} are no multiple of {block}")
        if tensor.offset != position:
            raise SpecError(f"damaged header: tensor {tensor.name} begins at {tensor.offset}, not at {position}")
        tensor_bytes = prod(tensor.shape) // block * block_bytes
        end = position + tensor_bytes
        weight_bytes += tensor_bytes
        position = _aligned(end, alignment)
    missing = data_start + end - size_bytes
    if missing > 0:
        raise SpecError(f"truncated: {missing} of {data_start + end} bytes are missing")
    return weight_bytes


def _aligned(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _type_name(kind: int) -> str:
    from gguf.constants import GGMLQuantizationType

    return str(GGMLQuantizationType(kind).name)
