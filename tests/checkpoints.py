"""Small sound models to break: in shards, as GGUF, and with what training leaves around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.tiny_model import CHAT_TEMPLATE, write_tiny_checkpoint

LEFTOVERS = ("optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json", "training_args.bin")


def write_sharded(folder: Path, *, shards: int = 2, **settings: Any) -> Path:
    """A full model whose weights are spread over shards, with their index."""
    write_tiny_checkpoint(folder, **settings)
    whole = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    header.pop("__metadata__", None)
    names = list(header)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        mine = names[i::shards]
        write_raw(folder / file, {name: header[name] for name in mine}, body)
        weight_map |= dict.fromkeys(mine, file)
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": len(body)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_raw(file: Path, entries: dict[str, Any], body: bytes) -> None:
    """A safetensors file of some of the tensors of another one."""
    header, data, position = {}, b"", 0
    for name, entry in entries.items():
        start, end = entry["data_offsets"]
        header[name] = entry | {"data_offsets": [position, position + end - start]}
        data += body[start:end]
        position += end - start
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_leftovers(folder: Path) -> None:
    """What a training run leaves beside the model."""
    for name in LEFTOVERS:
        (folder / name).write_bytes(b"left over")
    for name in ("checkpoint-10", "logs", "telemetry", ".git"):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").write_bytes(b"not this one")


def write_gguf(path: Path, *, chat: bool = True) -> Path:
    """A GGUF file by the official writer: two kinds of tensors, a vocabulary, a chat template."""
    from gguf import GGMLQuantizationType, GGUFWriter, quantize

    writer = GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_token_list([f"token-{i}" for i in range(100)])
    if chat:
        writer.add_chat_template(CHAT_TEMPLATE)
    weights = np.random.RandomState(3).standard_normal((8, 64)).astype(np.float32)
    kind = GGMLQuantizationType.Q8_0
    writer.add_tensor("blk.0.ffn_up.weight", quantize(weights, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", weights[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_large(folder: Path, *, mib: int) -> Path:
    """A full model whose one weight file has ``mib`` MiB of noise, so that it is sent in parts."""
    write_tiny_checkpoint(folder)
    noise = np.random.RandomState(4).bytes(mib << 20)
    entry = {"dtype": "U8", "shape": [len(noise)], "data_offsets": [0, len(noise)]}
    text = json.dumps({"noise": entry}).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + noise)
    return folder
