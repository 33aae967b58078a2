"""Which files make a model, and what is said of those that do not."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_how.errors import SpecError
from ai_how.models.checkpoint import inspect
from ai_how.models.types import ModelFormat
from tests.checkpoints import LEFTOVERS, write_gguf, write_leftovers, write_sharded
from tests.tiny_model import write_safetensors, write_tiny_adapter, write_tiny_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


def refusal(path: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        inspect(path)
    assert caught.value.next_step
    return caught.value


def change_json(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_a_full_model_is_described(folder: Path) -> None:
    found = inspect(write_tiny_checkpoint(folder, dtype="BF16"))
    assert found.info.format is ModelFormat.HUGGING_FACE
    assert found.info.architecture == "LlamaForCausalLM"
    assert found.info.dtype == "bfloat16"
    assert found.info.context_tokens == 2048
    assert found.info.chat_template
    assert found.info.parameters > 100_000
    assert found.files == ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert found.skipped == found.warnings == ()


def test_shards_count_as_one_model(folder: Path, tmp_path: Path) -> None:
    whole = inspect(write_tiny_checkpoint(tmp_path / "whole"))
    found = inspect(write_sharded(folder, shards=3))
    assert found.info == whole.info
    assert "model.safetensors.index.json" in found.files
    assert sum(name.endswith(".safetensors") for name in found.files) == 3


def test_an_adapter_is_described(folder: Path) -> None:
    found = inspect(write_tiny_adapter(folder))
    assert found.info.format is ModelFormat.PEFT_ADAPTER
    assert found.info.architecture == "LORA"
    assert found.info.base_model == "tiny"
    assert found.info.dtype == "float32"
    assert found.files == ("adapter_config.json", "adapter_model.safetensors")


@pytest.mark.parametrize("chat", [True, False])
def test_a_gguf_file_and_a_folder_with_one_are_the_same_model(tmp_path: Path, chat: bool) -> None:
    file = write_gguf(tmp_path / "model.gguf", chat=chat)
    found = inspect(file)
    assert inspect(tmp_path) == found
    assert found.info.format is ModelFormat.GGUF
    assert found.info.chat_template is chat
    assert found.info.context_tokens == 2048
    assert found.files == ("model.gguf",)


def test_what_training_left_is_left_out_and_named(folder: Path) -> None:
    write_tiny_checkpoint(folder)
    sound = inspect(folder)
    write_leftovers(folder)
    for name in ("pytorch_model.bin", "model-00001-of-00002.safetensors", "old.gguf"):
        (folder / name).write_bytes(b"stale")
    found = inspect(folder)
    assert found.files == sound.files
    assert {*LEFTOVERS, "checkpoint-10/", "logs/", "telemetry/", ".git", "pytorch_model.bin"} <= set(found.skipped)


def test_templates_cards_and_licences_are_taken(folder: Path) -> None:
    write_tiny_checkpoint(folder)
    change_json(folder / "tokenizer_config.json", chat_template=None)
    assert not inspect(folder).info.chat_template
    (folder / "additional_chat_templates").mkdir()
    names = ("LICENSE", "README.md", "chat_template.jinja", "merges.txt", "additional_chat_templates/tools.jinja")
    for name in names:
        (folder / name).write_text("text")
    found = inspect(folder)
    assert set(names) <= set(found.files)
    assert found.info.chat_template


def test_links_to_files_are_followed_and_loops_are_not(folder: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(folder)
    blob = folder / "abc"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to("abc")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    found = inspect(folder)
    assert "model.safetensors" in found.files
    assert found.skipped == ("abc", "loop/")
    blob.unlink()
    assert "model.safetensors: a link to abc" in refusal(folder).evidence


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    write_tiny_checkpoint(folder)
    (tmp_path / "blobs").mkdir()
    outside = tmp_path / "blobs" / "abc"
    outside.write_text("not the model's")
    if (folder / name).exists():
        (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    said = refusal(folder)
    assert f"{name}: a link out of the model's folder, to {outside}" in said.evidence
    assert "put the file itself" in said.next_step


def test_a_link_to_what_does_not_belong_to_the_model_is_left_out(folder: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(folder)
    (tmp_path / "other").write_text("x")
    (folder / "optimizer.pt").symlink_to(tmp_path / "other")
    assert inspect(folder).skipped == ("optimizer.pt",)


def test_the_links_of_hugging_face_s_cache_are_followed(tmp_path: Path) -> None:
    snapshot = write_tiny_checkpoint(tmp_path / "models--org--tiny" / "snapshots" / "c0ffee")
    blobs = tmp_path / "models--org--tiny" / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(f"../../blobs/{number}")
    assert "model.safetensors" in inspect(snapshot).files
    (snapshot / "README.md").symlink_to(tmp_path / "elsewhere.md")
    (tmp_path / "elsewhere.md").write_text("x")
    assert "README.md: a link out of" in refusal(snapshot).evidence


def test_a_gguf_file_that_is_a_link_is_taken_alone_but_not_out_of_a_folder(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "m.gguf").symlink_to(write_gguf(tmp_path / "real.gguf"))
    assert inspect(folder / "m.gguf").files == ("m.gguf",)
    assert "m.gguf: a link out of" in refusal(folder).evidence


def test_what_is_no_file_is_called_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").symlink_to("gone.gguf")
    assert refusal(tmp_path / "broken.gguf").brief.endswith("broken.gguf is a link to gone.gguf, which does not exist")
    assert refusal(Path("/dev/null")).brief == "/dev/null is neither a folder nor a regular file"


def test_a_missing_tokenizer_is_a_warning(folder: Path) -> None:
    write_tiny_checkpoint(folder)
    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in inspect(folder).warnings[0]


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[:-100])

    return damage


def write(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def remove(*names: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


SHARD = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    ("make", "damage", "said"),
    [
        (write_tiny_checkpoint, write("config.json", "{"), "config.json: broken JSON"),
        (write_tiny_checkpoint, write("config.json", "[]"), "config.json: it holds no JSON object"),
        (write_tiny_checkpoint, write("config.json", '{"a": 1}'), "config.json: it names no architecture"),
        (write_tiny_checkpoint, write("tokenizer_config.json", ""), "tokenizer_config.json: broken JSON"),
        (write_tiny_checkpoint, cut("model.safetensors"), "model.safetensors: truncated: 100 of"),
        (write_tiny_checkpoint, write("model.safetensors", ""), "model.safetensors: truncated"),
        (write_tiny_checkpoint, write("model.safetensors", "version https://git-lfs"), "no safetensors file"),
        (write_tiny_checkpoint, remove("model.safetensors"), "there is no model.safetensors"),
        (write_tiny_checkpoint, remove("config.json"), "no config.json"),
        (write_sharded, remove(SHARD), f"{SHARD}: missing, but model.safetensors.index.json names it"),
        (write_sharded, cut(SHARD), f"{SHARD}: truncated"),
        (write_sharded, write("model.safetensors.index.json", "{}"), "no map from weights"),
        (
            write_sharded,
            write("model.safetensors.index.json", '{"weight_map": {"a": "../x.safetensors"}}'),
            "no map from weights",
        ),
        (
            write_sharded,
            write("model.safetensors.index.json", json.dumps({"weight_map": {"lost": SHARD}})),
            "such as lost",
        ),
        (write_tiny_adapter, write("adapter_config.json", '{"peft_type": "LORA"}'), "names no base model"),
        (write_tiny_adapter, write("adapter_config.json", "{"), "adapter_config.json: broken JSON"),
        (write_tiny_adapter, remove("adapter_model.safetensors"), "there is no adapter_model.safetensors"),
        (write_tiny_adapter, cut("adapter_model.safetensors"), "adapter_model.safetensors: truncated"),
        (write_tiny_adapter, write("model.safetensors", ""), "both a full model and an adapter"),
    ],
)
def test_each_problem_is_named(
    folder: Path, make: Callable[[Path], Path], damage: Callable[[Path], None], said: str
) -> None:
    make(folder)
    damage(folder)
    assert said in refusal(folder).evidence


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        *[({"r": r}, "not a rank") for r in (0, -4, "four", 4.0, True, None)],
        *[({"lora_alpha": alpha}, "not a number") for alpha in ("sixteen", [1], None, math.nan, math.inf, 10**400)],
        ({"alpha_pattern": {"q_proj": "x"}}, "alpha_pattern has 'x' for q_proj: its values are numbers"),
        ({"alpha_pattern": {"q_(proj": 1}}, "alpha_pattern: q_(proj is no regular expression"),
        ({"rank_pattern": 3}, "rank_pattern is 3, not a mapping"),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern has 0 for q_proj: its values are ranks"),
        ({"rank_pattern": {"layers.1.mlp.down_proj": 8}}, "model.layers.1.mlp.down_proj has rank 4 in the weights, 8"),
        ({"r": 64}, "has rank 4 in the weights, 64 in the configuration; so have 7 more modules"),
        ({"use_rslora": "false"}, "neither true nor false"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save names lm_head, but the weights have no tensor of it"),
        ({"modules_to_save": "lm_head"}, "not a list of names"),
        ({"target_modules": ["nothing_proj"]}, "holds no tensors"),
    ],
)
def test_an_adapter_that_contradicts_itself_is_refused(folder: Path, settings: dict[str, Any], said: str) -> None:
    assert said in refusal(write_tiny_adapter(folder, **settings)).evidence


@pytest.mark.parametrize("targets", [None, 3, [1]])
def test_what_was_trained_must_be_said(folder: Path, targets: Any) -> None:
    config = write_tiny_adapter(folder) / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": targets}))
    assert "target_modules is" in refusal(folder).evidence


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 16 * 2**0.5, "use_rslora": True},  # as PEFT converts PiSSA
        {"rank_pattern": {}, "alpha_pattern": {}, "layers_to_transform": None},
        {"rank_pattern": None, "alpha_pattern": {"q_proj": 1.5, "^model.layers.0.mlp.down_proj": 64}},
        {"r": 16, "rank_pattern": {"q_proj|k_proj": 4, r"model\.layers\.\d+\.self_attn.v_proj": 4, "mlp.down_proj": 4}},
        {"target_modules": "all-linear|q_proj"},
        {"target_modules": r".*\.(q_proj|v_proj)"},
        {"target_modules": None, "target_parameters": ["mlp.experts.down_proj"], "r": 2},
        {"target_modules": [], "lora_alpha": 0},
        {"modules_to_save": []},
        {"modules_to_save": ["classifier", "score"], "task_type": "SEQ_CLS"},
        {"peft_type": "IA3", "r": None, "lora_alpha": None, "target_modules": None},
    ],
)
def test_what_peft_writes_is_no_problem(folder: Path, settings: dict[str, Any]) -> None:
    write_tiny_adapter(folder)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | settings))
    if settings.get("modules_to_save"):
        header = {"base_model.model.score.weight": np.zeros((2, 64), np.float32)}
        write_safetensors(folder / "adapter_model.safetensors", header, "F32")
    assert inspect(folder).info.format is ModelFormat.PEFT_ADAPTER


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    write_sharded(folder, shards=3)
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text("{")
    (folder / "model-00001-of-00003.safetensors").unlink()
    cut("model-00003-of-00003.safetensors")(folder)
    error = refusal(folder)
    assert "4 problems" in error.brief
    assert len(error.evidence.splitlines()) == 4


@pytest.mark.parametrize("make", [write_tiny_checkpoint, write_tiny_adapter])
def test_pickled_weights_are_refused(folder: Path, make: Callable[[Path], Path]) -> None:
    make(folder)
    for file in folder.glob("*.safetensors"):
        file.rename(folder / "pytorch_model.bin")
    error = refusal(folder)
    assert "pickled weights are refused" in error.evidence
    assert "safe_serialization" in error.next_step


def test_a_broken_off_training_run_points_to_its_last_checkpoint(folder: Path) -> None:
    for step in (9, 10, 30):
        write_tiny_checkpoint(folder / f"checkpoint-{step}")
    assert f"ai-how model push {folder / 'checkpoint-30'}" in refusal(folder).next_step
    shutil.copy(folder / "checkpoint-9" / "config.json", folder)
    assert f"ai-how model push {folder / 'checkpoint-30'}" in refusal(folder).next_step


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model"])
def test_a_corrupt_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    assert "m.gguf: " in refusal(tmp_path / "m.gguf").evidence
    assert "m.gguf: " in refusal(tmp_path).evidence


def test_of_two_gguf_files_one_must_be_named(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        write_gguf(tmp_path / name)
    assert refusal(tmp_path).evidence == "a.gguf\nb.gguf"


def test_a_part_of_a_split_gguf_file_and_an_adapter_are_refused(tmp_path: Path) -> None:
    import numpy as np
    from gguf import GGUFWriter

    for key, value, said in (("split.count", 3, "one of 3 parts"), ("general.type", "adapter", "no model but adapter")):
        path = tmp_path / "x.gguf"
        writer = GGUFWriter(path, "llama")
        writer.add_uint32(key, value) if isinstance(value, int) else writer.add_string(key, value)
        writer.add_tensor("t", np.zeros(32, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        assert said in refusal(path).evidence


def test_no_such_path_names_what_is_near(tmp_path: Path) -> None:
    write_gguf(tmp_path / "smollm.gguf")
    assert "smollm.gguf" in refusal(tmp_path / "smolm.gguf").evidence
    assert "no folder" in refusal(tmp_path / "none" / "x").evidence


def test_an_empty_folder_and_a_folder_of_other_things_are_no_model(tmp_path: Path) -> None:
    assert "no files" in refusal(tmp_path).evidence
    (tmp_path / "notes.txt").write_text("hello")
    assert "it has: notes.txt" in refusal(tmp_path).evidence
