"""What the benchmark asks: prompts of a known rough length, each different from its first word on. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass

WORDS_PER_TOKEN = 0.75
"""Rule of thumb for English prose; the engine's own count is reported beside it."""

_SENTENCES = (
    "The ferry left before the fog had lifted from the harbour.",
    "Nobody in the village could say who had planted the old pear tree.",
    "She kept the letters in a tin box under the stairs and read one every winter.",
    "A good map shows less than the land, and that is why it is useful.",
    "The baker counted his coins twice and then gave the boy a loaf for nothing.",
    "When the bridge was finished, the two towns found that they had little to say to each other.",
    "Rain fell for nine days, and on the tenth the river came up to the door.",
    "He repaired clocks for a living and was late for everything.",
    "The orchard smelled of cut grass, smoke and apples that had fallen too early.",
    "In the north the summers are short, so people there do not waste them indoors.",
    "Three lanterns hung over the gate, and only the middle one was ever lit.",
    "The teacher asked what a river is for, and got as many answers as there were pupils.",
    "They carried the piano up four floors and then discovered that nobody could play it.",
    "An honest scale is worth more to a market than a clever merchant.",
    "The captain wrote down the wind, the depth and the price of salt.",
    "After the fair the field was empty again, except for a single red glove.",
    "Copper turns green by the sea, and the roofs of the town had been green for centuries.",
    "My grandmother measured flour with her hands and never made a bad cake.",
    "The night train stopped where there was no station, and one man got out.",
    "What the mountain takes in winter, it gives back as water in spring.",
)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of request.

    ``prompt_words`` are those of the prompt without its chat template. Every answer has exactly ``output_tokens``
    tokens: the engine is told to ignore the end of the text.
    """

    prompt_words: int = 24
    output_tokens: int = 16
    seed: int = 0
    chat: bool = True


def words_for(prompt_tokens: int) -> int:
    """About how many words make so many tokens."""
    return max(2, round(prompt_tokens * WORDS_PER_TOKEN))


def prompt(workload: Workload, number: int) -> str:
    """The prompt of request ``number``; no two share a beginning, so that no prompt cache flatters the figures."""
    chosen = random.Random(f"{workload.seed}/{number}")  # noqa: S311 - a workload, not a secret
    words = ["Note", f"{number}:"]
    while len(words) < workload.prompt_words:
        words += chosen.choice(_SENTENCES).split()
    return " ".join(words[: max(2, workload.prompt_words)])


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
