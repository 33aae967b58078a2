"""A cluster as the commands that serve see it: what an endpoint's own pods have does not send it elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ai_how.apply.site_folder import SiteFolder
from ai_how.endpoints.types import Autoscaling, Hardware
from ai_how.errors import SpecError
from ai_how.kserve import serving
from ai_how.kserve.serving import ClusterServing
from ai_how.releases import load_set
from ai_how.site.load import check_site_text
from ai_how.stack.setting import setting_of
from tests.kserve import A6000, T4, api_node, api_pod, model
from tests.unit.test_registered_memory import version

SMALL = "Granite-3.1-2B"


class Api:
    """An API server with nodes and pods."""

    def __init__(self, pods: list[dict[str, Any]]) -> None:
        self.kinds = {"Node": [api_node("t4", T4), api_node("a6000", A6000)], "Pod": pods}

    def list_objects(self, api_version: str, kind: str) -> SimpleNamespace:
        return SimpleNamespace(items=self.kinds[kind])


def cluster(*pods: dict[str, Any], site_text: str = "") -> ClusterServing:
    site, mistakes = check_site_text(f"name: lab\nprovider: libvirt\n{site_text}", Path("ai-how.yaml"))
    assert site is not None, mistakes
    setting = setting_of(site, "cloud", load_set("current").versions)
    stack = SimpleNamespace(
        site=site, cluster="cloud", setting=setting, api=Api(list(pods)), folder=SiteFolder(root=Path("lab"))
    )
    return ClusterServing(stack, ExitStack())  # type: ignore[arg-type]


def pod_of(endpoint: str) -> dict[str, Any]:
    pod = api_pod("t4", 1)
    return {**pod, "metadata": {**pod["metadata"], "labels": {"ai-how/endpoint": endpoint}}}


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "registered_memory", lambda version, access, base: model(SMALL))
    monkeypatch.setattr(ClusterServing, "stores", lambda self: SimpleNamespace(access=None))


@pytest.mark.parametrize(("endpoint", "gpu"), [("chat", "nvidia_t4"), ("other", "nvidia_rtx_a6000")])
def test_an_endpoint_stays_where_its_own_pod_is(endpoint: str, gpu: str) -> None:
    spec = cluster(pod_of(endpoint)).make_spec(
        "chat", version("chat"), hardware=Hardware(accelerator="auto"), autoscaling=Autoscaling()
    )
    assert spec.hardware == Hardware(accelerator=gpu)


def test_a_model_that_the_nodes_cannot_keep_is_refused() -> None:
    where = cluster(site_text="serving: {node_cache_gib: 10}\n")
    wish = {"hardware": Hardware(accelerator="auto"), "autoscaling": Autoscaling()}
    half = replace(version("chat"), size_bytes=6 * 2**30)
    assert where.make_spec("chat", half, **wish).model_name == "chat"  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="chat does not fit into the nodes' cache") as caught:
        where.make_spec("chat", half, base=replace(half, name="base"), **wish)  # type: ignore[arg-type]
    assert caught.value.evidence == "its files take 12.0 GiB, serving.node_cache_gib is 10"
