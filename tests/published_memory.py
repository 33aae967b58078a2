"""Published figures of memory against ours: the rows of the tables in docs/explanation/model-memory.md."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ai_how.capacity import engine_overhead as overhead
from ai_how.capacity.architectures import shape_of
from ai_how.capacity.engine_overhead import GIB
from ai_how.capacity.kv_cache import VllmCache
from ai_how.capacity.model_shape import ModelShape
from ai_how.capacity.weight_types import WEIGHT_TYPES, weight_bytes

FIGURES = Path(__file__).parent / "fixtures" / "published_memory.toml"
TOKENS, SEQUENCES = 8192, 1024
"""At once, in the starts of the fixture."""
REQUESTED_GIB = 75.23


@cache
def figures() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads(FIGURES.read_text(encoding="utf-8"))


@cache
def shapes() -> dict[str, ModelShape]:
    return {model["name"]: shape_of(model["config"]) for model in figures()["model"]}


def error_percent(computed: float, published: float) -> float:
    return (computed - published) / published * 100


@dataclass(frozen=True, kw_only=True)
class Start:
    """One start of vLLM, as logged and as computed, GiB on each GPU."""

    row: dict[str, Any]
    weights_gib: float
    activations_gib: float
    runtime_gib: float
    graphs_gib: float
    kv_cache_gib: float
    concurrency: float

    @property
    def overhead_error_gib(self) -> float:
        row = self.row
        logged = row["activations_gib"] + row["runtime_gib"] + row["graphs_gib"]
        return self.activations_gib + self.runtime_gib + self.graphs_gib - float(logged)


def starts() -> Iterator[Start]:
    for row in figures()["start"]:
        shape, gpus = shapes()[row["model"]], row["gpus"]
        weights = weight_bytes(shape, WEIGHT_TYPES[row["type"]], gpus=gpus)
        weights_gib = (weights + overhead.latent_copy_bytes(shape, gpus=gpus)) / GIB
        activations = overhead.activation_bytes(shape, gpus=gpus, tokens=TOKENS, sequences=SEQUENCES) / GIB
        runtime = overhead.runtime_bytes(gpus) / GIB
        bits = 8 if row["kv_dtype"] == "fp8" else 16
        # vLLM 0.19 counted one batch in flight
        kv_cache = VllmCache(shape, gpus=gpus, kv_bits=bits, in_flight_tokens=TOKENS)
        yield Start(
            row=row,
            weights_gib=weights_gib,
            activations_gib=activations,
            runtime_gib=runtime,
            graphs_gib=overhead.graph_bytes(shape, sequences=SEQUENCES, tokens=TOKENS) / GIB,
            # nor did it take the graphs out of its budget yet
            kv_cache_gib=REQUESTED_GIB - weights_gib - activations - runtime,
            concurrency=row["kv_cache_blocks"] / kv_cache.blocks_of_sequence(row["context_tokens"]),
        )


def tables() -> dict[str, str]:
    """The tables of the page, by the name that marks their place."""
    return {"weights": _weights_table(), "starts": _starts_table()}


def _weights_table() -> str:
    lines = ["| model | figure | published | computed | error |", "|---|---|--:|--:|--:|"]
    for row in figures()["weights"]:
        computed = weight_bytes(shapes()[row["model"]], WEIGHT_TYPES[row["type"]], gpus=1)
        lines.append(_row(row["model"], f"weights, {row['type']}, bytes", row["bytes"], computed))
    for row in figures()["kv_cache"]:
        computed = cache_token_bytes(row["model"])
        lines.append(_row(row["model"], "KV cache of a token, bytes", row["bytes_per_token"], computed))
    return "\n".join(lines)


def cache_token_bytes(model: str) -> int:
    shape = shapes()[model]
    return shape.kv_numbers_per_token(1) * 2 * shape.layers


def _row(model: str, figure: str, published: int, computed: int) -> str:
    error = error_percent(computed, published)
    return f"| {model} | {figure} | {published:,} | {computed:,} | {f'{error:+.2f} %' if error else '0'} |"


def _starts_table() -> str:
    lines = [
        "| model | GPUs | type | weights | activations | graphs | KV cache | requests at once |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for start in starts():
        row = start.row
        pairs = (
            (start.weights_gib, row["weights_gib"]),
            (start.activations_gib, row["activations_gib"]),
            (start.graphs_gib, row["graphs_gib"]),
            (start.kv_cache_gib, row["kv_cache_gib"]),
            (start.concurrency, row["concurrency"]),
        )
        kind = row["type"] + (", fp8 cache" if row["kv_dtype"] == "fp8" else "")
        cells = " | ".join(f"{logged:.2f} / {computed:.2f}" for computed, logged in pairs)
        lines.append(f"| {row['model']} | {row['gpus']} | {kind} | {cells} |")
    return "\n".join(lines)
