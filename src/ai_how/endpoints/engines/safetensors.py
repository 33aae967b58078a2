"""Read safetensors files through a memory map: one tensor at a time, nothing copied that is not asked for.

Owns the file format (https://huggingface.co/docs/safetensors) and a checkpoint's index of shards. Never writes.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ai_how.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_HEADER_BYTES = 100 * 1024 * 1024
"""The format's own limit."""

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Where a tensor lies: its file, type (F32, F16, BF16), shape and byte range."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int

    def raw(self) -> NDArray[Any]:
        """The stored numbers without a copy; BF16 as its 16 bits, since numpy has no such type."""
        import numpy as np

        kind = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[self.dtype]
        return np.memmap(self.file, dtype=kind, mode="r", offset=self.start, shape=self.shape)

    def float32(self) -> NDArray[np.float32]:
        """The numbers as float32, exactly."""
        import numpy as np

        raw = self.raw()
        if self.dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)


def open_checkpoint(folder: Path, stem: str = "model") -> dict[str, Tensor]:
    """Every tensor of ``<stem>.safetensors`` or of the shards that ``<stem>.safetensors.index.json`` lists.

    Raises:
        SpecError: a file is missing, truncated or no safetensors file, or holds a type we do not read.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise SpecError(
            f"no {single.name} in the checkpoint",
            evidence=f"looked in {folder}",
            next_step="save the weights as safetensors (Oumi: training.save_final_model: true)",
        )
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise SpecError(f"{index.name} is not an index of shards", evidence=str(error)) from error
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise SpecError(f"{index.name} names a file outside the checkpoint: {shard}")
        tensors |= read_header(folder / shard)
    return tensors


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of one file, checked against the file's size.

    Raises:
        SpecError: see ``open_checkpoint``.
    """
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            length = int.from_bytes(data[:8], "little")
            body_bytes = len(data) - 8 - length
            header = json.loads(data[8 : 8 + min(length, MAX_HEADER_BYTES)])
        header.pop("__metadata__", None)
        return {
            name: _tensor(file, name, entry, body_start=8 + length, body_bytes=body_bytes)
            for name, entry in header.items()
        }
    except FileNotFoundError as error:
        raise SpecError(
            f"the checkpoint lacks {file.name}", next_step="copy the missing file, then push again"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(
            f"{file.name} is damaged or no safetensors file",
            evidence=str(error),
            next_step="copy the file again from where it was trained",
        ) from error


def _tensor(file: Path, name: str, entry: dict[str, Any], *, body_start: int, body_bytes: int) -> Tensor:
    start, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    dtype = entry["dtype"]
    if dtype not in _BYTES:
        raise SpecError(
            f"tensor {name} has the type {dtype}",
            evidence=f"{file.name}; readable here are {', '.join(_BYTES)}",
            next_step="save the model in bfloat16 without quantization",
        )
    size = _BYTES[dtype]
    for length in shape:
        size *= length
    if not 0 <= start <= end <= body_bytes or end - start != size:
        raise ValueError(f"tensor {name} lies outside the file or has the wrong size")
    return Tensor(file=file, dtype=dtype, shape=shape, start=body_start + start, size_bytes=size)
