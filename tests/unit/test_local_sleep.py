"""Sleep on this machine: what a replica is started with, and whether its weights fit into main memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ai_how.endpoints.engines.base import Accelerator, EngineHost
from ai_how.endpoints.types import Autoscaling, Hardware
from ai_how.errors import SpecError
from ai_how.local import replicas as replicas_module
from ai_how.local.main_memory import no_room_for, too_much_for, weights_bytes
from ai_how.local.provider import LocalProvider
from ai_how.local.replicas import SupervisedReplicas
from ai_how.local.serving import LocalServing
from ai_how.models.types import ModelFormat, ModelInfo, RegisteredVersion
from ai_how.site.load import check_site_text

GIB = 2**30
HOST = EngineHost(
    accelerators=(Accelerator(name="nvidia_a100_80gb", memory_gib=80, compute_capability=8.0),), vllm=Path("/bin/vllm")
)
VERSION = RegisteredVersion(
    name="chat",
    version=1,
    uri="s3://models/chat/1",
    digest="1" * 64,
    size_bytes=1000,
    info=ModelInfo(format=ModelFormat.HUGGING_FACE, architecture="LlamaForCausalLM", parameters=500, dtype="bfloat16"),
    source="",
    created_at="",
)


def backend(folder: Path, **serving: Any) -> SupervisedReplicas:
    return SupervisedReplicas({"root": str(folder), "site": "s", "serving": serving, "s3": {}})


def started_with(folder: Path, engine: str, **serving: Any) -> set[str]:
    return set(backend(folder, **serving)._serving(engine))


def test_replicas_are_replaced_only_where_a_key_is_theirs(tmp_path: Path) -> None:
    plain = {"context_tokens", "parallel_requests", "threads"}
    assert started_with(tmp_path, "vllm") == plain
    assert started_with(tmp_path, "llamacpp", when_idle="sleep", loader="streamer") == plain
    assert started_with(tmp_path, "vllm", when_idle="sleep") == {*plain, "sleep_mode"}
    assert started_with(tmp_path, "vllm", loader="streamer") == {*plain, "streams"}


def test_weights_are_counted_against_the_memory_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "tokenizer.json").write_bytes(b"x" * 1000)
    assert weights_bytes(tmp_path) == 100
    free = psutil.virtual_memory()._replace(available=2 * GIB, total=8 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert no_room_for(2 * GIB) is None
    assert no_room_for(3 * GIB) == "its weights take 3.0 GiB of main memory, 2.0 GiB are free"
    assert too_much_for(4 * GIB) is None
    assert "this machine has" in str(too_much_for(9 * GIB))


def test_a_replica_that_has_gone_needs_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = backend(tmp_path)
    assert made._no_room("engine-gone-000000") is None
    spec = {"model_digest": "m", "base_digest": "b"}
    for digest in spec.values():
        (made.layout.cache / "models" / digest).mkdir(parents=True)
        (made.layout.cache / "models" / digest / "w.safetensors").write_bytes(b"x" * 50)
    monkeypatch.setattr(made, "_read_spec", lambda _: spec)
    monkeypatch.setattr(replicas_module, "no_room_for", lambda needed: f"{needed} bytes")
    assert made._no_room("engine-m-000000") == "100 bytes"


def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: EngineHost) -> LocalServing:
    site, mistakes = check_site_text("name: lab\nserving: {when_idle: sleep}\n", tmp_path / "ai-how.yaml")
    assert site is not None, mistakes
    monkeypatch.setattr("ai_how.local.serving.observe_engine_host", lambda: host)
    return LocalServing(LocalProvider(site, tmp_path / "ai-how.yaml"))


def test_a_model_that_can_never_sleep_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = serving(tmp_path, monkeypatch, HOST)
    large = replace(VERSION, size_bytes=2**60)
    wish = {"hardware": Hardware(accelerator="nvidia_a100_80gb"), "autoscaling": Autoscaling(min_replicas=0)}
    with pytest.raises(SpecError, match="chat cannot sleep in this machine's main memory") as caught:
        here.make_spec("chat", large, **wish)  # type: ignore[arg-type]
    assert "when_idle: stop" in caught.value.next_step
    spec = here.make_spec("chat", VERSION, **wish)  # type: ignore[arg-type]
    assert here.warnings(None, spec) == ()
    kept = {**wish, "autoscaling": Autoscaling(min_replicas=1)}
    assert here.make_spec("chat", large, **kept).engine == "vllm"  # type: ignore[arg-type]


def test_an_engine_that_knows_no_sleep_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = serving(tmp_path, monkeypatch, EngineHost())
    spec = here.make_spec("chat", VERSION, hardware=Hardware(), autoscaling=Autoscaling(min_replicas=0))
    assert here.warnings(None, spec) == (
        "serving.when_idle is sleep, which llamacpp does not know: it is stopped when idle",
    )
    assert here.warnings(None, replace(spec, autoscaling=Autoscaling())) == ()
