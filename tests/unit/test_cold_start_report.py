"""What would shorten a start, ranked; and a waterfall as text, as a page."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.cold_start.advice import Served, advise
from ai_how.endpoints.cold_start.replica import Seen, waterfall_of_wake
from ai_how.endpoints.cold_start.report import NOT_MEASURED, render_html, render_text, verdict
from ai_how.endpoints.cold_start.waterfall import Stage, StageName, Waterfall, waterfall

HERE = Served(name="m", engine="llamacpp", cluster=False, min_replicas=1)
CLUSTER = Served(name="m", engine="vllm", cluster=True, min_replicas=0)


def start(total_s: float | None = None, notes: dict[StageName, str] | None = None, **took_s: float) -> Waterfall:
    """A start whose stages follow each other: ``load=2.0``."""
    stages, clock_s = [], 0.0
    for name in StageName:
        seconds = took_s.get(name.name.lower())
        if seconds is None:
            continue
        note = (notes or {}).get(name, "")
        stages.append(Stage(name=name, begin_s=clock_s, end_s=clock_s + seconds, source="test", note=note))
        clock_s += seconds
    return waterfall(stages, asked_at="2026-03-01T10:00:00Z", total_s=clock_s if total_s is None else total_s)


POD = start(
    schedule=4, pull=60, fetch=40, engine=20, load=12, compile=43, profile=12, capture=8, ready=2, first_token=1
)


def said(found: Waterfall, served: Served) -> dict[str, float]:
    return {piece.what: round(piece.saves_at_most_s, 2) for piece in advise(found, served)}


def test_the_piece_that_saves_most_comes_first_and_each_says_its_price_and_source() -> None:
    pieces = advise(POD, CLUSTER)
    saved = [piece.saves_at_most_s for piece in pieces]
    assert saved == sorted(saved, reverse=True)
    assert pieces[0].what == "keep one replica ready"
    assert all(piece.how and piece.price and piece.source for piece in pieces)
    assert said(POD, CLUSTER) == {
        "keep one replica ready": 202,
        "have vLLM's image on the GPU nodes before the pod comes": 60,
        "stream the weights into the GPU": 52,
        "do without compiled graphs": 51,
        "keep vLLM's compile cache": 43,
        "keep the weights on the node": 40,
    }


def test_a_replica_that_is_kept_holds_a_gpu_only_where_it_has_one() -> None:
    prices = [
        piece.price
        for gpu in (True, False)
        for piece in advise(POD, replace(CLUSTER, gpu=gpu))
        if piece.what == "keep one replica ready"
    ]
    assert ["GPU" in price for price in prices] == [True, False]


def test_a_replica_that_is_kept_needs_no_advice_to_keep_one() -> None:
    assert "keep one replica ready" not in said(POD, replace(CLUSTER, min_replicas=1))


def test_a_compile_cache_that_is_used_needs_no_advice_to_keep_one() -> None:
    cached = start(notes={StageName.COMPILE: "from the compile cache"}, load=5, compile=7)
    assert "keep vLLM's compile cache" not in said(cached, CLUSTER)


def test_on_this_machine_what_is_done_once_is_said_to_be_done() -> None:
    notes = {StageName.FETCH: "from the object store", StageName.CONVERT: "converted"}
    assert said(start(notes=notes, start=0.2, fetch=1.5, convert=3, load=2), HERE) == {
        "nothing to do: the conversion is kept": 3,
        "nothing to do: the files are in this machine's cache now": 1.5,
        "serve a smaller quantisation: half the bytes, half the reading": 1,
    }
    kept = {StageName.FETCH: "in the cache", StageName.CONVERT: "kept from an earlier start"}
    assert said(start(notes=kept, fetch=1.5, convert=3, load=2), replace(HERE, quantized=True)) == {}


def test_a_base_of_adapters_is_not_told_to_become_a_gguf_file_which_takes_none() -> None:
    converted = start(notes={StageName.CONVERT: "converted"}, start=0.2, convert=3, load=2)
    assert [piece for piece in advise(converted, HERE) if "GGUF" in piece.how]
    found = advise(converted, replace(HERE, adapters=True))
    assert found
    assert not [piece for piece in found if "GGUF" in piece.how]


def test_seconds_that_are_not_worth_a_word_get_none() -> None:
    assert "have a node with a free GPU ready" not in said(POD, CLUSTER)
    assert "have a node with a free GPU ready" in said(start(schedule=30, load=12), CLUSTER)


def test_advice_names_the_key_and_knows_what_is_on() -> None:
    keys = {"serving.keep_image": "keeps_image", "serving.node_cache_gib": "keeps_weights", "serving.loader": "streams"}
    for key, field in keys.items():
        off, on = (next(p for p in advise(POD, served) if key in p.how).how for served in (CLUSTER, with_(field)))
        assert "in the site file, then: ai-how up, then ai-how deploy up" in off
        assert "is on already: " in on


def with_(field: str) -> Served:
    return replace(CLUSTER, **{field: True})  # type: ignore[arg-type]


def test_sleep_is_for_this_machine_and_a_wake_needs_no_advice() -> None:
    slow, served = start(total_s=40, load=38), replace(HERE, engine="vllm", min_replicas=0)
    assert "serving.when_idle: sleep in the site file, then: ai-how up" in [piece.how for piece in advise(slow, served)]
    assert not [piece for piece in advise(POD, CLUSTER) if "when_idle" in piece.how]
    asleep = [piece.how for piece in advise(slow, replace(served, sleeps=True)) if "when_idle" in piece.how]
    assert asleep and "on already" in asleep[0]
    woken = waterfall_of_wake(Seen(asked_at="", asked_s=1, loaded_s=3, ready_s=4), replica="r")
    assert [(stage.name.value, stage.took_s) for stage in woken.stages] == [("wake", 2), ("first token", 1)]
    assert [piece.what for piece in advise(woken, served)] == ["keep one replica ready"]


def test_where_nothing_is_known_nothing_is_advised() -> None:
    assert advise(waterfall([], asked_at="", total_s=None), CLUSTER) == ()


SECONDS = st.floats(0, 10_000)


@given(st.dictionaries(st.sampled_from([name.name.lower() for name in StageName]), SECONDS), SECONDS)
def test_no_piece_saves_more_than_the_whole(took_s: dict[str, float], total_s: float) -> None:
    for served in (HERE, CLUSTER, replace(HERE, engine="vllm")):
        for piece in advise(start(total_s=total_s, **took_s), served):
            assert 0 < piece.saves_at_most_s <= total_s + 1e-6


@given(st.dictionaries(st.sampled_from([name.name.lower() for name in StageName]), SECONDS), SECONDS)
def test_the_text_fits_a_terminal_whatever_was_measured(took_s: dict[str, float], total_s: float) -> None:
    found = start(total_s=total_s, **took_s)
    text = render_text(found, advise(found, CLUSTER), name="m" * 40, target_s=10)
    assert max(map(len, text.splitlines())) <= 80


def test_bars_stand_where_their_stages_lie() -> None:
    unknown = Stage(name=StageName.PULL, source="events")
    found = waterfall(
        [
            unknown,
            Stage(name=StageName.FETCH, begin_s=0, end_s=4, note="in the cache"),
            Stage(name=StageName.LOAD, begin_s=5, end_s=10),
        ],
        asked_at="2026-03-01T10:00:00Z",
        total_s=10,
        replica="engine-m-1",
    )
    lines = render_text(found, (), name="m", target_s=10).splitlines()
    assert lines[:3] == [
        "endpoint m, start of 2026-03-01T10:00:00Z",
        "replica  engine-m-1",
        "10.0 s to the first token, over the target of 10 s",
    ]
    fetch, pull, load = (next(line for line in lines if line.startswith(n)) for n in ("fetch", "pull", "load"))
    assert pull.endswith(NOT_MEASURED)
    assert fetch.count("=") == 21
    assert load.count("=") == 27
    assert load.index("=") > fetch.rindex("=")
    assert "between them         1.00" in lines
    assert lines[-1] == "fetch weights: in the cache"


@pytest.mark.parametrize(
    ("total_s", "target_s", "words"),
    [
        (3.0, 10.0, "3.00 s to the first token, within the target of 10 s"),
        (3.0, None, "3.00 s to the first token"),
    ],
)
def test_the_verdict(total_s: float, target_s: float | None, words: str) -> None:
    assert verdict(start(total_s=total_s), target_s) == words
    assert verdict(waterfall([], asked_at="", total_s=None), target_s) == "it has not ended"


def test_the_page_says_the_same_and_needs_nothing_from_outside() -> None:
    page = render_html(POD, advise(POD, CLUSTER), name="<m>", target_s=10)
    assert "&lt;m&gt;" in page
    assert "<svg" in page
    assert not re.search(r"<script|\ssrc=|<link|url\((?!#)|@import|<a\s", page)
    for words in ("torch.compile", "keep vLLM&#x27;s compile cache", "over the target of 10 s"):
        assert words in page
    assert "What would help" not in render_html(waterfall([], asked_at="", total_s=None), (), name="m")
