"""What cannot be converted exactly is refused by name; what is damaged is told from what is unknown."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.engines.architectures import permute
from ai_how.endpoints.engines.base import EngineHost, ReplicaLaunch
from ai_how.endpoints.engines.gguf_tokenizer import load_vocabulary
from ai_how.endpoints.engines.hf_to_gguf import convert
from ai_how.endpoints.engines.llamacpp import LlamaCpp
from ai_how.endpoints.engines.lora import check_sizes
from ai_how.endpoints.engines.safetensors import open_checkpoint
from ai_how.errors import SpecError
from ai_how.models.types import ModelFormat, ModelInfo
from tests.tiny_model import HIDDEN, VOCABULARY, write_safetensors, write_tiny_adapter, write_tiny_checkpoint

INFO = ModelInfo(format=ModelFormat.GGUF, architecture="llama", parameters=100_000, dtype="F16", context_tokens=2048)


def launch_of(folder: Path, **changes: Any) -> ReplicaLaunch:
    launch = ReplicaLaunch(
        served_name="mine",
        model_dir=folder,
        info=INFO,
        scratch_dir=folder / "scratch",
        host="127.0.0.1",
        port=1234,
        context_tokens=8192,
        parallel_requests=4,
        threads=2,
    )
    return dataclasses.replace(launch, **changes)


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def refusal_of(checkpoint: Path, adapter: Path | None = None) -> str:
    target = checkpoint / "out.gguf"
    with pytest.raises(SpecError) as caught:
        convert(checkpoint, target, adapter=adapter, say=lambda _: None)
    assert not list(checkpoint.glob("out.[gp]*"))
    return str(caught.value)


def test_a_gguf_file_is_served_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    command = LlamaCpp().command(launch_of(tmp_path))
    assert command.argv == (
        *(sys.executable, "-m", "ai_how.endpoints.engines.llamacpp_server"),
        *("--model", str(tmp_path / "model.gguf"), "--served-name", "mine"),
        *("--host", "127.0.0.1", "--port", "1234"),
        # no more than the model was trained for
        *("--context-tokens", "2048", "--parallel-requests", "4", "--threads", "2"),
    )
    assert command.ready_path == "/health"
    assert command.env["OMP_WAIT_POLICY"] == "passive"


def test_a_split_gguf_file_is_served_by_its_first_part(tmp_path: Path) -> None:
    for part in (2, 1, 3):
        (tmp_path / f"big-{part:05}-of-00003.gguf").touch()
    (tmp_path / "mmproj-big.gguf").touch()
    assert str(tmp_path / "big-00001-of-00003.gguf") in LlamaCpp().command(launch_of(tmp_path)).argv


@pytest.mark.parametrize("names", [(), ("a.gguf", "b.gguf"), ("a-00002-of-00002.gguf", "b.gguf")])
def test_one_gguf_file_is_needed(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(SpecError, match=f"{len(names)} were found"):
        LlamaCpp().prepare(launch_of(tmp_path))


def test_each_base_of_an_adapter_has_a_file_of_its_own(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, format=ModelFormat.PEFT_ADAPTER)
    files = {
        LlamaCpp().command(launch_of(tmp_path, info=info, base_dir=tmp_path / base)).argv[4] for base in ("one", "two")
    }
    assert len(files) == 2


def test_an_adapter_needs_its_base(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, format=ModelFormat.PEFT_ADAPTER, base_model="org/base")
    with pytest.raises(SpecError, match="base model is not here") as caught:
        LlamaCpp().prepare(launch_of(tmp_path, info=info))
    assert "org/base" in caught.value.evidence
    (tmp_path / "base").mkdir()
    with pytest.raises(SpecError, match="must be a Hugging Face checkpoint"):
        LlamaCpp().prepare(launch_of(tmp_path, info=info, base_dir=tmp_path / "base"))


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])
def test_llamacpp_takes_what_can_be_converted(architecture: str) -> None:
    info = dataclasses.replace(INFO, format=ModelFormat.HUGGING_FACE, architecture=architecture)
    assert LlamaCpp().refusal(info, EngineHost()) is None
    assert LlamaCpp().refusal(INFO, EngineHost()) is None
    strange = dataclasses.replace(info, architecture="MambaForCausalLM")
    assert "MambaForCausalLM" in str(LlamaCpp().refusal(strange, EngineHost()))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "architecture MambaForCausalLM"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"hidden_act": "gelu"}, "activation gelu"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope scaling of type dynamic"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope scaling of type longrope"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}}, "YaRN"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
        ({"partial_rotary_factor": 0.5}, "rotary embedding of a part"),
        ({"vocab_size": VOCABULARY + 1}, f"the embeddings are {VOCABULARY}"),
        ({"num_hidden_layers": 3}, "lacks 9 tensors"),
        ({"num_hidden_layers": 1}, "a tensor that its architecture has not: model.layers.1."),
        ({"hidden_size": None}, "no hidden_size"),
        ({"num_attention_heads": "many"}, "num_attention_heads is 'many'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ({"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1, 0]}, "without rotary"),
    ],
)
def test_a_config_that_cannot_be_kept_is_refused(settings: dict[str, Any], reason: str, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path)
    edit(checkpoint / "config.json", lambda config: config.update(settings))
    assert reason in refusal_of(checkpoint)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_config_is_told(text: str, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(text)
    assert "config.json" in refusal_of(tmp_path)


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set a key given as a/b/0/c."""

    def change(data: Any) -> None:
        *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
        for key in parents:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("tokenizer", "path", "value", "reason"),
    [
        ("llama-bpe", "model/type", "Unigram", "Unigram"),
        ("llama-bpe", "model/dropout", 0.1, "dropout"),
        ("llama-bpe", "normalizer", {"type": "Lowercase"}, "normalizer Lowercase"),
        ("llama-bpe", "pre_tokenizer/pretokenizers/0/pattern/Regex", r"\w+", r"splits text by \w+"),
        ("llama-bpe", "pre_tokenizer/pretokenizers/0/pattern", {"String": " "}, "splits text by None"),
        ("llama-bpe", "pre_tokenizer/pretokenizers/0/behavior", "MergedWithNext", "splits text by"),
        ("llama-bpe", "pre_tokenizer/pretokenizers/1/add_prefix_space", True, "a space is put before"),
        ("llama-bpe", "pre_tokenizer", None, "pre-tokenizer none"),
        ("llama-bpe", "pre_tokenizer", {"type": "Whitespace"}, "pre-tokenizer Whitespace"),
        ("qwen2", "model/ignore_merges", True, "splits text by"),
        ("gpt-2", "model/ignore_merges", True, "pre-tokenizer ByteLevel"),
        ("smollm", "pre_tokenizer/pretokenizers/0/individual_digits", False, "Digits"),
        ("llama-bpe", "added_tokens/0/lstrip", True, "swallows the spaces"),
        ("llama-bpe", "added_tokens/0/id", VOCABULARY, "more tokens than the model has embeddings"),
        ("llama-bpe", "model/vocab", {"a": -1}, "more tokens than the model has embeddings"),
        ("sentencepiece", "normalizer", None, "puts spaces before words"),
        ("sentencepiece", "model/merges/0", ["t", "q"], "merges that no SentencePiece model has"),
        ("llama-bpe", "model", None, "damaged"),
        ("llama-bpe", "added_tokens", [3], "damaged"),
    ],
)
def test_a_tokenizer_that_cannot_be_kept_is_refused(
    tokenizer: str, path: str, value: Any, reason: str, tmp_path: Path
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path, tokenizer=tokenizer)
    load_vocabulary(checkpoint, VOCABULARY)
    edit(checkpoint / "tokenizer.json", _set(path, value))
    assert reason in refusal_of(checkpoint)


def test_the_spaces_of_newer_llama_tokenizers_are_refused(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path, tokenizer="sentencepiece")
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    edit(checkpoint / "tokenizer.json", lambda data: data.update(normalizer=None, pre_tokenizer=metaspace))
    assert "puts spaces before words" in refusal_of(checkpoint)


def test_a_tokenizer_is_needed(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path)
    (checkpoint / "tokenizer.json").rename(checkpoint / "tokenizer.model")
    assert "has no tokenizer.json" in refusal_of(checkpoint)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"peft_type": "IA3"}, "adapter of type IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"of_a_later_release": {"x": 1}}, "of_a_later_release"),
        ({"init_lora_weights": "pissa_niter_4"}, "changed base weights (pissa_niter_4)"),
    ],
)
def test_an_adapter_that_cannot_be_merged_is_refused(settings: dict[str, Any], reason: str, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "base")
    assert reason in refusal_of(checkpoint, write_tiny_adapter(tmp_path / "adapter", **settings))


@pytest.mark.parametrize(
    ("name", "shape", "tied", "reason"),
    [
        ("model.layers.9.mlp.up_proj.lora_A.weight", (4, HIDDEN), False, "no such tensor"),
        ("model.layers.0.mlp.up_proj.lora_A.weight", (4, HIDDEN), False, "lacks its partner"),
        ("model.embed_tokens.lora_embedding_A", (4, VOCABULARY), False, "not a linear layer's"),
        ("lm_head.weight", (VOCABULARY + 8, HIDDEN), False, "it is for 648 x 64, the base has 640 x 64"),
        ("model.layers.0.mlp.up_proj.lora_A.weight", (5, HIDDEN), False, "has rank 5 in the weights"),
        ("model.embed_tokens.weight", (VOCABULARY, HIDDEN), True, "ties together"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    name: str, shape: tuple[int, int], tied: bool, reason: str, tmp_path: Path
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "base", tie_word_embeddings=tied)
    adapter = write_tiny_adapter(tmp_path / "adapter")
    tensors = {f"base_model.model.{name}": np.zeros(shape, np.float32)}
    write_safetensors(adapter / "adapter_model.safetensors", tensors, "F32")
    assert reason in refusal_of(checkpoint, adapter)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "base", intermediate_size=192)
    adapter = write_tiny_adapter(tmp_path / "adapter")
    said = refusal_of(checkpoint, adapter)
    assert "was trained on another base\nit is for 64 x 128, the base has 64 x 192" in said
    assert said.endswith("serve it on the base that it was trained on: tiny")
    with pytest.raises(SpecError, match="was trained on another base"):
        check_sizes(adapter, checkpoint)
    check_sizes(adapter, write_tiny_checkpoint(tmp_path / "its-base"))


def test_sizes_of_what_only_an_engine_can_judge_are_left_to_it(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "base", intermediate_size=192)
    check_sizes(write_tiny_adapter(tmp_path / "dora", use_dora=True), checkpoint)
    packed = {"model.layers.0.mlp.down_proj.weight": np.zeros((4096, 1), np.uint8)}
    write_safetensors(checkpoint / "model.safetensors", packed, "U8")
    check_sizes(write_tiny_adapter(tmp_path / "adapter"), checkpoint)


@pytest.mark.parametrize("unsound", [np.nan, np.inf])
def test_an_adapter_with_weights_that_are_no_numbers_is_refused(unsound: float, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "base")
    adapter = write_tiny_adapter(tmp_path / "adapter")
    down, up = np.zeros((4, HIDDEN), np.float32), np.zeros((HIDDEN, 4), np.float32)
    up[3, 2] = unsound
    module = "model.layers.0.self_attn.q_proj"
    tensors = {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
    write_safetensors(adapter / "adapter_model.safetensors", tensors, "F32")
    said = refusal_of(checkpoint, adapter)
    assert f"1 of {up.size} are NaN or infinite ({module}.lora_B.weight)" in said


def test_matrices_that_cannot_be_multiplied_are_refused(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "base")
    adapter = write_tiny_adapter(tmp_path / "adapter")
    module = "model.layers.0.self_attn.q_proj"
    shapes = {"A": (4, HIDDEN), "B": (HIDDEN, 5)}
    tensors = {f"{module}.lora_{side}.weight": np.zeros(shape, np.float32) for side, shape in shapes.items()}
    write_safetensors(adapter / "adapter_model.safetensors", tensors, "F32")
    assert "cannot be multiplied: 64 x 5 and 4 x 64" in refusal_of(checkpoint, adapter)


@pytest.mark.parametrize("settings", [{"lora_alpha": "sixteen"}, {"alpha_pattern": {"q_proj": "x"}}])
def test_an_adapter_that_was_registered_before_it_was_checked_is_refused(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "base")
    assert "the adapter is damaged" in refusal_of(checkpoint, write_tiny_adapter(tmp_path / "adapter", **settings))


def test_numbers_beyond_16_bit_floats_are_refused(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path, dtype="F32")
    tensors = {name: np.array(tensor.raw()) for name, tensor in open_checkpoint(checkpoint).items()}
    tensors["lm_head.weight"][0, 0] = 1e6
    write_safetensors(checkpoint / "model.safetensors", tensors, "F32")
    assert "lm_head.weight has numbers that 16-bit floats cannot hold" in refusal_of(checkpoint)


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path)
    whole = open_checkpoint(checkpoint)
    halves: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for number, (name, tensor) in enumerate(whole.items()):
        halves[number % 2][name] = np.array(tensor.raw())
    (checkpoint / "model.safetensors").unlink()
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    weight_map = {}
    for file, half in zip(names, halves, strict=True):
        write_safetensors(checkpoint / file, half, "F16")
        weight_map |= dict.fromkeys(half, file)
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    sharded = open_checkpoint(checkpoint)
    assert sharded.keys() == whole.keys()
    written = halves[0] | halves[1]
    assert all((sharded[name].raw() == written[name]).all() for name in written)
    (checkpoint / names[1]).unlink()
    assert f"lacks {names[1]}" in refusal_of(checkpoint)


@given(st.integers(0, 400), st.binary(max_size=40))
def test_a_damaged_weights_file_is_always_a_clear_error(tmp_path_factory: Any, at: int, noise: bytes) -> None:
    folder = tmp_path_factory.mktemp("weights")
    write_safetensors(folder / "model.safetensors", {"a": np.zeros((2, 3), np.float32)}, "F32")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[at : at + len(noise)] = noise
    (folder / "model.safetensors").write_bytes(content)
    try:
        tensors = open_checkpoint(folder)
    except SpecError:
        return
    for tensor in tensors.values():
        tensor.float32()


def test_permutation_pairs_the_halves_of_each_head() -> None:
    assert permute(np.arange(8)[:, None], 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert permute(np.arange(4), 1).tolist() == [0, 2, 1, 3]
