"""Which images charts run, by a program in Helm's place that takes the same words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from ai_how.bundles.wanted import Image
from ai_how.errors import ProviderError
from ai_how.rollout.chart_images import chart_images
from ai_how.stack.objects import Chart
from ai_how.stack.part import Part

from .stack_world import FakeSupply

DIGEST = "sha256:" + "0f" * 32


@dataclass
class OneChart(FakeSupply):
    """A chart of three objects."""

    def chart(self, chart: Chart) -> Path:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
        things = [
            {**pod, "spec": {"containers": [{"name": "a", "image": "quay.io/a/a:1"}]}},
            {**pod, "spec": {"containers": [{"name": "b", "image": f"quay.io/b/b:1@{DIGEST}"}]}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"text": "one\n---\ntwo"}},
        ]
        file = self.file(chart.release)
        file.write_text(json.dumps(things))
        return file


CHART = Chart(name="it", release="it", namespace="here", repository="https://charts.example", version="1")


@pytest.fixture
def supply(tmp_path: Path) -> OneChart:
    parts: tuple[Part, ...] = ()
    return OneChart(folder=tmp_path, parts=parts)


def test_the_images_of_what_helm_makes(supply: OneChart) -> None:
    found = chart_images([CHART, CHART], supply, kubernetes="1.35.4")
    assert found == (Image(reference="quay.io/a/a:1"), Image(reference="quay.io/b/b:1", digest=DIGEST))


def test_a_chart_that_helm_cannot_make_is_told(supply: OneChart) -> None:
    supply.file("it").with_name("it.json.fail").write_text("no password")
    with pytest.raises(ProviderError, match="helm failed with exit code 1") as caught:
        chart_images([CHART], supply, kubernetes="1.35.4")
    assert "no password" in caught.value.evidence
