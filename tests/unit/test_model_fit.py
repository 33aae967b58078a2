"""``ai-how model fit`` as its user types it, on small real files; and how models are read for it."""

from __future__ import annotations

import json
import os
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.accelerators.catalogue import load_catalogue
from ai_how.capacity.weight_types import QUANTIZATIONS, WEIGHT_TYPES
from ai_how.cli import model_fit
from ai_how.cli.app import root
from ai_how.endpoints.engines.base import Accelerator, EngineHost
from ai_how.endpoints.memory import memory_warning
from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware, ServedAdapter
from ai_how.errors import AiHowError, NotFoundError, SpecError
from ai_how.models.shape import read_model
from ai_how.site.spec import Serving
from tests.checkpoints import write_sharded
from tests.published_memory import figures
from tests.tiny_model import CONTEXT_TOKENS, write_tiny_adapter, write_tiny_checkpoint, write_tiny_gguf


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["model", "fit", *words])
    if isinstance(result.exception, AiHowError):
        raise result.exception
    assert result.exit_code == code, (result.output, result.exception)
    return result


def run_json(*words: str, code: int = 0) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(run(*words, "-o", "json", code=code).stdout)
    return data


@pytest.fixture
def llama(tmp_path: Path) -> str:
    """The configuration of Llama 3.1 8B, alone."""
    return write_config(tmp_path, "Llama-3.1-8B")


def write_config(folder: Path, name: str, **changes: Any) -> str:
    config = next(model["config"] for model in figures()["model"] if model["name"] == name)
    file = folder / "config.json"
    file.write_text(json.dumps(config | changes))
    return str(file)


def test_text_tells_all_in_80_columns(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(llama).parent)
    text = run("config.json", "--gpu", "T4", "--gpu", "A6000").stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    for said in (
        "LlamaForCausalLM",
        "8.03B (bfloat16)",
        "131072 tokens at most",
        "computed from config.json alone",
        "Memory of one GPU, NVIDIA RTX A6000: 43.7 GiB usable of 48",
        "reserve (10%)",
        "within 0.9 GiB",
        "CONTEXT: longest with 8 at once.",
        "vllm serve MODEL --max-model-len 8192 --max-num-seqs 8",
    ):
        assert said in text
    rows = {line.split()[1]: line.split() for line in text.splitlines() if line.startswith(("Tesla", "RTX"))}
    assert rows["T4"][2] == "no"
    assert rows["A6000"][2:5] == ["yes", "24176", "23"]


def test_the_command_can_be_pasted(llama: str) -> None:
    text = run(llama, "--gpu", "A6000", "--gpus", "2", "--quantization", "fp8", "--kv-dtype", "fp8").stdout
    assert "fp8 weights save memory there, not time" in text
    words = shlex.split(text[text.index("  vllm serve") :].replace("\\\n", " "))
    assert words[:3] == ["vllm", "serve", "MODEL"]
    assert words[words.index("--tensor-parallel-size") + 1] == "2"
    assert words[words.index("--kv-cache-dtype") + 1] == "fp8"


def test_the_how_to_shows_what_is_printed(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(llama).parent)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "will-my-model-fit.md").read_text(encoding="utf-8")
    text = run("config.json", "--gpu", "T4", "--gpu", "A6000").stdout
    assert textwrap.indent(text, "    ") in page


def test_it_exits_with_2_where_it_fits_on_none(llama: str) -> None:
    text = run(llama, "--gpu", "T4", code=2).stdout
    assert "lacking" in text
    assert "vllm serve" not in text


def test_json_has_every_figure_with_its_unit(llama: str) -> None:
    data = run_json(llama, "--gpu", "A6000", "--context", "16384", "--sequences", "4")
    assert data["model"]["parameters"] == 8_030_261_248
    assert data["model"]["weights_from_headers"] is False
    assert data["load"]["context_tokens"] == 16384
    (found,) = data["gpus"]
    water = found["waterfall"]
    parts = sum(value for name, value in water.items() if name != "total_bytes")
    assert parts + found["free_bytes"] == water["total_bytes"]
    assert water["weights_bytes"] == 16_060_522_496
    assert found["fits"] == "yes"
    assert found["longest_context_tokens"] >= 16384
    assert found["vllm_arguments"][:2] == ["--max-model-len", "16384"]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (["--context", "1024"], "kv_cache_bytes"),
        (["--sequences", "2"], "kv_cache_bytes"),
        (["--kv-dtype", "fp8"], "kv_cache_bytes"),
        (["--dtype", "float32"], "weights_bytes"),
        (["--quantization", "awq"], "weights_bytes"),
        (["--gpus", "2"], "weights_bytes"),
        (["--tensor-parallel", "2"], "weights_bytes"),
        (["--gpu-memory-utilization", "0.5"], "reserve_bytes"),
    ],
)
def test_every_option_changes_what_it_says(llama: str, options: list[str], changed: str) -> None:
    plain, other = (
        CliRunner().invoke(root, ["model", "fit", llama, "--gpu", "A6000", *more, "-o", "json"]).stdout
        for more in ([], options)
    )
    water = [json.loads(text)["gpus"][0]["waterfall"] for text in (plain, other)]
    assert water[0][changed] != water[1][changed]


def test_without_names_all_known_gpus_are_judged_the_smallest_first(llama: str) -> None:
    found = run_json(llama)["gpus"]
    assert len(found) == len(load_catalogue())
    sizes = [verdict["gpu"]["usable_gib"] for verdict in found]
    assert sizes == sorted(sizes)


def test_gpus_are_listed_with_what_a_program_gets() -> None:
    text = run("--list-gpus").stdout
    assert "Tesla T4" in text
    assert "14.6 GiB" in text
    listed = json.loads(run("--list-gpus", "--gpu", "T4", "-o", "json").stdout)
    assert [gpu["usable_gib"] for gpu in listed] == [14.62]


def test_names_of_gpus_complete() -> None:
    items = model_fit._gpu_names(None, None, "a6")  # type: ignore[arg-type]
    assert "A6000" in [item.value for item in items]


def test_the_quantizations_on_the_command_line_are_those_that_are_known() -> None:
    assert tuple(model_fit._QUANTIZATIONS) == QUANTIZATIONS


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no model was named"),
        (["nowhere"], "nowhere does not exist"),
        (["{llama}", "--context", "131073"], "the model reads 131072 tokens at most"),
        (["{llama}", "--dtype", "float16", "--quantization", "fp8"], "exclude each other"),
        (["{llama}", "--base", "{llama}"], "is no adapter"),
    ],
)
def test_each_mistake_has_one_message_and_a_next_step(llama: str, words: list[str], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(*(word.format(llama=llama) for word in words))
    assert said in caught.value.brief
    assert caught.value.next_step


def test_an_unknown_gpu_is_answered_with_the_nearest(llama: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        run(llama, "--gpu", "A600")
    assert "A6000" in caught.value.evidence


def test_a_checkpoint_is_read_from_its_headers(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "whole", dtype="BF16")
    found = read_model(folder)
    weights = folder / "model.safetensors"
    header = int.from_bytes(weights.read_bytes()[:8], "little") + 8
    assert found.memory.stored_bytes == weights.stat().st_size - header
    assert found.memory.weights_on_gpu(1) == found.memory.stored_bytes
    assert found.memory.shape is not None
    assert found.parameters == found.memory.shape.parameters
    assert found.longest_context_tokens == CONTEXT_TOKENS
    shards = read_model(write_sharded(tmp_path / "shards", dtype="BF16"))
    assert shards.memory.stored_bytes == found.memory.stored_bytes
    data = run_json(str(folder), "--gpu", "T4")
    assert data["model"]["weights_from_headers"] is True
    assert data["load"]["context_tokens"] == CONTEXT_TOKENS


def test_float32_weights_are_loaded_as_16_bit_ones(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "m", dtype="F32")
    found = read_model(folder)
    assert found.stored_as == "float32"
    assert found.memory.kind.name == "float16"
    assert found.memory.stored_bytes is None
    assert "16-bit" in " ".join(found.notes)
    kept = read_model(folder, kind=WEIGHT_TYPES["float32"])
    assert kept.memory.stored_bytes is not None


def test_a_gguf_file_is_judged_for_llama_cpp(tmp_path: Path) -> None:
    file = write_tiny_gguf(tmp_path / "tiny.gguf")
    data = run_json(str(file), "--gpu", "T4", "--kv-dtype", "fp8")
    assert data["model"]["engine"] == "llama.cpp"
    assert data["gpus"][0]["vllm_arguments"] == []
    assert 0 < data["gpus"][0]["waterfall"]["weights_bytes"] < file.stat().st_size
    assert "vllm serve" not in run(str(file), "--gpu", "T4").stdout
    with pytest.raises(SpecError, match="served as it is stored"):
        read_model(file, kind=WEIGHT_TYPES["fp8"])


def test_an_adapter_needs_its_base_and_takes_room(tmp_path: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    adapter = write_tiny_adapter(tmp_path / "adapter")
    with pytest.raises(SpecError) as caught:
        read_model(adapter)
    assert "--base" in caught.value.next_step
    data = run_json(str(adapter), "--base", str(base), "--gpu", "T4")
    assert data["gpus"][0]["waterfall"]["adapter_bytes"] > 0
    assert "--enable-lora" in data["gpus"][0]["vllm_arguments"]
    assert "LoRA adapter" in run(str(adapter), "--base", str(base), "--gpu", "T4").stdout
    with pytest.raises(SpecError, match="Hugging Face base"):
        read_model(adapter, base=write_tiny_gguf(tmp_path / "base.gguf"))
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 0}))
    with pytest.raises(SpecError, match="not a rank"):
        read_model(adapter, base=base)


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_an_unknown_architecture_is_known_by_its_size_only(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "m")
    change_config(folder, architectures=["UnheardOfForCausalLM"])
    text = run(str(folder), "--gpu", "T4", code=2).stdout
    assert "unknown" in text
    assert "only the size of its weights" in " ".join(text.split())
    with pytest.raises(SpecError, match="cannot be told"):
        read_model(folder, kind=WEIGHT_TYPES["fp8"])


def test_a_configuration_of_another_model_is_noticed(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "m")
    change_config(folder, intermediate_size=256)
    with pytest.raises(SpecError, match="do not belong together"):
        read_model(folder)
    # what the files hold beyond the language model is counted
    change_config(folder, intermediate_size=64)
    found = read_model(folder)
    assert found.memory.beyond_bytes > 0
    assert found.memory.weights_on_gpu(1) == found.memory.stored_bytes
    assert "beyond the language model" in " ".join(found.notes)


def test_a_quantized_checkpoint_stays_as_it_is(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "m")
    change_config(folder, quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128})
    found = read_model(folder)
    assert found.stored_as == "awq, 4 bits"
    assert found.memory.stored_bytes is not None
    with pytest.raises(SpecError, match="quantized already"):
        read_model(folder, kind=WEIGHT_TYPES["fp8"])


def test_a_configuration_says_how_it_is_quantized(tmp_path: Path) -> None:
    plain = read_model(Path(write_config(tmp_path, "DeepSeek-V3")))
    fp8 = read_model(Path(write_config(tmp_path, "DeepSeek-V3", quantization_config={"quant_method": "fp8"})))
    assert plain.stored_as == "bfloat16"
    assert fp8.stored_as == "fp8"
    assert fp8.memory.weights_on_gpu(1) < plain.memory.weights_on_gpu(1) * 0.52


def test_only_the_language_part_of_a_configuration_is_counted(tmp_path: Path) -> None:
    found = read_model(Path(write_config(tmp_path, "Gemma-3-4B")))
    assert found.parameters == 3_880_263_168
    assert "only the language part" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("[1]", "holds no JSON object"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "unknown is not known"),
    ],
)
def test_each_broken_configuration_has_its_message(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(SpecError) as caught:
        read_model(file)
    assert said in caught.value.brief


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_configuration_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text("{}")
    file.chmod(0)
    with pytest.raises(SpecError, match="cannot be read"):
        read_model(file)


SITE = (
    "name: lab\nprovider: libvirt\nhosts:\n"
    "  - {name: a, declared: {cores: 8, memory_gib: 64, disk_gib: 800, gpus: [{model: T4, count: 4}]}}\n"
    "  - {name: b, declared: {cores: 8, memory_gib: 64, disk_gib: 800, gpus: [{model: RTX A6000}, {model: T4}]}}\n"
)


def test_a_sites_gpus_are_judged(llama: str, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    result = run(llama, "--site", str(site))
    assert result.stderr == "host a: 4x Tesla T4\nhost b: 1x RTX A6000, 1x Tesla T4\n"
    found = {each["gpu"]["name"]: each["fits"] for each in run_json(llama, "--site", str(site))["gpus"]}
    assert found == {"NVIDIA RTX A6000": "yes", "NVIDIA Tesla T4": "no"}
    # split over four, only the host that has four counts
    found = {each["gpu"]["name"]: each["fits"] for each in run_json(llama, "-s", str(site), "--gpus", "4")["gpus"]}
    assert found == {"NVIDIA Tesla T4": "yes"}


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--gpus", "8"], SITE, "no host of site lab has 8 equal GPUs"),
        (["--gpu", "T4"], SITE, "--gpu and --site exclude each other"),
        ([], SITE[: SITE.index(", gpus")] + "}}\n", "no host of site lab has an NVIDIA GPU of known memory"),
        ([], "nam: lab\n", "site.yaml has 1 mistake"),
    ],
)
def test_a_site_that_gives_no_gpu_is_said(llama: str, tmp_path: Path, words: list[str], text: str, said: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(text)
    with pytest.raises(SpecError) as caught:
        run(llama, "--site", str(site), *words)
    assert said in caught.value.brief


A100, T4 = (
    Accelerator(name="nvidia_a100_80gb", memory_gib=80, compute_capability=8.0),
    Accelerator(name="nvidia_tesla_t4", memory_gib=15, compute_capability=7.5),
)


def spec_on(gpu: Accelerator, **changes: Any) -> EndpointSpec:
    values: dict[str, Any] = {
        "name": "e",
        "model_name": "m",
        "model_version": "1",
        "model_uri": "s3://m",
        "model_digest": "0",
        "engine": "vllm",
        "hardware": Hardware(accelerator=gpu.name, count=1),
        "autoscaling": Autoscaling(),
        "created_at": "",
    }
    return EndpointSpec(**values | changes)


def test_a_checkpoint_that_is_too_large_for_the_gpus_is_warned_of(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "tiny")
    host = EngineHost(accelerators=(A100, T4))
    assert memory_warning(folder, spec_on(T4), serving=Serving(), host=host) == ()
    config = Path(write_config(tmp_path, "Llama-3.1-8B"))
    said = memory_warning(config, spec_on(T4), serving=Serving(context_tokens=8192), host=host)
    assert said[0] == (
        "warning: by our estimate it does not fit on 1x nvidia_tesla_t4 with 4 requests of 8192 tokens at once"
    )
    assert said[1].startswith("what would help: ")
    command = said[2].removeprefix("details: ai-how model fit ")
    run(*shlex.split(command), code=model_fit.DOES_NOT_FIT)
    assert memory_warning(config, spec_on(A100), serving=Serving(context_tokens=8192), host=host) == ()
    # what fits alone may not with many adapters beside it
    many = tuple(
        ServedAdapter(tag=f"a{at}", model_name="a", model_version=1, model_uri="", model_digest="", rank=512)
        for at in range(24)
    )
    crowded = Serving(context_tokens=8192, parallel_requests=24)
    assert memory_warning(config, spec_on(A100), serving=crowded, host=host) == ()
    assert memory_warning(config, spec_on(A100, adapters=many), serving=crowded, host=host)


def test_what_cannot_be_judged_is_not_warned_of(tmp_path: Path) -> None:
    config = Path(write_config(tmp_path, "Llama-3.1-8B"))
    for spec in (spec_on(T4, engine="llamacpp"), spec_on(T4, adapter_base_uri="s3://base")):
        assert memory_warning(config, spec, serving=Serving(), host=EngineHost(accelerators=(T4,))) == ()
    assert memory_warning(config, spec_on(T4), serving=Serving(), host=EngineHost()) == ()
    unknown = Path(write_config(tmp_path, "Llama-3.1-8B", architectures=["Unheard"]))
    assert memory_warning(unknown, spec_on(T4), serving=Serving(), host=EngineHost(accelerators=(T4,))) == ()
