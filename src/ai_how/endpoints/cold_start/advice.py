"""What would shorten a start, the most seconds first. Pure.

Each piece says how many seconds it can save at most: those that this start spent on what it does away with. How many it
saves, the next start tells. Where a published figure says how much is usual, it is named with its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ai_how.endpoints.cold_start.waterfall import StageName, Waterfall

LEAST_SHARE = 0.02
"""What can save less of the whole than this is not worth a word."""

_KEEPS_CLAIM = "let the endpoint run on one node: it gets a volume for it there; its second start reads it"


@dataclass(frozen=True, kw_only=True)
class Served:
    """What was started: by which engine, where, and how many replicas are kept when nobody asks.

    ``adapters``: it is a base with LoRA adapters, which a GGUF file cannot be. The last four are what the site has on
    already: ``serving.when_idle: sleep``, ``serving.loader: streamer``, ``serving.node_cache_gib`` and
    ``serving.keep_image``.
    """

    name: str
    engine: str
    cluster: bool
    min_replicas: int
    quantized: bool = False
    adapters: bool = False
    gpu: bool = True
    sleeps: bool = False
    streams: bool = False
    keeps_weights: bool = False
    keeps_image: bool = False


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One piece. ``how`` is a command or what to set; ``price`` what it costs elsewhere."""

    what: str
    saves_at_most_s: float
    how: str
    price: str
    source: str


def advise(found: Waterfall, served: Served) -> tuple[Advice, ...]:
    """What would help, the most seconds first; nothing where nothing is known."""
    least_s = LEAST_SHARE * (found.total_s or found.took_s(*StageName))
    pieces = [*_anywhere(found, served), *(_on_cluster(found, served) if served.cluster else _here(found, served))]
    if served.engine == "vllm":
        pieces += _of_vllm(found, served)
    worth = (piece for piece in pieces if piece.saves_at_most_s > max(least_s, 0.0))
    return tuple(sorted(worth, key=lambda piece: -piece.saves_at_most_s))


def _anywhere(found: Waterfall, served: Served) -> Iterator[Advice]:
    if served.min_replicas == 0:
        yield Advice(
            what="keep one replica ready",
            saves_at_most_s=(found.total_s or found.took_s(*StageName)) - found.took_s(StageName.ANSWER),
            how=f"ai-how deploy start {served.name} --min-replicas 1",
            price=f"{'its memory and its GPU are' if served.gpu else 'its memory is'} held, also when nobody asks; "
            "ai-how cost shows what that is",
            source="this start",
        )


def _here(found: Waterfall, served: Served) -> Iterator[Advice]:
    if found.note(StageName.FETCH) == "from the object store":
        yield Advice(
            what="nothing to do: the files are in this machine's cache now",
            saves_at_most_s=found.took_s(StageName.FETCH),
            how="the next start reads them there",
            price="disk: the size of the model",
            source="this start",
        )
    if found.note(StageName.CONVERT) == "converted":
        yield Advice(
            what="nothing to do: the conversion is kept",
            saves_at_most_s=found.took_s(StageName.CONVERT),
            how="the next start reads it" + ("" if served.adapters else "; or push a GGUF file"),
            price="disk: the size of the model once more",
            source="this start",
        )
    if served.engine == "llamacpp" and not served.quantized and not served.adapters:
        yield Advice(
            what="serve a smaller quantisation: half the bytes, half the reading",
            saves_at_most_s=found.took_s(StageName.LOAD) / 2,
            how="push a GGUF file with 8 bits a weight instead of 16: ai-how model push FILE.gguf",
            price="answers change a little: compare before you switch",
            source="estimate: reading takes as long as there are bytes",
        )


def _on_cluster(found: Waterfall, served: Served) -> Iterator[Advice]:
    pulled_s = found.took_s(StageName.PULL, StageName.PULL_FETCHER)
    yield Advice(
        what="have vLLM's image on the GPU nodes before the pod comes",
        saves_at_most_s=pulled_s,
        how=_how(
            served,
            "serving.keep_image: true",
            on=served.keeps_image,
            when_on="the node did not have it yet; kubectl -n models get daemonset vllm-image",
        ),
        price="disk on each GPU node",
        source="this start",
    )
    yield Advice(
        what="keep the weights on the node",
        saves_at_most_s=found.took_s(StageName.FETCH),
        how=_how(
            served,
            "serving.node_cache_gib",
            on=served.keeps_weights,
            when_on="this start filled the cache, or looked into it; the next one on this node reads the disk",
        ),
        price="disk on each GPU node; the first start on a node fetches as before, and checks what it fetched",
        source="this start; without it the storage initializer downloads at each start (KServe issue 4918)",
    )
    yield Advice(
        what="have a node with a free GPU ready",
        saves_at_most_s=found.took_s(StageName.SCHEDULE),
        how="ai-how topology shows who holds the GPUs; ai-how deploy list what serves",
        price="a GPU that waits",
        source="this start",
    )


def _how(served: Served, key: str, *, on: bool, when_on: str) -> str:
    """What to set and then to type, or what it means that it is set and this start still took the time."""
    again = "ai-how up, then ai-how deploy up with its deploy file" if served.cluster else "ai-how up"
    return f"{key} is on already: {when_on}" if on else f"{key} in the site file, then: {again}"


def _of_vllm(found: Waterfall, served: Served) -> Iterator[Advice]:
    cluster = served.cluster
    compile_s, capture_s = found.took_s(StageName.COMPILE), found.took_s(StageName.CAPTURE)
    if "from the compile cache" not in found.note(StageName.COMPILE):
        yield Advice(
            what="keep vLLM's compile cache",
            saves_at_most_s=compile_s,
            how=_KEEPS_CLAIM if cluster else "keep ~/.cache/vllm, or set VLLM_CACHE_ROOT",
            price="disk on that node; vLLM makes it anew when model, settings or version change",
            source="vLLM documentation, torch.compile integration; 43 s became 5 s in vLLM issue 44881",
        )
    yield Advice(
        what="do without compiled graphs",
        saves_at_most_s=compile_s + capture_s,
        how="vllm serve --enforce-eager",
        price="slower tokens for as long as the replica lives: measure with ai-how bench compare",
        source="this start",
    )
    yield Advice(
        what="stream the weights into the GPU",
        saves_at_most_s=found.took_s(StageName.LOAD) + (found.took_s(StageName.FETCH) if cluster else 0),
        how=_how(served, "serving.loader: streamer", on=served.streams, when_on="what is left is the storage's speed"),
        price="memory for its buffers; "
        + ("files are not compared with their digests" if cluster else "vllm must be installed as vllm[runai]"),
        source="vLLM documentation, Run:ai Model Streamer; the gain is the storage's to give, not measured here",
    )
    if cluster:
        return
    engine = (StageName.ENGINE, StageName.LOAD, StageName.COMPILE, StageName.PROFILE, StageName.CAPTURE)
    yield Advice(
        what="let the engine sleep instead of ending it",
        saves_at_most_s=found.took_s(*engine, StageName.SCHEDULE, StageName.PULL, StageName.FETCH),
        how=_how(
            served,
            "serving.when_idle: sleep",
            on=served.sleeps,
            when_on="this was a start from nothing; ai-how deploy status says why, if it could not sleep",
        ),
        price="main memory for the weights while it sleeps; it counts with min_replicas 0",
        source="vLLM blog of 2025-10-26: waking is 18 to 200 times faster than loading again; not measured here",
    )
