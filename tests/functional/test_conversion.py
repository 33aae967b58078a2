"""Converted checkpoints answer as Transformers answers: the same tokens with the same probabilities.

What Transformers, PEFT and the tokenizers library say stands in ``tests/reference/expected.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ai_how.endpoints.engines.base import AdapterFiles
from ai_how.models.types import ModelFormat
from tests.reference.cases import CASES, CONVERSATION, TEXTS
from tests.tiny_model import TOKENIZERS, write_tiny_checkpoint

from .engine import launch_of, replica

EXPECTED = json.loads((Path(__file__).parent.parent / "reference" / "expected.json").read_text())
TOLERANCE = 0.05
"""llama.cpp computes with 16-bit floats and keeps its cache in them; a wrong conversion is off by whole units."""


def greedy(server: Any, prompt: list[int], tokens: int, **more: Any) -> tuple[list[int], dict[int, float]]:
    """The answer's tokens, and their logarithms of probability by position.

    llama.cpp leaves out the probabilities of a token whose text ends within a character.
    """
    settings = {"temperature": 0, "n_probs": 1, "return_tokens": True, "ignore_eos": True, "cache_prompt": False}
    answer = server.post("/completion", prompt=prompt, n_predict=tokens, **settings, **more)
    logprobs: dict[int, float] = {}
    position = 0
    for chosen in answer["completion_probabilities"]:
        position = answer["tokens"].index(chosen["id"], position)
        logprobs[position] = chosen["logprob"]
        position += 1
    return answer["tokens"], logprobs


@pytest.mark.parametrize("name", CASES)
def test_the_same_tokens_as_transformers(name: str, tmp_path: Path) -> None:
    base, adapter = CASES[name].write(tmp_path)
    expected = EXPECTED["answers"][name]
    launch = launch_of(base, tmp_path)
    if adapter is not None:
        launch = launch_of(adapter, tmp_path, ModelFormat.PEFT_ADAPTER, base_dir=base)
    with replica(launch) as server:
        tokens, logprobs = greedy(server, expected["prompt"], len(expected["tokens"]))
    assert tokens == expected["tokens"]
    assert len(logprobs) >= len(tokens) // 2
    for position, logprob in logprobs.items():
        assert logprob == pytest.approx(expected["logprobs"][position], abs=TOLERANCE)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.adapter is not None])
def test_the_same_tokens_with_the_adapter_beside_its_base(name: str, tmp_path: Path) -> None:
    base, adapter = CASES[name].write(tmp_path)
    assert adapter is not None
    expected = EXPECTED["answers"][name]
    files = AdapterFiles(name="tiny:one", folder=adapter, scratch_dir=adapter)
    with replica(launch_of(base, tmp_path, adapters=(files,))) as server:
        tokens, logprobs = greedy(server, expected["prompt"], len(expected["tokens"]), lora=[{"id": 0, "scale": 1}])
    assert tokens == expected["tokens"]
    for position, logprob in logprobs.items():
        assert logprob == pytest.approx(expected["logprobs"][position], abs=TOLERANCE)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_same_token_ids_as_transformers(kind: str, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "model", tokenizer=kind)
    with replica(launch_of(checkpoint, tmp_path)) as server:
        for text, expected in zip(TEXTS, EXPECTED["token_ids"][kind], strict=True):
            got = server.post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
            assert got == expected, f"{text!r}: {server.post('/detokenize', tokens=got)}"


def test_a_conversation_becomes_the_same_tokens(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "model")
    with replica(launch_of(checkpoint, tmp_path)) as server:
        text = server.post("/apply-template", messages=list(CONVERSATION))["prompt"]
        tokens = server.post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
    assert tokens == EXPECTED["conversation"]
