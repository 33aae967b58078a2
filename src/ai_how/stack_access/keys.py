"""The API keys that clients of a cluster's endpoints send: a Secret that is made in the cluster.

Reads alone, and only where it is asked to. vLLM compares keys itself and reads them once, when it starts
(``vllm.entrypoints.openai``, ``--api-key``), so none is made or taken away while endpoints run.
"""

from __future__ import annotations

from ai_how.errors import ConflictError
from ai_how.models.types import SecretText
from ai_how.stack.components.kserve import API_KEY, API_KEYS
from ai_how.stack.setting import MODELS
from ai_how.stack_access.running import RunningStack, read_secret, value_of


def read_api_keys(stack: RunningStack) -> dict[str, SecretText]:
    """Key name -> key; the default one is among them.

    Raises:
        NotFoundError, ProviderError: the Secret is missing, or lacks it.
    """
    values = read_secret(stack, MODELS, API_KEYS)
    value_of(values, API_KEY, of=f"{MODELS}/{API_KEYS}")
    return values


def keys_stay(site: str) -> ConflictError:
    """The error for making or revoking a key on a cluster."""
    return ConflictError(
        f"the endpoints of site {site} share one key, which cannot be changed while they run",
        evidence="vLLM compares keys itself and reads them once, when it starts",
        next_step="ai-how key show; to change it, see: docs/how-to/stack.md",
    )
