"""A revision of an endpoint: its names, and the way into an annotation and back."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.types import Autoscaling, EndpointSpec, Hardware, ServedAdapter
from ai_how.errors import SpecError
from ai_how.kserve.names import MOST_CHARACTERS, check_name, near_name, revision_name, service_name
from ai_how.kserve.nodes import Placement
from ai_how.kserve.revision import KEPT, KServeRevision, kept_text, number_of, revision_of, revisions_of
from ai_how.models.types import ModelFormat, ModelInfo
from tests.kserve import revision as plain_revision

NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
TEXTS = st.text(max_size=30)
INFOS = st.builds(
    ModelInfo,
    format=st.sampled_from(ModelFormat),
    architecture=TEXTS,
    parameters=st.integers(0, 10**12),
    dtype=TEXTS,
    context_tokens=st.none() | st.integers(1, 10**7),
    chat_template=st.booleans(),
    base_model=st.none() | TEXTS,
)
SPECS = st.builds(
    EndpointSpec,
    name=NAMES,
    model_name=TEXTS,
    model_version=st.integers(1, 9999),
    model_uri=TEXTS,
    model_digest=TEXTS,
    engine=st.just("vllm"),
    hardware=st.builds(Hardware, accelerator=TEXTS, count=st.integers(1, 16)),
    autoscaling=st.builds(Autoscaling, min_replicas=st.integers(0, 3), max_replicas=st.integers(3, 9)),
    stopped=st.booleans(),
    created_at=TEXTS,
    adapter_base_uri=st.none() | TEXTS,
    adapter_base_digest=st.none() | TEXTS,
    adapters=st.lists(
        st.builds(
            ServedAdapter,
            tag=NAMES,
            model_name=TEXTS,
            model_version=st.integers(1, 99),
            model_uri=TEXTS,
            model_digest=TEXTS,
            rank=st.integers(0, 512),
            model_ref=TEXTS,
        ),
        max_size=3,
    ).map(tuple),
)
PLACEMENTS = st.builds(
    Placement,
    accelerator=TEXTS,
    products=st.lists(TEXTS, max_size=3).map(tuple),
    count=st.integers(1, 8),
    memory_share=st.floats(0.1, 1),
    compute_capability=st.none() | st.tuples(st.integers(5, 12), st.integers(0, 9)),
    nodes=st.lists(TEXTS, max_size=3).map(tuple),
    total=st.integers(0, 99),
)
REVISIONS = st.builds(
    KServeRevision,
    number=st.integers(1, 9999),
    spec=SPECS,
    info=INFOS,
    base=st.none() | INFOS,
    adapter_rank=st.integers(0, 512),
    share_percent=st.integers(0, 100),
    placement=st.none() | PLACEMENTS,
)


def runtime(revision: KServeRevision) -> dict[str, object]:
    metadata = {"name": revision.name, "labels": revision.labels, "annotations": {KEPT: kept_text(revision)}}
    return {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": metadata}


@given(REVISIONS)
def test_a_revision_is_read_back_from_its_annotation(revision: KServeRevision) -> None:
    thing = runtime(revision)
    assert revision_of(thing, share_percent=revision.share_percent) == revision
    assert number_of(thing) == revision.number


def test_an_annotation_from_before_there_were_adapters_is_the_same_and_is_read() -> None:
    revision = plain_revision(1, share=0)
    assert "adapters" not in json.loads(kept_text(revision))["spec"]
    assert revision_of(runtime(revision)) == revision


@given(REVISIONS, st.integers(0, 100))
def test_the_share_is_no_part_of_what_is_kept(revision: KServeRevision, share: int) -> None:
    assert kept_text(revision) == kept_text(revision_of(runtime(revision), share_percent=share))


@given(st.lists(REVISIONS, max_size=4, unique_by=lambda each: each.number))
def test_revisions_are_by_number_with_the_shares_of_the_route(revisions: list[KServeRevision]) -> None:
    shares = {each.number: each.share_percent for each in revisions}
    found = revisions_of(map(runtime, revisions), shares)
    assert list(found) == sorted(revisions, key=lambda each: each.number)


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({}, "has no ai-how/kept-revision"),
        ({KEPT: "{"}, "Invalid JSON"),
        ({KEPT: '{"number": "1"}'}, "spec: "),
    ],
)
def test_an_annotation_that_is_not_ours_is_told(annotations: dict[str, str], said: str) -> None:
    thing = {"kind": "ServingRuntime", "metadata": {"name": "chat-r1", "annotations": annotations}}
    with pytest.raises(SpecError) as caught:
        revision_of(thing)
    assert "chat-r1" in caught.value.brief
    assert said in caught.value.evidence


@given(NAMES, st.integers(1, 9999))
def test_every_derived_name_of_a_name_that_passes_is_a_label(name: str, number: int) -> None:
    assert check_name(name) == name
    label = f"isvc.{service_name(name, number)}"
    assert len(label) <= 63
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", service_name(name, number))


@given(st.text(max_size=80))
def test_the_name_that_is_offered_would_do(name: str) -> None:
    assert check_name(near_name(name))


@pytest.mark.parametrize("name", ["", "7b-chat", "Chat", "chat-", "chat.v2", "a" * (MOST_CHARACTERS + 1)])
def test_a_name_that_would_not_do_is_refused_with_one_that_would(name: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_name(name)
    assert near_name(name) in caught.value.next_step


@pytest.mark.parametrize("number", [0, 10_000])
def test_a_number_without_room_is_refused(number: int) -> None:
    with pytest.raises(SpecError, match="cannot have a revision"):
        revision_name("chat", number)
