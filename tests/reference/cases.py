"""The tiny models and texts that are compared with Transformers; shared by the maker and the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.tiny_model import write_tiny_adapter, write_tiny_checkpoint

ANSWER_TOKENS = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """A checkpoint by what differs from the plain tiny Llama; ``adapter`` holds settings of a LoRA adapter."""

    settings: dict[str, Any] = field(default_factory=dict)
    adapter: dict[str, Any] | None = None
    prompt_tokens: int = 40

    def write(self, folder: Path) -> tuple[Path, Path | None]:
        """Write checkpoint and adapter below ``folder``."""
        base = write_tiny_checkpoint(folder / "base", **self.settings)
        if self.adapter is None:
            return base, None
        return base, write_tiny_adapter(folder / "adapter", **self.adapter)

    def prompt(self, attempt: int) -> list[int]:
        """Token ids without special ones, spread over the vocabulary; another for each attempt."""
        return [3 + (i * i * 7 + i * 31 + attempt * 17) % 500 for i in range(self.prompt_tokens)]


def _rope(**settings: Any) -> dict[str, Any]:
    """Rotary settings as Transformers 5 writes them."""
    return {"rope_parameters": {"rope_theta": 10000.0, **settings}}


CASES = {
    "llama": Case(),
    "llama-f32": Case(settings={"dtype": "F32"}),
    "llama-bf16-tied": Case(settings={"dtype": "BF16", "tie_word_embeddings": True}),
    "llama-all-heads": Case(settings={"num_key_value_heads": 4}),
    "llama-biases": Case(settings={"attention_bias": True}),
    "llama-rope-theta": Case(settings={"rope_theta": 500000.0}, prompt_tokens=200),
    "llama-rope-linear": Case(settings=_rope(rope_type="linear", factor=4.0), prompt_tokens=200),
    "llama-rope-llama3": Case(
        settings=_rope(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
        prompt_tokens=200,
    ),
    "llama-rope-scaling-4": Case(
        settings={
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
        prompt_tokens=200,
    ),
    "mistral": Case(settings={"architecture": "MistralForCausalLM", "sliding_window": None}),
    "mistral-window": Case(settings={"architecture": "MistralForCausalLM", "sliding_window": 256}),
    "qwen2": Case(settings={"architecture": "Qwen2ForCausalLM"}),
    "qwen2-tied": Case(settings={"architecture": "Qwen2ForCausalLM", "tie_word_embeddings": True}),
    "qwen2-yarn": Case(
        settings={
            "architecture": "Qwen2ForCausalLM",
            **_rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=64),
        },
        prompt_tokens=200,
    ),
    "qwen3": Case(settings={"architecture": "Qwen3ForCausalLM", "head_dim": 32}),
    "smollm3": Case(settings={"architecture": "SmolLM3ForCausalLM", "num_hidden_layers": 4}),
    "lora": Case(adapter={}),
    "lora-rslora": Case(adapter={"use_rslora": True}),
    "lora-alpha-pattern": Case(adapter={"alpha_pattern": {"layers.1.self_attn.q_proj": 64}}),
    "lora-bf16": Case(settings={"dtype": "BF16"}, adapter={}),
}

TEXTS = (
    "Hello world",
    " the quick brown fox jumps over the lazy dog",
    "  two spaces, then\tone tab\n",
    "\n\n\nthree lines   and trailing   ",
    "numbers 1 12 123 1234 12345.67 3,14 1e-9 \u0664\u0665 \u2460",
    "don't WE'LL they'RE I'd can't 'quoted'",
    "def f(x):\n    return x**2  # comment\n\n\tif x != None:\r\n        pass\r\n",
    "\u00fcber stra\u00dfe na\u00efve caf\u00e9 \u00c5ngstr\u00f6m",
    "\u6f22\u5b57\u304b\u306a \ud55c\uad6d\uc5b4 \u0440\u0443\u0441\u0441\u043a\u0438\u0439"
    " \u0639\u0631\u0628\u064a \u05e2\u05d1\u05e8\u05d9\u05ea",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea flag",
    "a\u00a0b\u2003c\u3000d \u2028 e",
    "[]{}()<>!?@#$%^&*_+-=|\\/~`\"';:,.",
    "https://example.org/a?b=c&d=%20#e",
    "<tool>in<tool> the <tool> middle",
    "CamelCaseWords snake_case_words kebab-case-words ALLCAPS",
    "\u0000\u0001 control \u007f characters",
    "",
    " ",
)
"""Composed text (NFC) only: llama.cpp normalizes nothing."""

CONVERSATION = (
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Hello, what is  your name?\nTell me 123."},
)
