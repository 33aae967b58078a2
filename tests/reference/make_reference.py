"""Write ``expected.json``: what Transformers, PEFT and the tokenizers library make of the tiny models.

Run it where torch is, which the tests do not need:

    python -m venv /somewhere && /somewhere/bin/pip install torch transformers peft
    /somewhere/bin/python -m tests.reference.make_reference
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.reference.cases import ANSWER_TOKENS, CASES, CONVERSATION, TEXTS, Case
from tests.tiny_model import SPECIAL, TOKENIZERS, write_tokenizer

LEAST_MARGIN = 0.1
"""Between the best and the second best token, as logarithms; llama.cpp's 16-bit floats move them by some hundredths."""


def answer(case: Case) -> dict[str, Any]:
    """A prompt, its greedy answer, and the logarithm of the probability of each token.

    The first prompt is taken whose answer does not hang on rounding and has no special and no repeated token.
    """
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = case.write(Path(folder))
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    for attempt in range(500):
        prompt = case.prompt(attempt)
        tokens, logprobs, margin = greedy(model, prompt)
        if margin > LEAST_MARGIN and min(tokens) >= len(SPECIAL) and len(set(tokens)) == len(tokens):
            return {"prompt": prompt, "tokens": tokens, "logprobs": logprobs}
    raise SystemExit(f"{case}: no prompt has a clear answer")


def greedy(model: Any, prompt: list[int]) -> tuple[list[int], list[float], float]:
    """Tokens, their logarithms of probability, and the least distance to the second best."""
    tokens, logprobs, margins = [], [], []
    with torch.no_grad():
        for _ in range(ANSWER_TOKENS):
            logits = model(torch.tensor([prompt + tokens])).logits[0, -1]
            best = torch.log_softmax(logits, -1).topk(2)
            tokens.append(int(best.indices[0]))
            logprobs.append(round(float(best.values[0]), 4))
            margins.append(float(best.values[0] - best.values[1]))
    return tokens, logprobs, min(margins)


def token_ids(kind: str) -> list[list[int]]:
    """Ids of each text, with what the tokenizer puts around it."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder), kind)
        tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        return [tokenizer.encode(text).ids for text in TEXTS]


def conversation() -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = tokenizer.apply_chat_template(list(CONVERSATION), add_generation_prompt=True, tokenize=False)
        return list(tokenizer(text, add_special_tokens=True)["input_ids"])


def main() -> None:
    expected = {
        "answers": {name: answer(case) for name, case in CASES.items()},
        "token_ids": {kind: token_ids(kind) for kind in TOKENIZERS},
        "conversation": conversation(),
    }
    lines = json.dumps(expected).replace('}, "', '},\n"').replace(']], "', ']],\n"')
    Path(__file__).with_name("expected.json").write_text(lines + "\n")


if __name__ == "__main__":
    main()
