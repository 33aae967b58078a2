"""The stack's parts: what they render holds together, keeps no secret, lets nothing through, and fits."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.bundles.wanted import Chart, File, Image
from ai_how.errors import NotFoundError, SpecError
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.order import is_custom
from ai_how.releases import set_names
from ai_how.site.load import check_site_text
from ai_how.site.stack import CHARTS, IMAGES
from ai_how.stack.alerts import alerts
from ai_how.stack.checks.fit import check_objects
from ai_how.stack.components.observability import boards
from ai_how.stack.objects import Component
from ai_how.stack.part import Part
from ai_how.stack.promql import known_metrics, metrics_of
from ai_how.stack.stack import in_order, render_parts, render_stack
from ai_how.stack.upstream import at_least, image, known, merged
from ai_how.stack.wants import stack_wants
from tests.stacks import HEAD, VARIANTS, objects_of, part_of, pods_of, setting, what_restricted_refuses

EXTERNAL_SECRETS = {"s3", "db", "mlflow-db-app"}


@pytest.fixture(params=VARIANTS)
def parts(request: pytest.FixtureRequest) -> tuple[Part, ...]:
    return render_parts(setting(request.param))


def test_every_object_is_what_its_kind_takes(parts: tuple[Part, ...]) -> None:
    assert [str(each) for part in parts for each in check_objects(part.component.objects)] == []


def test_names_are_there_once_and_in_a_namespace_of_the_stack(parts: tuple[Part, ...]) -> None:
    spaces = {thing["metadata"]["name"] for thing in objects_of(parts, "Namespace")}
    seen = set()
    for part in parts:
        for thing in part.component.objects:
            space = thing["metadata"].get("namespace", "")
            assert not space or space in spaces, thing
            place = (thing["kind"], space, thing["metadata"]["name"])
            assert place not in seen
            seen.add(place)
        assert {chart.namespace for chart in part.component.charts} <= spaces
        assert {secret.namespace for secret in part.component.secrets} <= spaces


def test_every_namespace_is_closed(parts: tuple[Part, ...]) -> None:
    spaces = {thing["metadata"]["name"] for thing in objects_of(parts, "Namespace")}
    closed = {
        thing["metadata"]["namespace"]
        for thing in objects_of(parts, "NetworkPolicy")
        if thing["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    }
    assert closed == spaces


def test_our_pods_keep_to_the_level_of_their_namespace(parts: tuple[Part, ...]) -> None:
    levels = {
        thing["metadata"]["name"]: thing["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for thing in objects_of(parts, "Namespace")
    }
    things = [thing for part in parts for thing in part.component.objects]
    for thing, template in pods_of(things):
        if levels[thing["metadata"]["namespace"]] == "restricted":
            assert what_restricted_refuses(template["spec"]) == [], thing["metadata"]["name"]


def test_our_pods_say_what_they_need_and_what_ends_them(parts: tuple[Part, ...]) -> None:
    for thing, template in pods_of([thing for part in parts for thing in part.component.objects]):
        for container in (*template["spec"].get("initContainers", ()), *template["spec"]["containers"]):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), thing["metadata"]["name"]
            assert "memory" in resources["limits"] and "cpu" not in resources["limits"]
            if thing["kind"] != "Job" and container in template["spec"]["containers"]:
                assert "readinessProbe" in container


def test_services_and_monitors_name_ports_that_pods_have(parts: tuple[Part, ...]) -> None:
    things = [thing for part in parts for thing in part.component.objects]
    named = {
        (thing["metadata"]["namespace"], template["metadata"]["labels"]["app.kubernetes.io/name"], port["name"])
        for thing, template in pods_of(things)
        for container in template["spec"]["containers"]
        for port in container.get("ports", ())
    }
    apps = {(space, app) for space, app, _ in named}
    asked = [
        (thing["metadata"]["namespace"], thing["spec"]["selector"]["app.kubernetes.io/name"], port["targetPort"])
        for thing in objects_of(parts, "Service")
        for port in thing["spec"]["ports"]
    ]
    for thing in objects_of(parts, "PodMonitor"):
        app = thing["spec"]["selector"].get("matchLabels", {}).get("app.kubernetes.io/name", "")
        space = thing["metadata"]["namespace"]
        if (space, app) in apps:
            asked += [(space, app, each["port"]) for each in thing["spec"]["podMetricsEndpoints"]]
    assert asked and set(asked) <= named


def test_secrets_are_made_in_the_cluster_and_in_no_object(parts: tuple[Part, ...]) -> None:
    made = {
        (space, secret.name): {*secret.random, *secret.texts}
        for part in parts
        for secret in part.component.secrets
        for space in (secret.namespace, *secret.also_in)
    }
    assert objects_of(parts, "Secret") == []
    for thing, template in pods_of([thing for part in parts for thing in part.component.objects]):
        for container in (*template["spec"].get("initContainers", ()), *template["spec"]["containers"]):
            for variable in container.get("env", ()):
                found = variable.get("valueFrom", {}).get("secretKeyRef")
                if found is None:
                    assert not re.search("PASSWORD|SECRET", variable["name"]), variable
                elif found["name"] not in EXTERNAL_SECRETS:
                    assert found["key"] in made[thing["metadata"]["namespace"], found["name"]]


def test_logins_and_backups_name_secrets_that_are_made(parts: tuple[Part, ...]) -> None:
    made = {f"{secret.namespace}/{secret.name}" for part in parts for secret in part.component.secrets}
    for part in parts:
        assert {address.login for address in part.addresses if address.login} <= made
        assert all(address.url.startswith("https://") for address in part.addresses)


def test_each_part_comes_behind_those_that_it_needs(parts: tuple[Part, ...]) -> None:
    seen: set[str] = set()
    for part in parts:
        assert set(part.component.needs) <= seen, part.name
        seen.add(part.name)


@given(
    edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda edge: edge[0] < edge[1])),
    order=st.permutations(range(8)),
)
def test_any_order_without_circles_is_found(edges: list[tuple[int, int]], order: list[int]) -> None:
    needs = {number: tuple(str(first) for first, then in edges if then == number) for number in order}
    found = in_order(
        [
            Part(title="", version="", component=Component(name=str(number), namespace="", needs=needs[number]))
            for number in order
        ]
    )
    seen: set[str] = set()
    for part in found:
        assert set(part.component.needs) <= seen
        seen.add(part.name)
    assert len(seen) == 8


def test_no_custom_resource_counts_as_well_before_its_controller_has_seen_it(parts: tuple[Part, ...]) -> None:
    """PostgreSQL's did, and MLflow started without a database."""
    for awaited in (each for part in parts for each in part.component.awaited):
        if is_custom(Ref(api_version=awaited.api_version, kind=awaited.kind, namespace="", name=awaited.name)):
            assert awaited.condition, awaited


def test_a_circle_is_an_error() -> None:
    circle = [
        Part(title="", version="", component=Component(name=name, namespace="", needs=(other,)))
        for name, other in (("a", "b"), ("b", "a"))
    ]
    with pytest.raises(ValueError, match="no order for a, b"):
        in_order(circle)


def test_without_a_stack_there_is_none() -> None:
    text = HEAD + "clusters: {cloud: {stack: {enabled: false}}}\n"
    site, _ = check_site_text(text, Path("f"))
    assert site is not None
    assert render_stack(site, "cloud", {}) == ()
    site, _ = check_site_text(HEAD + "clusters: {cloud: {kubernetes: {enabled: false}}}\n", Path("f"))
    assert site is not None
    assert render_stack(site, "cloud", {}) == ()


def test_a_version_that_the_set_lacks_is_named() -> None:
    wanted = setting()
    less = dataclasses.replace(wanted, versions={k: v for k, v in wanted.versions.items() if k != "kserve"})
    with pytest.raises(NotFoundError, match="the release set has no kserve"):
        render_parts(less)


def test_an_operator_without_a_known_chart_is_an_error() -> None:
    with pytest.raises(SpecError, match=r"no chart of cloudnative-pg 1\.28\.4 is known"):
        render_parts(setting(**{"cloudnative-pg": "1.28.4"}))


@pytest.mark.parametrize("release", set_names())
def test_every_release_set_can_be_rendered(release: str) -> None:
    parts = render_parts(setting(release=release, mlflow="3.18.0"))
    assert part_of(parts, "kserve").component.charts


def test_an_old_mlflow_has_no_image_that_would_do() -> None:
    with pytest.raises(SpecError) as found:
        render_parts(setting(release="2025.10"))
    assert "PostgreSQL driver" in found.value.evidence
    assert 'pins: {mlflow: ">=3.9"}' in found.value.next_step


def test_an_image_of_the_site_comes_first() -> None:
    wanted = setting()
    mine = wanted.stack.model_copy(update={"images": {"mlflow": "registry.example.org/mlflow:1"}})
    assert image("mlflow", dataclasses.replace(wanted, stack=mine)) == "registry.example.org/mlflow:1"


def test_the_site_file_knows_the_names_of_charts_and_images() -> None:
    assert set(known("charts")) == set(CHARTS)
    assert set(known("images")) == set(IMAGES)


def test_kserve_runs_without_knative() -> None:
    def mode(release: str) -> str:
        chart = part_of(render_parts(setting(release=release, mlflow="3.18.0")), "kserve").component.charts[1]
        return str(chart.values["kserve"]["controller"]["deploymentMode"])

    assert (mode("current"), mode("2025.10")) == ("Standard", "RawDeployment")


@pytest.mark.parametrize(
    ("variant", "guest", "enabled"),
    [
        ("document", "debian-13", False),
        ("document", "ubuntu-24.04", True),
        ("external", "debian-13", True),
    ],
)
def test_the_driver_comes_from_the_image_on_debian(variant: str, guest: str, enabled: bool) -> None:
    values = part_of(render_parts(setting(variant, guest=guest)), "gpu-operator").component.charts[0].values
    assert values["driver"]["enabled"] is enabled


def test_cards_are_shared_as_the_site_says() -> None:
    shared = part_of(render_parts(setting("other-ways")), "gpu-operator").component.charts[0].values
    config = json.loads(shared["devicePlugin"]["config"]["data"]["any"])
    assert config["sharing"]["timeSlicing"]["resources"] == [{"name": "nvidia.com/gpu", "replicas": 4}]
    split = part_of(render_parts(setting("external")), "gpu-operator")
    assert split.component.charts[0].values["migManager"] == {"enabled": True}
    assert split.node_labels == {"nvidia.com/mig.config": "all-1g.10gb"}
    assert part_of(render_parts(setting()), "gpu-operator").node_labels == {}


def test_no_gpus_no_operator() -> None:
    parts = render_parts(setting("without-gpus"))
    assert "gpu-operator" not in [part.name for part in parts]
    assert not any("DCGM" in alert.expr for alert in alerts(setting("without-gpus")))


def mlflow_server(variant: str) -> dict[str, Any]:
    (thing,) = (
        thing
        for thing in objects_of(render_parts(setting(variant)), "Deployment")
        if thing["metadata"]["name"] == "mlflow"
    )
    container: dict[str, Any] = thing["spec"]["template"]["spec"]["containers"][0]
    return container


def test_mlflow_answers_to_its_own_names_alone() -> None:
    command = mlflow_server("document")["command"]
    hosts = command[command.index("--allowed-hosts") + 1].split(",")
    assert {"mlflow.ai-how.internal:30443", "mlflow.mlops.svc:5000"} <= set(hosts)
    # what a tunnel of the workstation's own is called; no page can have that name
    assert [host for host in hosts if "*" in host] == ["127.0.0.1:*"]
    (monitor,) = (
        thing for thing in objects_of(render_parts(setting()), "PodMonitor") if thing["metadata"]["name"] == "mlflow"
    )
    (rule,) = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert rule["targetLabel"] == "__address__" and rule["replacement"] in hosts


@pytest.mark.parametrize(
    ("variant", "address"),
    [
        ("document", "postgresql+psycopg2://mlflow@mlflow-db-rw.mlops.svc:5432/mlflow"),
        ("external", "postgresql+psycopg2://mlflow@db.example.org/registry"),
    ],
)
def test_mlflow_names_its_database_driver(variant: str, address: str) -> None:
    env = {each["name"]: each for each in mlflow_server(variant)["env"]}
    assert env["MLFLOW_BACKEND_STORE_URI"]["value"] == address
    assert "valueFrom" in env["PGPASSWORD"]


def test_an_old_gateway_that_cannot_ask_for_a_login_keeps_mlflow_inside() -> None:
    parts = render_parts(setting(release="2025.10", mlflow="3.18.0"))
    assert part_of(parts, "mlflow").addresses == ()
    assert "mlflow" not in [thing["metadata"]["name"] for thing in objects_of(parts, "HTTPRoute")]
    assert objects_of(parts, "AuthenticationFilter") == []


def test_acme_signs_names_and_others_a_wildcard() -> None:
    def names(variant: str) -> list[str]:
        (found,) = (
            thing
            for thing in objects_of(render_parts(setting(variant)), "Certificate")
            if thing["metadata"]["namespace"] == "gateway"
        )
        return list(found["spec"]["dnsNames"])

    assert names("document") == ["*.ai-how.internal"]
    assert names("other-ways") == [f"{host}.ai.example.org" for host in ("console", "grafana", "mlflow")]


def test_prometheus_never_fills_its_volume() -> None:
    spec = part_of(render_parts(setting()), "monitoring").component.charts[0].values["prometheus"]["prometheusSpec"]
    assert spec["retention"] == "720h"
    assert int(spec["retentionSize"].removesuffix("MB")) < 50 * 1024


def test_every_metric_of_dashboards_and_alerts_is_known_and_every_known_one_is_used() -> None:
    wanted = setting()
    queries = [query for board in boards(wanted) for query in board.queries()]
    queries += [alert.expr for alert in alerts(wanted)]
    used = frozenset[str]().union(*map(metrics_of, queries))
    assert used == known_metrics()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('sum by (pod) (rate(a_total{b="c_total"}[5m])) > 0', {"a_total"}),
        ("a / on (node) group_left (x) b offset 5m", {"a", "b"}),
        ("(up == 0) or absent(up)", {"up"}),
        ('vllm:x_bucket{model_name=~"$model"} and 1 - avg by (instance) (y)', {"vllm:x_bucket", "y"}),
        ("histogram_quantile(0.95, sum by (le) (rate(z_bucket[5m])))", {"z_bucket"}),
        ("time() - t_seconds < 14 * 86400", {"t_seconds"}),
    ],
)
def test_the_metrics_of_a_query_are_found(query: str, names: set[str]) -> None:
    assert metrics_of(query) == names


def test_dashboards_have_places_and_numbers_of_their_own() -> None:
    for thing in objects_of(render_parts(setting()), "ConfigMap"):
        (text,) = thing["data"].values()
        board = json.loads(text)
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            taken |= cells


def test_values_of_the_site_lie_over_ours() -> None:
    assert merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [2]},
        "d": {"e": 1},
    }


def test_versions_are_compared_as_numbers() -> None:
    assert at_least("0.20.0", "0.16") and not at_least("0.15.2", "0.16")


def test_a_bundle_is_told_everything_that_the_stack_names() -> None:
    parts = render_parts(setting())
    wanted = stack_wants(parts)
    assert len(set(wanted)) == len(wanted)
    named = {
        container["image"]
        for _, template in pods_of([thing for part in parts for thing in part.component.objects])
        for container in template["spec"]["containers"]
    } | {thing["spec"]["imageName"] for thing in objects_of(parts, "Cluster")}
    for_endpoints = {image("vllm", setting())}
    images = [each for each in wanted if isinstance(each, Image)]
    pinned = {f"{each.reference}@{each.digest}" if each.digest else each.reference for each in images}
    assert pinned == named | for_endpoints
    # with the date of its build, as the tag without one moves
    assert any("postgresql:18.6-2" in each and "@sha256:" in each for each in pinned)
    assert {each.name for each in wanted if isinstance(each, Chart)} == {
        chart.name for part in parts for chart in part.component.charts
    }
    file, _ = (each for each in wanted if isinstance(each, File))
    assert file.url.endswith("v1.5.1/standard-install.yaml") and file.digest.startswith("sha256:7510")
