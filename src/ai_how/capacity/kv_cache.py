"""What an engine keeps of the tokens of a request: bytes of a sequence, as vLLM and llama.cpp allocate them. Pure.

Owns the two allocators' arithmetic. vLLM hands out blocks of 16 tokens. Where layers differ in what they see, it puts
them into groups of as many layers each and gives every group blocks of its own, all of the same size: some layers are
padding.

Sources: vLLM 0.32, ``v1/core/kv_cache_utils.py`` (``_get_kv_cache_groups_uniform_page_size``) and
``v1/kv_cache_interface.py`` (``SlidingWindowSpec``); llama.cpp, ``src/llama-kv-cache-iswa.cpp`` and
``src/llama-context.cpp``.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from ai_how.capacity.model_shape import ModelShape

BLOCK_TOKENS = 16
_CELLS = 256
"""llama.cpp rounds the cells of its cache up to a multiple of this."""
_UBATCH_TOKENS = 512
"""llama.cpp's default of tokens computed at once; a window keeps room for them."""

KV_BITS = {"auto": 16, "fp8": 8}


class KvCache(Protocol):
    """What an engine needs to know a cache's size."""

    def bytes_needed(self, *, context_tokens: int, sequences: int) -> int:
        """Bytes on one GPU for ``sequences`` requests of ``context_tokens`` each."""
        ...

    def longest_step(self) -> int:
        """Tokens by which a context must grow before it can take more memory."""
        ...


class VllmCache:
    """vLLM's paged cache of one GPU out of ``gpus``.

    ``in_flight_tokens``: tokens that are computed but not settled yet; sliding windows keep them too. vLLM counts its
    largest batch, twice where it prepares the next step while one runs, which is its default.
    """

    def __init__(self, shape: ModelShape, *, gpus: int, kv_bits: int, in_flight_tokens: int) -> None:
        self.in_flight_tokens = in_flight_tokens
        counts = Counter(shape.windows)
        fewest, most = min(counts.values()), max(counts.values())
        # many more layers of one kind: groups of the smaller number; else one group a kind, padded
        self.layers_per_group = most if most < 1.5 * fewest else fewest
        self.groups = {window: -(-count // self.layers_per_group) for window, count in counts.items()}
        self.token_bytes = shape.kv_numbers_per_token(gpus) * kv_bits // 8
        self.block_bytes = self.layers_per_group * self.token_bytes * BLOCK_TOKENS

    def blocks_of_sequence(self, context_tokens: int) -> int:
        """Blocks that one request of that length holds at most, over all groups."""
        return sum(self._blocks(window, context_tokens) * groups for window, groups in self.groups.items())

    def _blocks(self, window: int | None, context_tokens: int) -> int:
        if window is None:
            return -(-context_tokens // BLOCK_TOKENS)
        # the window may begin in the middle of a block: one more
        return -(-min(window - 1 + self.in_flight_tokens, context_tokens) // BLOCK_TOKENS) + 1

    def bytes_needed(self, *, context_tokens: int, sequences: int) -> int:
        """As ``KvCache``; one block of the pool is never handed out."""
        return (self.blocks_of_sequence(context_tokens) * sequences + 1) * self.block_bytes

    def longest_step(self) -> int:
        return BLOCK_TOKENS


class LlamaCppCache:
    """llama.cpp's cache on one GPU: each request has cells of its own, its context rounded up to whole steps.

    So it is where the number of requests is set (``--parallel``), as we do: the cache is not shared among them.
    """

    def __init__(self, shape: ModelShape, *, kv_bits: int) -> None:
        self.windows = Counter(shape.windows)
        # an 8-bit cache is Q8_0: blocks of 32 numbers with a 16-bit scale
        bits = kv_bits if kv_bits == 16 else 8.5
        self.token_bytes = shape.kv_numbers_per_token(1) * bits / 8

    def bytes_needed(self, *, context_tokens: int, sequences: int) -> int:
        """As ``KvCache``."""
        whole = _padded(context_tokens)
        cells = 0
        for window, layers in self.windows.items():
            kept = whole if window is None else min(whole, _padded(window + _UBATCH_TOKENS))
            cells += kept * layers
        return round(cells * sequences * self.token_bytes)

    def longest_step(self) -> int:
        return _CELLS


def _padded(cells: int) -> int:
    return -(-cells // _CELLS) * _CELLS
