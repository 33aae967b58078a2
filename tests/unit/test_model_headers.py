"""Headers of weight files: whatever the bytes are, a header is sound or there is one clear error."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.errors import SpecError
from ai_how.models import gguf_header, safetensors
from tests.checkpoints import write_gguf
from tests.tiny_model import write_tiny_checkpoint


@cache
def sound_safetensors() -> bytes:
    with TemporaryDirectory() as folder:
        return (write_tiny_checkpoint(Path(folder), dtype="BF16") / "model.safetensors").read_bytes()


@cache
def sound_gguf() -> bytes:
    with TemporaryDirectory() as folder:
        return write_gguf(Path(folder) / "m.gguf").read_bytes()


def parse_safetensors(content: bytes) -> safetensors.Header:
    length = safetensors.header_length(content[:8], size_bytes=len(content))
    return safetensors.parse_header(content[8 : 8 + length], body_bytes=len(content) - 8 - length)


def with_header(header: Any, *, body: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(**changes: Any) -> dict[str, Any]:
    return {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


def test_a_sound_safetensors_file_is_counted() -> None:
    header = parse_safetensors(sound_safetensors())
    parameters, dtype = safetensors.summary(list(header.tensors.values()))
    assert dtype == "bfloat16"
    assert len(sound_safetensors()) - header.data_start == 2 * parameters


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"\1\0\0", "truncated"),
        ((10).to_bytes(8, "little") + b"{}", "truncated"),
        (b"<!DOCTYPE html><html>", "no safetensors file"),
        (with_header(b"[]"), "not a JSON object"),
        (with_header(b"[" * 100_000), "not JSON"),
        (with_header(b'{"t": 1, "t": 2}'), "twice"),
        (with_header({"t": 5}), "not described"),
        (with_header(tensor(dtype="F13")), "F13"),
        (with_header(tensor(dtype=["F32"])), "unknown type"),
        (with_header(tensor(shape=[2.0])), "shape and offsets"),
        (with_header(tensor(shape=[True, 2])), "shape and offsets"),
        (with_header(tensor(shape=[-2])), "shape and offsets"),
        (with_header(tensor(data_offsets=[0])), "shape and offsets"),
        (with_header(tensor(data_offsets=[8, 0])), "offsets span"),
        (with_header(tensor(shape=[3])), "takes 12 bytes"),
        (with_header(tensor(data_offsets=[4, 12])), "not at 0"),
        (with_header(tensor(), body=b"\0" * 7), "1 of 8 bytes of weights are missing"),
        (with_header(tensor(), body=b"\0" * 9), "1 bytes follow"),
        (with_header(tensor() | {"u": tensor()["t"]}), "not at 8"),
    ],
)
def test_each_damage_of_a_safetensors_file_has_its_message(content: bytes, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_safetensors(content)


@given(st.binary(max_size=300))
def test_random_bytes_are_no_safetensors_file(content: bytes) -> None:
    with pytest.raises(SpecError):
        parse_safetensors(content)


@given(st.data())
def test_a_truncated_safetensors_file_is_always_caught(data: st.DataObject) -> None:
    content = sound_safetensors()
    with pytest.raises(SpecError):
        parse_safetensors(content[: data.draw(st.integers(0, len(content) - 1))])


@given(st.data())
def test_a_damaged_safetensors_header_is_sound_or_an_error(data: st.DataObject) -> None:
    content = bytearray(sound_safetensors())
    length = int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(0, 7 + length))] = data.draw(st.integers(0, 255))
    try:
        header = parse_safetensors(bytes(content))
    except SpecError:
        return
    ends = [found.end for found in header.tensors.values()]
    assert header.data_start + max(ends) == len(content)


def test_a_sound_gguf_file_is_described() -> None:
    header = gguf_header.parse_header(sound_gguf())
    assert header.architecture == "llama"
    assert (header.tensors, header.parameters, header.dtype) == (2, 8 * 64 + 64, "Q8_0")
    assert header.metadata["llama.context_length"] == 2048
    assert header.metadata["tokenizer.ggml.tokens"] == 100
    assert header.metadata["tokenizer.chat_template"].startswith("{%")


def gguf(*, keys: bytes, key_count: int = 1, tensors: bytes = b"", tensor_count: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, key_count) + keys + tensors


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def string_key(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", 8) + text(value)


LLAMA = string_key("general.architecture", "llama")


def tensor_info(*, dimensions: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    shape = b"".join(struct.pack("<Q", length) for length in dimensions)
    return text("t") + struct.pack("<I", len(dimensions)) + shape + struct.pack("<IQ", kind, offset)


def with_tensor(**settings: Any) -> bytes:
    return gguf(keys=LLAMA, tensors=tensor_info(**settings), tensor_count=1) + b"\0" * 500


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"GGML" + b"\0" * 50, "no GGUF file"),
        (gguf(keys=LLAMA, version=1), "version 1"),
        (gguf(keys=LLAMA, version=3 << 24), "big-endian"),
        (gguf(keys=LLAMA, key_count=2**60), "truncated"),
        (gguf(keys=LLAMA * 2, key_count=2), "twice"),
        (gguf(keys=text("k") + struct.pack("<I", 99)), "value type 99"),
        (gguf(keys=text("k") + struct.pack("<IIQ", 9, 9, 1)), "array of value type 9"),
        (gguf(keys=text("k") + struct.pack("<IIQ", 9, 4, 2**61)), "truncated"),
        (gguf(keys=text("k") + struct.pack("<IIQ", 9, 8, 2**61)), "truncated"),
        (gguf(keys=struct.pack("<Q", 2**63)), "a text of"),
        (gguf(keys=string_key("general.name", "x")), "no architecture"),
        (gguf(keys=LLAMA), "no tensors"),
        (with_tensor(dimensions=()), "0 dimensions"),
        (with_tensor(dimensions=(1,) * 5), "5 dimensions"),
        (with_tensor(kind=999), "unknown type 999"),
        (with_tensor(kind=8, dimensions=(33,)), "no multiple of 32"),
        (with_tensor(offset=32), "not at 0"),
        (with_tensor(dimensions=(2**62, 2**62)), "truncated"),
    ],
)
def test_each_damage_of_a_gguf_file_has_its_message(content: bytes, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        gguf_header.parse_header(content)


@given(st.binary(max_size=300))
def test_random_bytes_are_no_gguf_file(content: bytes) -> None:
    with pytest.raises(SpecError):
        gguf_header.parse_header(content)
    with pytest.raises(SpecError):
        gguf_header.parse_header(b"GGUF" + content)


@given(st.data())
def test_a_truncated_gguf_file_is_always_caught(data: st.DataObject) -> None:
    content = sound_gguf()
    # the writer pads the last tensor; only what is cut from the tensors themselves is lost
    whole = len(content.rstrip(b"\0"))
    with pytest.raises(SpecError):
        gguf_header.parse_header(content[: data.draw(st.integers(0, whole - 1))])


@given(st.data())
def test_a_damaged_gguf_header_is_sound_or_an_error(data: st.DataObject) -> None:
    content = bytearray(sound_gguf())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        gguf_header.parse_header(bytes(content))
    except SpecError:
        return


def test_the_gguf_reader_agrees_with_the_official_one(tmp_path: Path) -> None:
    from gguf import GGUFReader

    path = write_gguf(tmp_path / "m.gguf")
    ours, official = gguf_header.read_header(path), GGUFReader(path)
    assert ours.tensors == len(official.tensors)
    assert ours.parameters == sum(tensor.n_elements for tensor in official.tensors)
    assert set(ours.metadata) == {key for key in official.fields if not key.startswith("GGUF.")}
