"""The weights of a decoder, from its sizes: attention, feed-forward, experts, embeddings, norms. Pure.

Matrices that an engine fuses (q, k and v; gate and up) stay apart here: their sum is the same, their spreading is not.
"""

from __future__ import annotations

from ai_how.capacity.model_shape import LatentAttention, ModelShape, Part, Weight


def vector(name: str, length: int, *, count: int, shards: int | None = 1) -> Weight:
    """``count`` vectors; every GPU holds them whole unless ``shards`` says otherwise."""
    return Weight(name=name, rows=length, count=count, part=Part.OTHER, shards=shards)


def embeddings(shape: ModelShape, *, tied: bool) -> list[Weight]:
    """Token embeddings, and the output head unless the two are one."""
    found = [Weight(name="embeddings", rows=shape.vocabulary, columns=shape.hidden, part=Part.EMBEDDING)]
    if not tied:
        found.append(Weight(name="head", rows=shape.vocabulary, columns=shape.hidden, part=Part.HEAD))
    return found


def norms(shape: ModelShape, *, per_layer: int, qk_norm: bool) -> list[Weight]:
    """Norms of the layers and the last one; ``qk_norm``: also over each query and key head."""
    found = [vector("norms", shape.hidden, count=per_layer * shape.layers + 1)]
    if qk_norm:
        found.append(vector("query and key norms", shape.head_dim, count=2 * shape.layers))
    return found


def attention(shape: ModelShape, *, qkv_bias: bool, out_bias: bool, query_rank: int = 0) -> list[Weight]:
    """Projections of all layers; ``query_rank`` is 0 where queries are not compressed (only latent attention does)."""
    if shape.latent is not None:
        return _latent_attention(shape, shape.latent, query_rank)
    count, kv_rows = shape.layers, shape.kv_heads * shape.head_dim
    query_rows = shape.heads * shape.head_dim
    found = [
        Weight(name="query", rows=query_rows, columns=shape.hidden, count=count),
        Weight(name="key and value", rows=kv_rows, columns=shape.hidden, count=2 * count, shards=shape.kv_heads),
        Weight(name="attention output", rows=query_rows, columns=shape.hidden, count=count),
    ]
    if qkv_bias:
        found.append(vector("query bias", query_rows, count=count, shards=None))
        found.append(vector("key and value bias", kv_rows, count=2 * count, shards=shape.kv_heads))
    if out_bias:
        found.append(vector("attention output bias", shape.hidden, count=count))
    return found


def _latent_attention(shape: ModelShape, latent: LatentAttention, query_rank: int) -> list[Weight]:
    """Compression is done by every GPU, expansion for its own heads only."""
    count, rows = shape.layers, shape.heads * latent.key_dim
    if query_rank:
        query = [
            Weight(name="query compression", rows=query_rank, columns=shape.hidden, count=count, shards=1),
            vector("query compression norm", query_rank, count=count),
            Weight(name="query", rows=rows, columns=query_rank, count=count),
        ]
    else:
        query = [Weight(name="query", rows=rows, columns=shape.hidden, count=count)]
    kept = latent.kv_rank + latent.rope_dim
    expanded = shape.heads * (latent.key_dim - latent.rope_dim + latent.value_dim)
    return [
        *query,
        Weight(name="KV compression", rows=kept, columns=shape.hidden, count=count, shards=1),
        vector("KV compression norm", latent.kv_rank, count=count),
        Weight(name="key and value", rows=expanded, columns=latent.kv_rank, count=count),
        Weight(name="attention output", rows=shape.heads * latent.value_dim, columns=shape.hidden, count=count),
    ]


def feed_forward(shape: ModelShape, *, layers: int, bias: bool) -> list[Weight]:
    """Gate, up and down of the layers that have no experts."""
    found = [Weight(name="feed-forward", rows=shape.feed_forward, columns=shape.hidden, count=3 * layers)]
    if bias:
        found.append(vector("gate and up bias", shape.feed_forward, count=2 * layers, shards=None))
        found.append(vector("down bias", shape.hidden, count=layers))
    return found


def experts(shape: ModelShape, *, layers: int, count: int, shared_width: int) -> list[Weight]:
    """Routers, experts, and the expert that all tokens visit (``shared_width`` 0: there is none)."""
    width = shape.experts.feed_forward if shape.experts else 0
    return [
        Weight(name="routers", rows=count, columns=shape.hidden, count=layers, part=Part.OTHER, shards=1),
        Weight(name="experts", rows=width, columns=shape.hidden, count=3 * layers * count, part=Part.EXPERT),
        Weight(name="shared experts", rows=shared_width, columns=shape.hidden, count=3 * layers),
    ]


def gpt(shape: ModelShape, *, tied: bool, positions: int) -> list[Weight]:
    """GPT-2 and GPT-NeoX: no gate, biases and two-part norms everywhere; ``positions`` that are learned, or 0."""
    hidden, wide, count = shape.hidden, shape.feed_forward, shape.layers
    return [
        *embeddings(shape, tied=tied),
        Weight(name="positions", rows=positions, columns=hidden, part=Part.OTHER, shards=1),
        Weight(name="query, key and value", rows=hidden, columns=hidden, count=3 * count),
        Weight(name="attention output", rows=hidden, columns=hidden, count=count),
        Weight(name="feed-forward", rows=wide, columns=hidden, count=2 * count),
        vector("query, key and value bias", hidden, count=3 * count, shards=None),
        vector("feed-forward bias", wide, count=count, shards=None),
        vector("output biases", hidden, count=2 * count),
        vector("norms", hidden, count=2 * (2 * count + 1)),
    ]
