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


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("image: quay.io/a/a:1\nmatcher: =", (Image(reference="quay.io/a/a:1"),)),
        ("# nothing", ()),
        ("image: quay.io/a/a:1\n---\nkind: CustomResourceDefinition\nbad: [", (Image(reference="quay.io/a/a:1"),)),
    ],
)
def test_what_helm_prints_is_read_as_kubernetes_reads_it(
    tmp_path: Path, printed: str, found: tuple[Image, ...]
) -> None:
    assert chart_images([CHART], printing(tmp_path, printed), kubernetes="1.35.4") == found


@pytest.mark.parametrize("printed", ["image: [", "just text"])
def test_what_is_no_object_is_told_with_its_chart(tmp_path: Path, printed: str) -> None:
    with pytest.raises(ProviderError, match="what Helm made of chart it holds no objects"):
        chart_images([CHART], printing(tmp_path, printed), kubernetes="1.35.4")


def printing(folder: Path, text: str) -> OneChart:
    """A Helm that prints this document, whatever it is asked for."""
    supply = OneChart(folder=folder, parts=())
    program = folder / "helm"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n---\n{text}\nEND\n")
    program.chmod(0o755)
    return supply
