"""A llama.cpp replica as a process: what it answers, how it ends, and what it says when it cannot serve."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ai_how.endpoints.engines.base import AdapterFiles
from ai_how.endpoints.engines.llamacpp import LlamaCpp
from ai_how.endpoints.engines.llamacpp_server import EXIT_MODEL, EXIT_PORT
from ai_how.errors import ProviderError, SpecError
from ai_how.models.types import ModelFormat
from tests.tiny_model import (
    write_safetensors,
    write_tiny_adapter,
    write_tiny_checkpoint,
    write_tiny_gguf,
    write_tokenizer,
)

from .engine import Replica, launch_of, replica, start

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("model") / "tiny.gguf").parent


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    scratch = tmp_path_factory.mktemp("scratch")
    with replica(launch_of(model_dir, scratch, ModelFormat.GGUF)) as running:
        yield running


def test_it_answers_chat_and_completion_under_its_served_name(server: Replica) -> None:
    chat = server.post("/v1/chat/completions", messages=MESSAGES, max_tokens=5)
    assert chat["model"] == "tiny"
    assert chat["choices"][0]["message"]["role"] == "assistant"
    assert 1 <= chat["usage"]["completion_tokens"] <= 5
    completion = server.post("/v1/completions", prompt="Hello", max_tokens=5)
    assert completion["object"] == "text_completion"
    assert [model["id"] for model in json.loads(server.get("/v1/models"))["data"]] == ["tiny"]


def test_it_streams(server: Replica) -> None:
    body = {"messages": MESSAGES, "max_tokens": 6, "stream": True, "ignore_eos": True}
    request = urllib.request.Request(
        server.url + "/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 2


def test_it_counts_for_prometheus(server: Replica) -> None:
    server.post("/v1/completions", prompt="Hello", max_tokens=2)
    metrics = server.get("/metrics")
    assert "llamacpp:prompt_tokens_total" in metrics
    assert "llamacpp:requests_processing" in metrics


def test_it_works_on_as_many_requests_at_once_as_told(server: Replica) -> None:
    def ask(number: int) -> int:
        answer = server.post("/v1/completions", prompt=f"number {number}", max_tokens=20, ignore_eos=True)
        return int(answer["usage"]["completion_tokens"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(8))) == [20] * 8
    assert json.loads(server.get("/props"))["total_slots"] == 2


def test_each_request_may_use_the_whole_context(server: Replica) -> None:
    prompt = [5 + i % 200 for i in range(450)]
    answer = server.post("/completion", prompt=prompt, n_predict=20, ignore_eos=True)
    assert answer["tokens_evaluated"] == 450
    assert not answer["truncated"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.post("/completion", prompt=prompt * 2, n_predict=1)
    assert caught.value.code == 400


def test_it_shows_no_prompts_and_no_web_page(server: Replica) -> None:
    for path in ("/slots", "/"):
        with pytest.raises(urllib.error.HTTPError):
            server.get(path)


def test_it_lets_no_web_page_in(server: Replica) -> None:
    request = urllib.request.Request(server.url + "/v1/models", headers={"origin": "https://example.org"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["access-control-allow-origin"] in (None, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_even_with_an_answer_under_way(
    number: signal.Signals, model_dir: Path, tmp_path: Path
) -> None:
    with replica(launch_of(model_dir, tmp_path, ModelFormat.GGUF, context_tokens=2048)) as running:
        started = threading.Event()

        def ask() -> None:
            request = urllib.request.Request(
                running.url + "/completion",
                json.dumps({"prompt": "Hello", "n_predict": -1, "ignore_eos": True, "stream": True}).encode(),
            )
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    for _ in answer:
                        started.set()
            except OSError:
                started.set()

        client = threading.Thread(target=ask)
        client.start()
        assert started.wait(10)
        running.process.send_signal(number)
        assert running.process.wait(timeout=60) == 0
        client.join(timeout=10)
        assert not client.is_alive()
        assert "stopped" in running.log.read_text()


def test_it_ends_while_it_loads(model_dir: Path, tmp_path: Path) -> None:
    process = start(launch_of(model_dir, tmp_path, ModelFormat.GGUF))
    time.sleep(0.03)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in (0, -signal.SIGTERM)


def last_line(scratch_dir: Path) -> str:
    return (scratch_dir / "replica.log").read_text().splitlines()[-1]


def test_a_taken_port_is_one_clear_line(model_dir: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(launch_of(model_dir, tmp_path, ModelFormat.GGUF, port=port))
        assert process.wait(timeout=60) == EXIT_PORT
    assert last_line(tmp_path) == f"llamacpp_server: cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize("damage", ["empty", "text", "cut in the header", "cut in the weights", "noise"])
def test_a_damaged_file_is_one_clear_line(damage: str, model_dir: Path, tmp_path: Path) -> None:
    whole = (model_dir / "tiny.gguf").read_bytes()
    content = {
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1\n",
        "cut in the header": whole[:1000],
        "cut in the weights": whole[: len(whole) - 50_000],
        "noise": whole[:8] + bytes(range(256)) * 40,
    }[damage]
    (tmp_path / "bad.gguf").write_bytes(content)
    process = start(launch_of(tmp_path, tmp_path, ModelFormat.GGUF))
    assert process.wait(timeout=60) == EXIT_MODEL
    log = (tmp_path / "replica.log").read_text()
    # on a busy machine llama.cpp's own thread may have the last word
    said = [line for line in log.splitlines() if line.startswith("llamacpp_server: ")]
    assert said[-1].startswith(f"llamacpp_server: {'llama.cpp ' if content[:4] == b'GGUF' else ''}cannot load")
    assert "Traceback" not in log


def test_an_adapter_changes_the_answer(tmp_path: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    adapter = write_tiny_adapter(tmp_path / "adapter")
    question = {"prompt": "Hello world", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    with replica(launch_of(base, tmp_path)) as plain:
        before = plain.post("/v1/completions", **question)["choices"][0]["text"]
    with replica(launch_of(adapter, tmp_path, ModelFormat.PEFT_ADAPTER, base_dir=base)) as tuned:
        after = tuned.post("/v1/completions", **question)["choices"][0]["text"]
    assert before != after


@dataclass(frozen=True)
class Shared:
    """A base with two adapters in one replica, and what each answers alone, by the number of the adapter."""

    replica: Replica
    alone: dict[int, dict[str, Any]]

    def ask(self, number: int | None, prompt: str) -> Any:
        """Ask with an adapter in force; None: with the base alone."""
        lora = [{"id": at, "scale": float(at == number)} for at in range(2)]
        return self.replica.post("/v1/completions", **question(prompt), lora=lora)["choices"][0]


def question(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": True, "logprobs": 1}


def logprobs(choice: Any) -> list[float]:
    return [each["logprob"] for each in choice["logprobs"]["content"]]


PROMPTS = tuple(f"number {at} the quick brown fox" for at in range(4))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    base = write_tiny_checkpoint(folder / "base")
    adapters = [write_tiny_adapter(folder / f"adapter-{seed}", seed=seed) for seed in (2, 3)]
    alone: dict[int, dict[str, Any]] = {}
    for number, adapter in enumerate(adapters):
        scratch = folder / f"merged-{number}"
        scratch.mkdir()
        with replica(launch_of(adapter, scratch, ModelFormat.PEFT_ADAPTER, base_dir=base)) as merged:
            answers = {prompt: merged.post("/v1/completions", **question(prompt))["choices"][0] for prompt in PROMPTS}
            alone[number] = answers
    with replica(launch_of(base, folder, adapters=files_of(adapters))) as running:
        yield Shared(replica=running, alone=alone)


def files_of(adapters: list[Path]) -> tuple[AdapterFiles, ...]:
    return tuple(AdapterFiles(name=f"tiny:{each.name}", folder=each, scratch_dir=each) for each in adapters)


def test_adapters_on_one_base_answer_as_those_merged_into_it(shared: Shared) -> None:
    for number in (0, 1):
        for prompt in PROMPTS:
            got, merged = shared.ask(number, prompt), shared.alone[number][prompt]
            # a merged weight is rounded to 16 bits, which decides only where two tokens are as likely as each other
            assert logprobs(got)[0] == pytest.approx(logprobs(merged)[0], abs=0.05)
    assert shared.ask(0, PROMPTS[0])["text"] == shared.alone[0][PROMPTS[0]]["text"]
    assert len({shared.ask(number, PROMPTS[0])["text"] for number in (None, 0, 1)}) == 3


def test_adapters_that_are_asked_at_once_do_not_mix(shared: Shared) -> None:
    """Prompts that another adapter has computed before are computed anew, though a slot or a cache may have them."""
    jobs = [(number, prompt) for number in (None, 0, 1) for prompt in PROMPTS]
    expected = {job: shared.ask(*job)["text"] for job in jobs}
    shuffled = [jobs[at * 7 % len(jobs)] for at in range(10 * len(jobs))]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda job: shared.ask(*job)["text"], shuffled))
    wrong = [job for job, text in zip(shuffled, answers, strict=True) if text != expected[job]]
    assert wrong == []


def test_the_base_is_converted_once_for_any_adapters(tmp_path: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    launch = launch_of(base, tmp_path)
    LlamaCpp().prepare(launch)
    alone = LlamaCpp().command(launch).argv
    beside = replace(launch, adapters=files_of([write_tiny_adapter(tmp_path / "adapter")]))
    LlamaCpp().prepare(beside)
    argv = LlamaCpp().command(beside).argv
    assert argv[: len(alone)] == alone
    assert argv[len(alone) :] == ("--adapter", str(tmp_path / "adapter" / "llamacpp-1-adapter.gguf"))


def with_template(folder: Path, template: str) -> Path:
    """An adapter that brings its base's tokenizer with a template of its own."""
    write_tokenizer(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": template}))
    return folder


def test_a_template_that_adapters_agree_on_is_taken(tmp_path: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    loud = "{% for message in messages %}LOUD {{ message['content'] }}{% endfor %}"
    first = with_template(write_tiny_adapter(tmp_path / "a"), loud)
    second = with_template(write_tiny_adapter(tmp_path / "b", seed=3), loud)
    # the endpoint's model is the first adapter: the base itself is not served
    adapters = files_of([first, second])
    launch = launch_of(base, tmp_path, adapters=(replace(adapters[0], name="tiny"), adapters[1]))
    with replica(launch) as running:
        assert running.post("/apply-template", messages=MESSAGES)["prompt"] == "LOUD Hello"
    with pytest.raises(SpecError, match="chat templates differ") as caught:
        LlamaCpp().prepare(launch_of(base, tmp_path, adapters=adapters))
    assert caught.value.evidence == "compared: tiny:a, tiny:b, the base"


def test_an_adapter_that_cannot_share_is_refused_by_name(tmp_path: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    whole = write_tiny_adapter(tmp_path / "whole")
    header = {"base_model.model.lm_head.weight": np.zeros((640, 64), np.float32)}
    write_safetensors(whole / "adapter_model.safetensors", header, "F32")
    with pytest.raises(SpecError, match="cannot share its base") as caught:
        LlamaCpp().prepare(launch_of(base, tmp_path, adapters=files_of([whole])))
    assert "modules_to_save" in caught.value.evidence
    other = write_tiny_adapter(tmp_path / "other")
    write_tokenizer(other, "sentencepiece")
    with pytest.raises(SpecError, match="cannot share its base") as caught:
        LlamaCpp().prepare(launch_of(base, tmp_path, adapters=files_of([other])))
    assert "other tokens" in caught.value.evidence


def test_a_damaged_adapter_file_is_one_clear_line(tmp_path: Path) -> None:
    base = write_tiny_checkpoint(tmp_path / "base")
    adapter = write_tiny_adapter(tmp_path / "adapter")
    launch = launch_of(base, tmp_path, adapters=files_of([adapter]))
    LlamaCpp().prepare(launch)
    (adapter / "llamacpp-1-adapter.gguf").write_bytes(b"no GGUF")
    process = start(launch)
    assert process.wait(timeout=60) == EXIT_MODEL
    assert "cannot load the model" in last_line(tmp_path)


def test_replicas_that_start_together_convert_once(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from ai_how.endpoints.engines.hf_to_gguf import convert;"
        "convert(Path(sys.argv[1]), Path(sys.argv[2]), say=print)"
    )
    words = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "made.gguf")]
    together = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in together]
    assert [process.returncode for process in together] == [0, 0, 0]
    assert sum(b"converting" in output for output in outputs) == 1
    assert not (tmp_path / "made.partial").exists()


def test_what_a_killed_conversion_left_is_written_anew(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "model")
    launch = launch_of(checkpoint, tmp_path)
    converted = Path(LlamaCpp().command(launch).argv[4])
    converted.with_suffix(".partial").write_bytes(b"half of it")
    with replica(launch) as running:
        assert running.post("/v1/completions", prompt="Hello", max_tokens=1)["choices"]
    assert not converted.with_suffix(".partial").exists()


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    launch = launch_of(write_tiny_checkpoint(tmp_path / "model"), tmp_path)
    converted = Path(LlamaCpp().command(launch).argv[4])
    converted.with_suffix(".partial").symlink_to("/dev/full")
    with pytest.raises(ProviderError, match="no room on the disk"):
        LlamaCpp().prepare(launch)
    assert not converted.exists()
