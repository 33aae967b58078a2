"""The charts themselves, where they are: their keys, and what Helm makes of them with our values.

CHARTS_DIR holds each chart of the release sets, with its subcharts, in a folder <name>-<version>.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ai_how.stack.chart_images import images_of
from ai_how.stack.chart_values import chart_keys, known_keys, unknown_values
from ai_how.stack.checks.fit import check_objects
from ai_how.stack.checks.schemas import load_kinds
from ai_how.stack.objects import Chart
from ai_how.stack.part import Part
from ai_how.stack.requests import Request, cpu_m, memory_mib, total
from ai_how.stack.stack import render_parts
from tests.stacks import VARIANTS, objects_of, pods_of, setting, what_restricted_refuses

FOLDER = os.environ.get("CHARTS_DIR", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="CHARTS_DIR does not name a folder with unpacked charts")
RELEASES = ("current", "2025.10")
BY_OPERATORS = {"prometheus", "alertmanager", "nvidia-gpu-node", "ai-how-nginx", "mlflow-db"}
"""Pods that an operator makes, not the chart."""


def parts(variant: str, release: str) -> tuple[Part, ...]:
    return render_parts(setting(variant, release=release, mlflow="3.18.0"))


def folder_of(chart: Chart) -> Path:
    folder = Path(FOLDER) / f"{chart.name}-{chart.version}"
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not in CHARTS_DIR")
    return folder


@pytest.mark.parametrize("release", RELEASES)
def test_the_kept_keys_are_those_of_the_charts(release: str) -> None:
    for part in parts("document", release):
        for chart in part.component.charts:
            keys = chart_keys(folder_of(chart))
            assert known_keys(chart) == keys, f"run scripts/chart_values.py: {chart.name} {chart.version}"
            assert unknown_values(chart.values, keys, chart=chart.release) == ()


def rendered(chart: Chart) -> list[Mapping[str, Any]]:
    """What Helm makes of a chart, hooks too."""
    helm = pytest.importorskip("helm_python", reason="helm_python is not installed: pip install helm-python-sdk")
    with helm.Chart.load(str(folder_of(chart))) as loaded:
        loaded.validate_schema(dict(chart.values))
        made = loaded.render(dict(chart.values), name=chart.release, namespace=chart.namespace)
    yaml = YAML(typ="safe", pure=True)
    found: list[Mapping[str, Any]] = []
    for name, text in made.items():
        if name.endswith((".yaml", ".yml")):
            # as Helm itself takes documents apart
            documents = re.split(r"(?:^|\n)---", text)
            # definitions of kinds make no pods, and there are many lines of them
            wanted = [each for each in documents if each.strip() and "kind: CustomResourceDefinition" not in each]
            found += [thing for each in wanted for thing in [yaml.load(each)] if thing]
    return found


def asked(pod: Mapping[str, Any]) -> Request:
    return total(
        Request(
            cpu_m=cpu_m(container["resources"]["requests"]["cpu"]),
            memory_mib=memory_mib(container["resources"]["requests"]["memory"]),
        )
        for container in pod["containers"]
    )


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_pods_ask_for_what_we_say_and_keep_to_their_namespace(variant: str, release: str) -> None:
    whole = parts(variant, release)
    levels = {
        thing["metadata"]["name"]: thing["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for thing in objects_of(whole, "Namespace")
    }
    for part in whole:
        said = {pod.name: (pod.request.cpu_m, pod.request.memory_mib) for pod in part.workloads}
        made = {}
        for chart in part.component.charts:
            for thing, template in pods_of(rendered(chart)):
                pod = template["spec"]
                if levels[chart.namespace] == "restricted":
                    assert what_restricted_refuses(pod) == [], thing["metadata"]["name"]
                if thing["kind"] != "Job":
                    request = asked(pod)
                    made[thing["metadata"]["name"]] = (request.cpu_m, request.memory_mib)
        if part.component.charts:
            assert made == {name: request for name, request in said.items() if name not in BY_OPERATORS}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_charts_make_is_what_its_kinds_take(variant: str) -> None:
    """Kinds that no extract of schemas has are left out; so is nothing at all, which the API drops."""
    kinds = load_kinds()
    for part in parts(variant, "current"):
        for chart in part.component.charts:
            things = [without_nothing(thing) for thing in rendered(chart)]
            known = [thing for thing in things if (thing["apiVersion"], thing["kind"]) in kinds]
            assert [str(each) for each in check_objects(known, kinds)] == []


def without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nothing(each) for key, each in value.items() if each is not None}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_awaited_of_charts_is_what_they_make(release: str) -> None:
    for part in parts("document", release):
        if not part.component.charts:
            continue
        things = [thing for chart in part.component.charts for thing in rendered(chart)]
        made = {(thing["kind"], thing["metadata"]["name"]) for thing in (*things, *part.component.objects)}
        assert {(each.kind, each.name) for each in part.component.awaited} <= made, part.name


@pytest.mark.parametrize("release", RELEASES)
def test_the_images_of_every_pod_and_of_what_operators_make_are_found(release: str) -> None:
    found: set[str] = set()
    for part in parts("document", release):
        for chart in part.component.charts:
            made = rendered(chart)
            images = images_of(made)
            named = {container["image"] for _, pod in pods_of(made) for container in pod["spec"]["containers"]}
            assert named <= set(images)
            found.update(images)
    names = {image.rpartition(":")[0] for image in found}
    by_operators = {"quay.io/prometheus/prometheus", "ghcr.io/nginx/nginx-gateway-fabric/nginx"}
    by_operators |= {"kserve/storage-initializer", "nvcr.io/nvidia/k8s-device-plugin"}
    assert by_operators <= names
