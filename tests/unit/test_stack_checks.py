"""Objects are checked against their kinds without a cluster, as an API server with strict field validation would."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.releases import Solution, load_set
from ai_how.releases.site_pins import solve_site
from ai_how.site.load import check_site_text
from ai_how.stack.checks.fit import check_objects
from ai_how.stack.checks.schemas import load_extracts, load_kinds, read_extract, write_extract
from ai_how.stack.stack import render_stack

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "mlflow", "namespace": "mlops", "labels": {"app": "mlflow"}},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "mlflow"}},
        "template": {
            "metadata": {"labels": {"app": "mlflow"}},
            "spec": {
                "containers": [
                    {
                        "name": "server",
                        "image": "example.org/mlflow:3.18.0",
                        "ports": [{"containerPort": 5000, "protocol": "TCP"}],
                        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}},
                        "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
                    }
                ]
            },
        },
    },
}
SERVICE_MONITOR: dict[str, Any] = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "ServiceMonitor",
    "metadata": {"name": "mlflow", "namespace": "mlops"},
    "spec": {"selector": {"matchLabels": {"app": "mlflow"}}, "endpoints": [{"port": "http", "interval": "30s"}]},
}
CLUSTER_POLICY: dict[str, Any] = {
    "apiVersion": "nvidia.com/v1",
    "kind": "ClusterPolicy",
    "metadata": {"name": "cluster-policy"},
    "spec": {
        "operator": {"defaultRuntime": "containerd"},
        "daemonsets": {},
        "dcgm": {},
        "dcgmExporter": {},
        "devicePlugin": {},
        "driver": {"enabled": False},
        "gfd": {},
        "nodeStatusExporter": {},
        "toolkit": {},
    },
}


def changed(thing: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    other = copy.deepcopy(thing)
    change(other)
    return other


def container(thing: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = thing["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("thing", [DEPLOYMENT, SERVICE_MONITOR, CLUSTER_POLICY], ids=lambda thing: thing["kind"])
def test_what_fits_has_no_mistakes(thing: dict[str, Any]) -> None:
    assert check_objects([thing]) == []


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (lambda d: container(d).update(imgae="x"), "spec.template.spec.containers[0].imgae", "did you mean image?"),
        (lambda d: d["spec"].update(replicas="2"), "spec.replicas", "is a text, and must be a whole number"),
        (lambda d: d["spec"].pop("selector"), "spec.selector", "is missing"),
        (lambda d: d["metadata"].update(lables={}), "metadata.lables", "did you mean labels?"),
        (lambda d: d["spec"].update(paused="no"), "spec.paused", "must be true or false"),
        (lambda d: d["spec"]["template"].update(spec=[]), "spec.template.spec", "is a list, and must be an object"),
        (
            lambda d: container(d)["resources"]["requests"].update(memory="1Gib"),
            "spec.template.spec.containers[0].resources.requests.memory",
            "does not match",
        ),
        (
            lambda d: container(d)["readinessProbe"]["httpGet"].update(port=[80]),
            "spec.template.spec.containers[0].readinessProbe.httpGet.port",
            "must be a number or a text",
        ),
        (
            lambda d: container(d)["ports"].append({"containerPort": 5000, "protocol": "TCP"}),
            "spec.template.spec.containers[0].ports[1]",
            "has the same containerPort, protocol",
        ),
        (lambda d: container(d).update(image=None), "spec.template.spec.containers[0].image", "null"),
        (lambda d: d["metadata"].pop("name"), "metadata.name", "is missing"),
        (lambda d: d["metadata"].pop("namespace"), "metadata.namespace", "is missing"),
        (lambda d: d.update(apiVersion="apps/v1beta1"), "apiVersion", "it is known as apps/v1"),
        (lambda d: d.update(kind="Deploiment"), "apiVersion", "no extract of schemas has it"),
    ],
)
def test_each_mistake_is_named_at_its_place(change: Callable[[dict[str, Any]], object], path: str, words: str) -> None:
    (mistake,) = check_objects([changed(DEPLOYMENT, change)])
    assert mistake.path == path
    assert words in mistake.message


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda d: d["spec"]["endpoints"][0].update(intervall="30s"), "spec.endpoints[0].intervall"),
        (lambda d: d["spec"]["endpoints"][0].update(interval="30 seconds"), "spec.endpoints[0].interval"),
        (lambda d: d["metadata"].update(foo=1), "metadata.foo"),
        (lambda d: d["spec"].pop("selector"), "spec.selector"),
    ],
)
def test_custom_resources_are_held_to_their_own_definition(
    change: Callable[[dict[str, Any]], object], path: str
) -> None:
    assert [mistake.path for mistake in check_objects([changed(SERVICE_MONITOR, change)])] == [path]


def test_what_lies_in_no_namespace_must_name_none() -> None:
    (mistake,) = check_objects([changed(CLUSTER_POLICY, lambda d: d["metadata"].update(namespace="gpus"))])
    assert str(mistake) == "ClusterPolicy cluster-policy: metadata.namespace: a ClusterPolicy lies in no namespace"


STACKS = {
    "as it comes": "",
    "all that it has": "stack: {object_store: {type: minio}, access: {type: load-balancer}, gpus: {time_slices: 4}}",
    "outside": "stack: {"
    "object_store: {type: external, endpoint_url: 'https://s3.example.org', credentials_secret: s3}, "
    "database: {type: external, url: 'postgresql://m@db.example.org:5432/d', password_secret: db}, "
    "access: {issuer: acme, acme_email: admin@example.org}}",
}


@pytest.mark.parametrize("keys", STACKS.values(), ids=STACKS)
def test_everything_that_is_rendered_for_a_cluster_fits(keys: str) -> None:
    nodes = "nodes: [{role: control-plane}, {role: cpu-worker}, {role: gpu-worker}]"
    text = f"name: lab\nprovider: libvirt\nclusters:\n  cloud:\n    {keys or 'kind: cloud'}\n    {nodes}\n"
    site, mistakes = check_site_text(text, Path("ai-how.yaml"))
    assert site is not None, mistakes
    solution = solve_site(site)
    assert isinstance(solution, Solution)
    parts = render_stack(site, "cloud", solution.versions)
    things = [thing for part in parts for thing in part.component.objects]
    assert len(things) > 50
    assert [str(misfit) for misfit in check_objects(things)] == []


def test_what_a_definition_preserves_is_kept() -> None:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "whole": {"type": "object", "x-kubernetes-embedded-resource": True, "properties": {}},
                    "port": {"x-kubernetes-int-or-string": True},
                },
            }
        },
    }
    extract = read_extract(write_extract("x", "1", "test", [("x.org/v1", "Thing", True, schema)]))
    thing = {
        "apiVersion": "x.org/v1",
        "kind": "Thing",
        "metadata": {"name": "a"},
        "spec": {"free": {"any": [1]}, "whole": {"kind": "Pod", "metadata": {}}, "port": 80},
    }
    assert check_objects([thing], extract.kinds) == []
    thing["spec"] = {"whole": {"spec": {}}, "port": 1.5, "free": []}
    assert sorted(m.path for m in check_objects([thing], extract.kinds)) == [
        "spec.free",
        "spec.port",
        "spec.whole.spec",
    ]


def test_a_type_that_holds_itself_is_written_once() -> None:
    schema = {"$ref": "#/$defs/x.Node"}
    definitions = {
        "x.Node": {
            "type": "object",
            "properties": {"child": {"$ref": "#/$defs/x.Node"}, "name": {"type": "string"}},
        }
    }
    extract = read_extract(write_extract("x", "1", "test", [("v1", "Node", False, schema)], definitions))
    found = extract.kinds["v1", "Node"]
    deep = found.field("child").field("child").field("name")  # type: ignore[union-attr]
    assert deep is not None
    assert deep.facts == {"type": "string"}


NAMES = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=12)


@given(st.data())
def test_a_field_of_no_kind_is_found_anywhere(data: st.DataObject) -> None:
    """Wherever an object has fields of a known type, one more that the type lacks is found."""
    thing = copy.deepcopy(DEPLOYMENT)
    places: list[tuple[str, dict[str, Any]]] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            if not path.endswith(("labels", "matchLabels", "requests")):
                places.append((path, value))
            for key, part in value.items():
                walk(part, f"{path}.{key}" if path else key)
        elif isinstance(value, list):
            for index, part in enumerate(value):
                walk(part, f"{path}[{index}]")

    walk(thing, "")
    path, place = data.draw(st.sampled_from(places))
    name = "zz" + data.draw(NAMES)
    place[name] = data.draw(st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers())))
    assert [m.path for m in check_objects([thing])] == [f"{path}.{name}" if path else name]


def test_the_extracts_are_of_the_current_release_set() -> None:
    versions = {extract.project: extract.version for extract in load_extracts()}
    current = load_set("current").versions
    # the operator's own version is not the chart's; kubernetes-validate carries the first patch release of each minor
    versions.pop("prometheus-operator")
    assert versions.pop("kubernetes").split(".")[:2] == str(current["kubernetes"]).split(".")[:2]
    assert versions == {project: str(current[project]) for project in versions}


def test_every_kind_says_where_it_is_from() -> None:
    assert len(load_kinds()) == sum(len(extract.kinds) for extract in load_extracts())
    assert all(extract.source for extract in load_extracts())


def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "kubernetes_schemas.py"
    spec = importlib.util.spec_from_file_location("kubernetes_schemas", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif("AI_HOW_CRDS" not in os.environ, reason="AI_HOW_CRDS names no folder of CustomResourceDefinitions")
def test_the_extracts_are_what_the_definitions_say() -> None:
    made = script()
    folders = sorted(path for path in Path(os.environ["AI_HOW_CRDS"]).iterdir() if path.is_dir())
    assert folders
    for folder in folders:
        file = made.OUT / f"{folder.name.rpartition('-')[0]}.json"
        assert file.read_text(encoding="utf-8") == made.custom_extract(folder), folder.name


@pytest.mark.skipif(
    "KUBERNETES_DEFINITIONS" not in os.environ, reason="KUBERNETES_DEFINITIONS names no _definitions.json of Kubernetes"
)
def test_the_extract_of_kubernetes_is_what_its_definitions_say() -> None:
    made = script()
    definitions = json.loads(Path(os.environ["KUBERNETES_DEFINITIONS"]).read_text(encoding="utf-8"))["$defs"]
    version = next(extract.version for extract in load_extracts() if extract.project == "kubernetes")
    assert (made.OUT / "kubernetes.json").read_text(encoding="utf-8") == made.core_extract(definitions, version)
