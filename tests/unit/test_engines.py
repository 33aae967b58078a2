"""Which engine serves what, and with which command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.engines.base import Accelerator, AdapterFiles, EngineHost, ReplicaLaunch
from ai_how.endpoints.engines.choose import ENGINES, choose, engine_named
from ai_how.endpoints.engines.host import oumi_name, parse_gpus
from ai_how.endpoints.engines.vllm import Vllm
from ai_how.errors import MissingToolError, SpecError
from ai_how.models.types import ModelFormat, ModelInfo

LLAMA = ModelInfo(
    format=ModelFormat.HUGGING_FACE,
    architecture="LlamaForCausalLM",
    parameters=1000,
    dtype="bfloat16",
    context_tokens=4096,
)
GGUF = replace(LLAMA, format=ModelFormat.GGUF, architecture="llama")
STRANGE = replace(LLAMA, architecture="StrangeForCausalLM")
ADAPTER = replace(LLAMA, format=ModelFormat.PEFT_ADAPTER, base_model="base")

A100 = Accelerator(name="nvidia_a100_80gb", memory_gib=80, compute_capability=8.0)
V100 = Accelerator(name="nvidia_v100_16gb", memory_gib=16, compute_capability=7.0)
CPU = EngineHost(cpu_cores=4)
GPU = EngineHost(cpu_cores=4, accelerators=(A100,), vllm=Path("/usr/bin/vllm"))


@pytest.mark.parametrize(
    ("info", "host", "wanted", "engine"),
    [
        (LLAMA, CPU, "auto", "llamacpp"),
        (GGUF, CPU, "auto", "llamacpp"),
        (LLAMA, GPU, "auto", "vllm"),
        (GGUF, GPU, "auto", "llamacpp"),
        (LLAMA, GPU, "llamacpp", "llamacpp"),
        (STRANGE, GPU, "auto", "vllm"),
        (LLAMA, replace(GPU, vllm=None), "auto", "llamacpp"),
        (LLAMA, replace(GPU, accelerators=(V100,)), "auto", "llamacpp"),
    ],
)
def test_auto_takes_the_best_that_can(info: ModelInfo, host: EngineHost, wanted: str, engine: str) -> None:
    assert choose(info, host, wanted).name == engine


def test_each_engine_says_why_not() -> None:
    with pytest.raises(SpecError) as caught:
        choose(STRANGE, CPU, "auto")
    assert "vllm: " in caught.value.evidence
    assert "NVIDIA GPU" in caught.value.evidence
    assert "llamacpp: " in caught.value.evidence
    assert "StrangeForCausalLM" in caught.value.evidence
    with pytest.raises(SpecError) as caught:
        choose(LLAMA, replace(GPU, accelerators=(V100,)), "vllm")
    assert "this machine has nvidia_v100_16gb 7.0" in caught.value.evidence
    with pytest.raises(SpecError, match="no engine 'nothing'"):
        engine_named("nothing")


def test_every_engine_can_be_named() -> None:
    assert [engine_named(engine.name) for engine in ENGINES] == list(ENGINES)


def launch(folder: Path, info: ModelInfo, **changes: object) -> ReplicaLaunch:
    values: dict[str, object] = {
        "served_name": "mine",
        "model_dir": folder,
        "info": info,
        "scratch_dir": folder,
        "host": "127.0.0.1",
        "port": 1234,
        "context_tokens": 8192,
        "parallel_requests": 16,
        "threads": 2,
        "gpu_count": 2,
    }
    return ReplicaLaunch(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def vllm_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_how.endpoints.engines.vllm.which", lambda _: Path("/usr/bin/vllm"))


@pytest.mark.usefixtures("vllm_on_path")
def test_vllm_serves_a_checkpoint(tmp_path: Path) -> None:
    command = Vllm().command(launch(tmp_path, LLAMA))
    assert command.argv == (
        *("/usr/bin/vllm", "serve", str(tmp_path), "--host", "127.0.0.1", "--port", "1234"),
        *("--served-model-name", "mine", "--max-model-len", "4096", "--max-num-seqs", "16"),
        *("--tensor-parallel-size", "2"),
    )
    assert command.ready_path == "/health"
    assert command.env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.usefixtures("vllm_on_path")
def test_vllm_streams_weights_where_it_is_told_to(tmp_path: Path) -> None:
    argv = Vllm().command(launch(tmp_path, LLAMA, streams=True)).argv
    assert argv[argv.index("--load-format") + 1] == "runai_streamer"


@pytest.mark.usefixtures("vllm_on_path")
def test_vllm_can_be_told_to_be_able_to_sleep(tmp_path: Path) -> None:
    awake, asleep = (Vllm().command(launch(tmp_path, LLAMA, sleep_mode=mode)) for mode in (False, True))
    assert set(asleep.argv) - set(awake.argv) == {"--enable-sleep-mode"}
    assert (awake.env.get("VLLM_SERVER_DEV_MODE"), asleep.env["VLLM_SERVER_DEV_MODE"]) == (None, "1")


@pytest.mark.usefixtures("vllm_on_path")
@pytest.mark.parametrize(("rank", "room"), [(4, "8"), (16, "16"), (48, "64")])
def test_vllm_serves_an_adapter_on_its_base(tmp_path: Path, rank: int, room: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": rank}))
    argv = Vllm().command(launch(tmp_path, ADAPTER, base_dir=Path("/base"))).argv
    assert argv[1:3] == ("serve", "/base")
    assert argv[argv.index("--served-model-name") + 1] == "mine-base"
    assert argv[argv.index("--lora-modules") + 1] == f"mine={tmp_path}"
    assert argv[argv.index("--max-lora-rank") + 1] == room
    assert "--enable-lora" in argv


@pytest.mark.usefixtures("vllm_on_path")
@pytest.mark.parametrize(
    ("requests", "more"), [(16, ["--max-loras", "3"]), (2, ["--max-loras", "2", "--max-cpu-loras", "3"])]
)
def test_vllm_serves_several_adapters_on_one_base(tmp_path: Path, requests: int, more: list[str]) -> None:
    names = ("mine", "mine:a", "mine:b")
    adapters = []
    for name, rank in zip(names, (4, 48, 16), strict=True):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
        adapters.append(AdapterFiles(name=name, folder=folder, scratch_dir=folder))
    argv = Vllm().command(launch(tmp_path, LLAMA, adapters=tuple(adapters), parallel_requests=requests)).argv
    assert argv[1:3] == ("serve", str(tmp_path))
    assert argv[argv.index("--served-model-name") + 1] == "mine-base"
    options = ["--enable-lora", *more, "--max-lora-rank", "64", "--lora-modules"]
    assert list(argv[argv.index("--enable-lora") :]) == [*options, *(f"{name}={tmp_path / name}" for name in names)]
    full = Vllm().command(launch(tmp_path, LLAMA, adapters=tuple(adapters[1:]))).argv
    assert full[full.index("--served-model-name") + 1] == "mine"


def test_a_missing_vllm_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_how.endpoints.engines.vllm.which", lambda _: None)
    with pytest.raises(MissingToolError, match="vllm is not on PATH"):
        Vllm().command(launch(tmp_path, LLAMA))


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "nvidia_a100_80gb"),
        ("NVIDIA H100 80GB HBM3", "nvidia_h100_80gb"),
        ("NVIDIA A100 80GB PCIe", "nvidia_a100_80gb"),
        ("Tesla T4", "nvidia_tesla_t4"),
        ("NVIDIA RTX A6000", "nvidia_rtx_a6000"),
        ("NVIDIA GeForce RTX 3090", "nvidia_rtx_3090"),
        ("NVIDIA A10G", "nvidia_a10g"),
    ],
)
def test_gpus_are_named_as_oumi_does(product: str, name: str) -> None:
    assert oumi_name(product) == name


def test_the_drivers_answer_is_read() -> None:
    text = "NVIDIA A100-SXM4-80GB, 81920, 8.0\nTesla T4, 15360, 7.5\nGRID, [N/A], 7.0\nOld, 1024, [N/A]\nnonsense\n"
    assert parse_gpus(text) == (
        Accelerator(name="nvidia_a100_80gb", memory_gib=80.0, compute_capability=8.0),
        Accelerator(name="nvidia_tesla_t4", memory_gib=15.0, compute_capability=7.5),
        Accelerator(name="nvidia_old", memory_gib=1.0, compute_capability=None),
    )


@given(st.text())
def test_no_answer_of_the_driver_crashes(text: str) -> None:
    parse_gpus(text)
