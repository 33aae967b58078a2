"""What of a language model takes memory: its weights, one entry a kind, and what it keeps of each token. Pure data.

A ``ModelShape`` comes from a configuration (``architectures``) or from GGUF metadata (``gguf_shape``). Owns how weights
are spread over GPUs; knows neither their types in memory (``weight_types``) nor an engine.

Source of the spreading: vLLM 0.32, ``model_executor/layers/linear.py`` and ``vocab_parallel_embedding.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What a weight is for: it decides whether quantization touches it."""

    EMBEDDING = "embedding"
    HEAD = "head"
    LINEAR = "linear"
    EXPERT = "expert"
    OTHER = "other"
    """Norms, biases, routers: small, never quantized."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """``count`` matrices of the same size; a vector has one column.

    ``shards`` is the greatest number of GPUs that its rows can be spread over, None where there is no limit: 1 means
    that each GPU holds it whole, a number of KV heads that more GPUs hold copies.
    """

    name: str
    rows: int
    columns: int = 1
    count: int = 1
    part: Part = Part.LINEAR
    shards: int | None = None

    @property
    def parameters(self) -> int:
        return self.rows * self.columns * self.count

    def rows_on_gpu(self, gpus: int) -> int:
        """Rows of each matrix on one of ``gpus`` GPUs, rounded up: what is split is never lost."""
        return -(-self.rows // (gpus if self.shards is None else min(gpus, self.shards)))


@dataclass(frozen=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek): a layer keeps one compressed vector a token, however many heads."""

    kv_rank: int
    rope_dim: int
    value_dim: int
    key_dim: int


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture of experts: how many of them a token visits, and how wide one is."""

    per_token: int
    feed_forward: int


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """A decoder. ``windows`` has one entry a layer: the tokens it attends to, None where it attends to all."""

    architecture: str
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    feed_forward: int
    vocabulary: int
    longest_context_tokens: int
    windows: tuple[int | None, ...]
    weights: tuple[Weight, ...] = ()
    latent: LatentAttention | None = None
    experts: Experts | None = None

    @property
    def layers(self) -> int:
        return len(self.windows)

    @property
    def parameters(self) -> int:
        return sum(weight.parameters for weight in self.weights)

    def kv_numbers_per_token(self, gpus: int) -> int:
        """Numbers that one layer keeps of one token on one of ``gpus`` GPUs.

        With more GPUs than KV heads each GPU keeps a copy of one head; a latent vector is kept by every GPU.
        """
        if self.latent is not None:
            return self.latent.kv_rank + self.latent.rope_dim
        return max(1, self.kv_heads // gpus) * (self.head_dim + self.value_dim)

    def split_refusal(self, gpus: int) -> str | None:
        """Why the model cannot be spread over that many GPUs, in a sentence; None where it can."""
        if self.heads % gpus:
            return f"{self.heads} attention heads cannot be divided among {gpus} GPUs"
        if self.latent is None and self.kv_heads % gpus and gpus % self.kv_heads:
            return f"{self.kv_heads} KV heads can be neither divided among nor repeated on {gpus} GPUs"
        widths = {self.feed_forward, self.experts.feed_forward if self.experts else 0} - {0}
        for width in sorted(widths):
            if width % gpus:
                return f"a feed-forward width of {width} cannot be divided among {gpus} GPUs"
        return None
