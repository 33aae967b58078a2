"""Endpoints as they are applied to a cluster: what each kind of endpoint becomes, valid for its kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from ai_how.capacity.model_memory import Load
from ai_how.endpoints.types import Autoscaling, Hardware, ServedAdapter
from ai_how.kserve.nodes import Placement
from ai_how.kserve.objects import endpoint_objects
from ai_how.kserve.placement import place
from ai_how.kserve.revision import KServeRevision
from ai_how.kserve.setting import ServingSetting
from ai_how.kubernetes.yaml_text import yaml_text
from ai_how.stack.checks.fit import check_objects
from tests.golden.conftest import Golden
from tests.kserve import ADAPTER, INFO, lab, model, revision, setting, spec

LONG = "serving: {context_tokens: 8192, parallel_requests: 16}\n"


def placed(name: str, accelerator: str, count: int = 1) -> Placement:
    wanted = Hardware(accelerator=accelerator, count=count)
    load = Load(context_tokens=2048, sequences=4, gpus=count)
    return place(model(name), lab(), wanted=wanted, load=load).placement


def on_a6000_pair() -> KServeRevision:
    hardware = Hardware(accelerator="nvidia_rtx_a6000", count=2)
    return revision(spec=spec(hardware=hardware), placement=placed("Llama-3.1-8B", "nvidia_rtx_a6000", 2))


def on_t4() -> KServeRevision:
    hardware = Hardware(accelerator="nvidia_t4")
    info = replace(INFO, parameters=2_533_531_648, context_tokens=2048, chat_template=False)
    return revision(info=info, spec=spec("small", hardware=hardware), placement=placed("Granite-3.1-2B", "auto"))


def adapter() -> KServeRevision:
    base = {"adapter_base_uri": "s3://models/base/fedcba9876543210", "adapter_base_digest": "fedcba9876543210" * 4}
    return revision(info=ADAPTER, base=INFO, adapter_rank=24, spec=spec(**base))


def adapters() -> KServeRevision:
    beside = tuple(
        ServedAdapter(
            tag=tag,
            model_name=f"chat-{tag}",
            model_version=1,
            model_uri=f"s3://models/chat-{tag}/89abcdef01234567",
            model_digest="89abcdef01234567" * 4,
            rank=rank,
        )
        for tag, rank in (("legal", 8), ("support", 16))
    )
    return revision(spec=spec(adapters=beside), adapter_rank=16)


def asleep() -> KServeRevision:
    return revision(spec=spec(autoscaling=Autoscaling(min_replicas=0, max_replicas=2)))


def two() -> list[KServeRevision]:
    newer = spec(model_version=4, model_uri="s3://models/chat/123456789abcdef0")
    return [revision(1, share=90), revision(2, share=10, spec=newer)]


CASES: dict[str, tuple[Sequence[KServeRevision], ServingSetting]] = {
    "full-a100": ([revision()], setting(site_text=LONG)),
    "two-a6000": ([on_a6000_pair()], setting()),
    "small-t4": ([on_t4()], setting()),
    "adapter": ([adapter()], setting()),
    "adapters": ([adapters()], setting()),
    "asleep": ([asleep()], setting()),
    "asleep-2025.10": ([asleep()], setting("2025.10")),
    "two-revisions": (two(), setting()),
    "kept-on-nodes": ([adapter()], setting(site_text="serving: {node_cache_gib: 60}\n")),
    "kept-on-nodes-2025.10": ([revision()], setting("2025.10", site_text="serving: {node_cache_gib: 60}\n")),
    "streamed": ([revision()], setting(site_text="serving: {loader: streamer}\n")),
}


@pytest.mark.parametrize("case", CASES)
def test_an_endpoint_as_it_is_applied(golden: Golden, case: str) -> None:
    revisions, where = CASES[case]
    objects = endpoint_objects(revisions, setting=where)
    assert [str(misfit) for misfit in check_objects(objects)] == []
    golden(f"tests/golden/kserve/{case}.yaml", "".join(yaml_text(thing, head=case) for thing in objects))
