"""What the benchmark asks: prompts of a known rough length, each different from its first word on. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

_TEXT = """river stone morning letter garden winter engine paper signal mountain harbour copper window market
thunder lantern valley orchard compass bridge whisper meadow anchor feather granite island"""
_WORDS = tuple(_TEXT.split())


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of request.

    ``prompt_words`` is about the number of prompt tokens (the engine's own count is reported beside it). Every
    answer has exactly ``output_tokens`` tokens: the engine is told to ignore the end of the text.
    """

    prompt_words: int = 32
    output_tokens: int = 16
    seed: int = 0
    chat: bool = True


def prompt(workload: Workload, number: int) -> str:
    """The prompt of request ``number``; no two share a beginning, so that no prompt cache flatters the figures."""
    words = random.Random(f"{workload.seed}/{number}")  # noqa: S311 - a workload, not a secret
    return " ".join([f"Note {number}:", *(words.choice(_WORDS) for _ in range(max(0, workload.prompt_words - 2)))])


def request_body(workload: Workload, model: str, number: int) -> tuple[str, dict[str, object]]:
    """Path and body of request ``number``, streamed, with the engine's token counts in its last event."""
    body: dict[str, object] = {
        "model": model,
        "max_tokens": workload.output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        # of llama.cpp and vLLM: the same number of tokens for every request
        "ignore_eos": True,
        "temperature": 0,
    }
    if workload.chat:
        body["messages"] = [{"role": "user", "content": prompt(workload, number)}]
        return "/v1/chat/completions", body
    body["prompt"] = prompt(workload, number)
    return "/v1/completions", body
