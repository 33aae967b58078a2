"""The whole stack on an API server: applied, applied again, changed, shared with another owner, and removed.

The stand-in always, a real server where ``KUBEBUILDER_ASSETS`` names its programs. Charts are not installed here: the
kinds that they bring are served from the extracts of their schemas.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_how.kubernetes_api.apply import apply_objects, plan_objects
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.generated import make_secret
from ai_how.kubernetes_api.marks import Mark
from ai_how.kubernetes_api.objects import ref_of
from ai_how.kubernetes_api.plans import OnConflict, Verb
from ai_how.kubernetes_api.removal import Marked, marked_objects, remove_marked
from ai_how.kubernetes_api.waiting import wait_until_served
from ai_how.releases import Solution
from ai_how.releases.site_pins import solve_site
from ai_how.site.load import check_site_text
from ai_how.stack.part import Part
from ai_how.stack.stack import render_stack

from .api_endpoint import MERGE, LittleControllers
from .api_server import stand_in
from .definitions import definitions
from .real_api_server import real_api_server

SITE = """\
name: lab
provider: libvirt
clusters:
  cloud:
    nodes: [{role: control-plane}, {role: cpu-worker}, {role: gpu-worker}]
"""


@pytest.fixture(scope="module", params=["stand-in", "real"])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server that has the charts' kinds."""
    folder = tmp_path_factory.mktemp("api")
    with contextlib.ExitStack() as stack:
        if request.param == "real":
            endpoint = stack.enter_context(real_api_server(folder))
        else:
            endpoint, _ = stack.enter_context(stand_in(folder))
        client = _with_kinds(endpoint.client())
        stack.enter_context(LittleControllers(endpoint))
        yield client


def _with_kinds(client: Client) -> Client:
    for definition in definitions():
        client.create(definition)
        for version in definition["spec"]["versions"]:
            api_version = f"{definition['spec']['group']}/{version['name']}"
            wait_until_served(client, api_version, definition["spec"]["names"]["kind"], timeout_s=60)
    return client


@pytest.fixture(scope="module")
def parts() -> tuple[Part, ...]:
    """The parts of the stack as the current release set has it."""
    site, mistakes = check_site_text(SITE, Path("ai-how.yaml"))
    assert site is not None, mistakes
    solution = solve_site(site)
    assert isinstance(solution, Solution)
    return render_stack(site, "cloud", solution.versions)


def mark(part: Part) -> Mark:
    return Mark(site="lab", component=part.name)


@pytest.mark.timeout(600)
def test_the_whole_stack_applied_changed_and_removed(client: Client, parts: tuple[Part, ...]) -> None:
    is_old = [int(number) for number in client.version().split(".")[:2]] < [1, 22]
    things = {
        part.name: [as_before_1_22(thing) if is_old else thing for thing in part.component.objects] for part in parts
    }
    site = Mark(site="lab")
    nothing = Marked(objects=())
    (first,) = (part for part in parts if part.name == "namespaces")
    apply_objects(client, things[first.name], mark(first), there=nothing)
    for part in parts:
        for secret in part.component.secrets:
            make_secret(
                client,
                secret.name,
                namespaces=[secret.namespace, *secret.also_in],
                random=secret.random,
                texts=secret.texts,
                mark=mark(part),
            )
        apply_objects(client, things[part.name], mark(part), there=nothing)
    # the second time changes nothing
    before = versions(client, parts)
    there = marked_objects(client, site)
    for part in parts:
        plan = plan_objects(client, things[part.name], mark(part), there=there)
        assert plan.is_empty, plan
    # a value is changed, and only that
    mlflow = next(part for part in parts if part.name == "mlflow")
    index, deployment = next((i, t) for i, t in enumerate(things["mlflow"]) if t["kind"] == "Deployment")
    things["mlflow"][index] = with_replicas(deployment, 2)
    plan = apply_objects(client, things["mlflow"], mark(mlflow), there=there)
    assert [(change.ref.kind, [field.path for field in change.fields]) for change in plan.of(Verb.CHANGE)] == [
        ("Deployment", ["spec.replicas"])
    ]
    after = versions(client, parts)
    assert [ref for ref in after if after[ref] != before[ref]] == [str(ref_of(deployment))]
    # an autoscaler takes the replicas: they are left to it
    ref = ref_of(deployment)
    path = client.kinds.find(ref.api_version, ref.kind).path(ref.namespace, ref.name)
    query = {"fieldManager": "autoscaler"}
    body = {"spec": {"replicas": 5}}
    client.connection.ask("PATCH", path, what="scale", query=query, body=body, content_type=MERGE)
    apply_objects(client, things["mlflow"], mark(mlflow), on_conflict=OnConflict.LEAVE, there=there)
    live = client.get(ref)
    assert live is not None
    assert live["spec"]["replicas"] == 5
    # one part goes and takes nothing along, then everything
    remove_marked(client, mark(mlflow), data=True)
    assert {one.thing["metadata"]["labels"]["ai-how/component"] for one in marked_objects(client, site).objects} == {
        part.name for part in parts if part.component.objects and part.name != "mlflow"
    }
    assert remove_marked(client, site, data=True).kept == ()
    assert marked_objects(client, site).objects == ()


def versions(client: Client, parts: tuple[Part, ...]) -> dict[str, str]:
    found = {}
    for part in parts:
        for thing in part.component.objects:
            live = client.get(ref_of(thing))
            assert live is not None, ref_of(thing)
            found[str(ref_of(thing))] = live["metadata"]["resourceVersion"]
    return found


def as_before_1_22(thing: Any) -> Any:
    """A policy's range of ports came with Kubernetes 1.22, and servers before read a custom resource's empty text as
    null; the stack itself is for newer ones."""
    if isinstance(thing, dict):
        kept = {key: as_before_1_22(value) for key, value in thing.items() if key != "endPort"}
        return {**kept, "group": kept["group"] or "core"} if "group" in kept else kept
    return [as_before_1_22(value) for value in thing] if isinstance(thing, list | tuple) else thing


def with_replicas(deployment: Any, replicas: int) -> dict[str, Any]:
    return {**deployment, "spec": {**deployment["spec"], "replicas": replicas}}
