"""The data of models: what a checkpoint is and what its files are. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

NOT_REGISTERED = 0
"""Version of a model that is not in the registry yet."""


class ModelFormat(StrEnum):
    """How the weights are stored."""

    HUGGING_FACE = "huggingface"
    PEFT_ADAPTER = "peft"
    GGUF = "gguf"


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a model: path relative to the model's folder with forward slashes, size, SHA-256 in hex."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All files of a model, ordered by path. ``digest`` is the SHA-256 over their paths, sizes and digests."""

    files: tuple[ModelFile, ...]
    digest: str

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What the checkpoint says of itself.

    ``architecture`` as the file names it (``LlamaForCausalLM``, or GGUF's ``llama``); ``parameters`` is the number
    of weights; ``dtype`` the type of most of them (``bfloat16``, ``Q4_1``); ``base_model`` only for an adapter.
    """

    format: ModelFormat
    architecture: str
    parameters: int
    dtype: str
    context_tokens: int | None = None
    chat_template: bool = False
    base_model: str | None = None


class SecretText(str):
    """Text that never shows itself in ``repr``, logs or tracebacks of data classes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True, kw_only=True)
class ObjectStoreAccess:
    """How to reach the object store. The secret is never printed: it stays out of ``repr``."""

    endpoint_url: str
    region: str
    bucket: str
    access_key: str
    secret_key: SecretText


def _no_trouble() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where models go: the object store, MLflow's base URL without a slash at the end, a folder for cached files."""

    access: ObjectStoreAccess
    registry_url: str
    cache_dir: Path
    trouble: Callable[[], str | None] = _no_trouble
    """Why the object store would take no more now, as far as that is known without asking it."""


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """One version in the registry. ``uri`` is its ``s3://`` folder; ``created_at`` is ISO 8601 in UTC."""

    name: str
    version: int
    uri: str
    digest: str
    size_bytes: int
    info: ModelInfo
    source: str
    created_at: str
    aliases: tuple[str, ...] = ()
