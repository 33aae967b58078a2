"""One question to an endpoint through the public API, as any client would ask it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ai_how.endpoints.door import Door
from ai_how.errors import ProviderError, TryAgainError


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the model said. Token counts are the engine's own, None where it gave none."""

    text: str
    latency_s: float
    prompt_tokens: int | None
    completion_tokens: int | None


def ask(
    door: Door,
    *,
    model: str,
    prompt: str,
    chat: bool = True,
    max_tokens: int = 100,
    timeout_s: float = 600,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send a prompt, wait for the whole answer.

    Args:
        chat: Ask as a chat message; False sends the prompt as text to be continued (models without chat template).
        headers: Sent besides the key.

    Raises:
        ProviderError: the endpoint answered with an error; its message is the evidence.
    """
    began = time.monotonic()
    # the same question gets the same answer
    body: dict[str, object] = {"model": model, "max_tokens": max_tokens, "temperature": 0}
    if chat:
        path, body["messages"] = "/v1/chat/completions", [{"role": "user", "content": prompt}]
    else:
        path, body["prompt"] = "/v1/completions", prompt
    try:
        answer = door.post(path, body, headers=headers, timeout_s=timeout_s)
    except TryAgainError as error:
        raise TryAgainError(
            "the gateway does not answer", evidence=error.evidence, next_step="ai-how status"
        ) from error
    data = answer.json()
    if answer.status != 200 or not isinstance(data, dict) or not data.get("choices"):
        told = data.get("error") if isinstance(data, dict) else None
        # vLLM refuses a key with a text where OpenAI has an object
        said = told.get("message") if isinstance(told, dict) else told or answer.text[:300]
        raise ProviderError(
            f"endpoint {model} answered with an error",
            evidence=f"status {answer.status}: {said}",
            next_step=f"ai-how deploy status {model}, or: ai-how logs {model}",
        )
    choice, usage = data["choices"][0], data.get("usage") or {}
    text = choice.get("message", {}).get("content") if chat else choice.get("text")
    return Answer(
        text=str(text or "").strip(),
        latency_s=time.monotonic() - began,
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )
