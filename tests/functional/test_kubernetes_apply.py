"""Applying objects to an API server: the stand-in always, a real one where ``KUBEBUILDER_ASSETS`` names its programs.

Each test has a namespace, a site and a kind of its own.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Timer
from typing import Any

import pytest

from ai_how.errors import AiHowError, ConflictError, ProviderError, SpecError, TryAgainError
from ai_how.kubernetes_api import waiting
from ai_how.kubernetes_api.apply import apply_objects, apply_plan, plan_objects
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.discovery import UnknownKindError
from ai_how.kubernetes_api.generated import make_secret
from ai_how.kubernetes_api.marks import Mark
from ai_how.kubernetes_api.objects import Ref, ref_of
from ai_how.kubernetes_api.plans import ObjectChange, OnConflict, Verb, plan_lines
from ai_how.kubernetes_api.refusals import FieldConflictError, InvalidObjectError, TerminatingError
from ai_how.kubernetes_api.removal import marked_objects, remove_marked
from ai_how.kubernetes_api.waiting import NotWellError, wait_until_gone, wait_until_well

from .api_endpoint import MERGE, Endpoint, LittleControllers
from .api_server import stand_in
from .real_api_server import real_api_server

NUMBERS = itertools.count(1)
Object = dict[str, Any]


@pytest.fixture(scope="module", params=["stand-in", "real"])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    folder = tmp_path_factory.mktemp("api")
    if request.param == "real":
        with real_api_server(folder) as found, LittleControllers(found):
            yield found
    else:
        with stand_in(folder) as (found, _), LittleControllers(found):
            yield found


@dataclass(frozen=True)
class World:
    """A client, and names that no other test has."""

    client: Client
    name: str

    @property
    def mark(self) -> Mark:
        return Mark(site=self.name, component="mlflow")

    def in_namespace(self, api_version: str, kind: str, name: str, **content: Any) -> Object:
        metadata = {"name": name, "namespace": self.name}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}

    @property
    def namespace(self) -> Object:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}}

    def config(self, name: str = "settings", **data: str) -> Object:
        return self.in_namespace("v1", "ConfigMap", name, data=data or {"mode": "plain"})

    def deployment(self, **container: Any) -> Object:
        one = {
            "name": "server",
            "image": "example.org/mlflow:1",
            "env": [{"name": "A", "value": "1"}],
            "ports": [{"name": "http", "containerPort": 5000}],
            "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
            **container,
        }
        template = {"metadata": {"labels": {"app": "mlflow"}}, "spec": {"containers": [one]}}
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "mlflow"}}, "template": template}
        return self.in_namespace("apps/v1", "Deployment", "mlflow", spec=spec)

    @property
    def definition(self) -> Object:
        schema = {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "properties": {
                        "size": {"type": "integer", "maximum": 3},
                        "port": {"x-kubernetes-int-or-string": True},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                },
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        }
        names = {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"things.{self.name}.example.org"},
            "spec": {
                "group": f"{self.name}.example.org",
                "scope": "Namespaced",
                "names": names,
                "versions": [version],
            },
        }

    def thing(self, **spec: Any) -> Object:
        return self.in_namespace(
            f"{self.name}.example.org/v1", "Thing", "one", spec=spec or {"size": 1, "port": "http"}
        )

    def job(self, image: str) -> Object:
        spec = {"containers": [{"name": "smoke", "image": image}], "restartPolicy": "Never"}
        return self.in_namespace("batch/v1", "Job", "smoke", spec={"template": {"spec": spec}})

    def everything(self) -> list[Object]:
        secret = self.in_namespace("v1", "Secret", "words", stringData={"password": "open sesame"})
        port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
        service = self.in_namespace("v1", "Service", "mlflow", spec={"selector": {"app": "mlflow"}, "ports": [port]})
        account = self.in_namespace("v1", "ServiceAccount", "mlflow")
        policy = self.in_namespace(
            "networking.k8s.io/v1", "NetworkPolicy", "closed", spec={"podSelector": {}, "policyTypes": ["Ingress"]}
        )
        claim = self.in_namespace(
            "v1",
            "PersistentVolumeClaim",
            "data",
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        )
        # on purpose not in the order in which they have to be applied
        things = [self.thing(), self.deployment(), service, self.config(), secret, account, policy, claim]
        return [*things, self.job("example.org/smoke:1"), self.definition, self.namespace]

    def patch(self, thing: Object, body: Object, *, manager: str = "somebody") -> Object:
        """Change an object as another program would."""
        ref = ref_of(thing)
        path = self.client.kinds.find(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        query = {"fieldManager": manager}
        found: Object = self.client.connection.ask(
            "PATCH", path, what="change it", query=query, body=body, content_type=MERGE
        )
        return found

    def live(self, thing: Object) -> Object:
        found = self.client.get(ref_of(thing))
        assert found is not None
        return found


@pytest.fixture
def world(endpoint: Endpoint) -> Iterator[World]:
    client = endpoint.client()
    yield World(client=client, name=f"test{next(NUMBERS)}")
    client.close()


def versions_of(world: World, things: list[Object]) -> dict[str, str]:
    return {str(ref_of(thing)): world.live(thing)["metadata"]["resourceVersion"] for thing in things}


def test_a_second_apply_changes_nothing(world: World) -> None:
    things = world.everything()
    done: list[ObjectChange] = []
    first = apply_objects(world.client, things, world.mark, report=done.append)
    assert {change.verb for change in first.changes} == {Verb.CREATE}
    assert sorted(str(change.ref) for change in done) == sorted(str(ref_of(thing)) for thing in things)
    before = versions_of(world, things)
    second = plan_objects(world.client, things, world.mark)
    assert plan_lines(second) == []
    assert second.is_empty
    apply_plan(world.client, second)
    assert versions_of(world, things) == before


def test_a_plan_changes_nothing(world: World) -> None:
    plan_objects(world.client, world.everything(), world.mark)
    assert world.client.get(ref_of(world.namespace)) is None
    apply_objects(world.client, [world.namespace, world.config()], world.mark)
    plan = plan_objects(world.client, [world.namespace, world.config(mode="other")], world.mark)
    assert plan_lines(plan) == [f"change ConfigMap {world.name}/settings", "  data.mode: plain -> other"]
    assert world.live(world.config())["data"] == {"mode": "plain"}


def test_only_what_differs_is_changed(world: World) -> None:
    things = [world.namespace, world.config(), world.deployment()]
    apply_objects(world.client, things, world.mark)
    before = versions_of(world, things)
    changed = [world.namespace, world.config(), world.deployment(image="example.org/mlflow:2")]
    plan = apply_objects(world.client, changed, world.mark)
    assert plan_lines(plan) == [
        f"change Deployment {world.name}/mlflow",
        "  spec.template.spec.containers[server].image: example.org/mlflow:1 -> example.org/mlflow:2",
    ]
    after = versions_of(world, things)
    assert {name for name in after if after[name] != before[name]} == {f"Deployment {world.name}/mlflow"}


def test_a_field_that_is_no_longer_wanted_goes(world: World) -> None:
    apply_objects(world.client, [world.namespace, world.config(one="1", two="2")], world.mark)
    apply_objects(world.client, [world.namespace, world.config(one="1")], world.mark)
    assert world.live(world.config())["data"] == {"one": "1"}


def test_values_of_secrets_are_never_shown(world: World) -> None:
    def secret(word: str) -> Object:
        return world.in_namespace("v1", "Secret", "words", stringData={"password": word})

    apply_objects(world.client, [world.namespace, secret("open sesame")], world.mark)
    plan = plan_objects(world.client, [world.namespace, secret("hush hush")], world.mark)
    text = "\n".join(plan_lines(plan)) + repr(plan)
    assert f"change Secret {world.name}/words" in text
    for word in ("sesame", "hush", "b3BlbiBzZXNhbWU=", "aHVzaCBodXNo"):
        assert word not in text


def test_a_field_of_another_owner_is_respected(world: World) -> None:
    things = [world.namespace, world.deployment()]
    apply_objects(world.client, things, world.mark)
    world.patch(world.deployment(), {"spec": {"replicas": 4}}, manager="autoscaler")
    # nothing is done, and nothing of the rest either
    with pytest.raises(ConflictError) as caught:
        apply_objects(world.client, [*things, world.config()], world.mark)
    assert ".spec.replicas is owned by autoscaler" in caught.value.evidence
    assert world.client.get(ref_of(world.config())) is None
    # left to its owner, the rest is applied, and that is stable
    newer = [world.namespace, world.deployment(image="example.org/mlflow:2")]
    plan = apply_objects(world.client, newer, world.mark, on_conflict=OnConflict.LEAVE)
    assert "  .spec.replicas is left to autoscaler" in plan_lines(plan)
    live = world.live(world.deployment())
    assert live["spec"]["replicas"] == 4
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "example.org/mlflow:2"
    assert plan_objects(world.client, newer, world.mark, on_conflict=OnConflict.LEAVE).is_empty
    # taken when told so
    apply_objects(world.client, newer, world.mark, on_conflict=OnConflict.TAKE)
    assert world.live(world.deployment())["spec"]["replicas"] == 1


def test_what_others_added_stays(world: World) -> None:
    things = [world.namespace, world.config()]
    apply_objects(world.client, things, world.mark)
    world.patch(world.config(), {"data": {"theirs": "x"}, "metadata": {"annotations": {"a.example.org/b": "c"}}})
    assert plan_objects(world.client, things, world.mark).is_empty
    apply_objects(world.client, [world.namespace, world.config(mode="other")], world.mark)
    assert world.live(world.config())["data"] == {"mode": "other", "theirs": "x"}


def test_what_we_once_made_by_other_means_is_ours(world: World) -> None:
    apply_objects(world.client, [world.namespace], world.mark)
    world.client.create(world.config())
    with pytest.raises(FieldConflictError):
        world.client.apply(world.config(mode="other"))
    apply_objects(world.client, [world.namespace, world.config(mode="other")], world.mark)
    assert world.live(world.config())["data"] == {"mode": "other"}


def test_what_is_not_ours_is_not_touched(world: World) -> None:
    apply_objects(world.client, [world.namespace], world.mark)
    kind = world.client.kinds.find("v1", "ConfigMap")
    path = kind.path(world.name)
    world.client.connection.ask("POST", path, what="make it", query={"fieldManager": "kubectl"}, body=world.config())
    with pytest.raises(ConflictError) as caught:
        apply_objects(world.client, [world.namespace, world.config(mode="plain", more="x")], world.mark)
    assert "exists, and ai-how did not make it" in caught.value.evidence
    assert world.live(world.config())["data"] == {"mode": "plain"}
    with pytest.raises(ConflictError) as caught:
        apply_objects(world.client, [world.namespace], Mark(site="another", component="mlflow"))
    assert f"belongs to the site {world.name}" in caught.value.evidence


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda w: {**w.deployment(), "spec": {**w.deployment()["spec"], "replikas": 2}}, "replikas"),
        (lambda w: w.thing(size=1, colour="red"), "colour"),
        (lambda w: w.thing(size="large"), "size"),
        (lambda w: w.thing(size=9), "size"),
        (lambda w: w.in_namespace("v1", "ConfigMap", "Not_A_Name"), "Not_A_Name"),
    ],
    ids=["unknown field", "unknown field of a custom kind", "wrong type", "too large", "bad name"],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(world: World, change: Any, word: str) -> None:
    if word == "colour" and world.client.version().split(".") < ["1", "25"]:
        pytest.skip("strict validation of custom kinds came with Kubernetes 1.25")
    apply_objects(world.client, [world.namespace, world.definition], world.mark)
    with pytest.raises(InvalidObjectError) as caught:
        apply_objects(world.client, [world.namespace, world.definition, world.config(), change(world)], world.mark)
    assert word in str(caught.value)
    assert world.client.get(ref_of(world.config())) is None


def test_a_definition_comes_before_what_it_defines(world: World) -> None:
    apply_objects(world.client, [world.thing(), world.definition, world.namespace], world.mark)
    assert world.live(world.thing())["spec"] == {"size": 1, "port": "http"}


def test_a_kind_that_nothing_brings_is_named(world: World) -> None:
    things = [world.namespace, world.thing()]
    plan = plan_objects(world.client, things, world.mark)
    assert f"create Thing {world.name}/one: once the cluster knows its kind" in plan_lines(plan)
    with pytest.raises(UnknownKindError, match="knows no Thing"):
        apply_plan(world.client, plan)


def test_a_run_that_was_broken_off_is_taken_further(world: World) -> None:
    things = world.everything()

    def break_off(change: ObjectChange) -> None:
        if change.ref.kind == "ConfigMap":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_objects(world.client, things, world.mark, report=break_off)
    apply_objects(world.client, things, world.mark)
    assert plan_objects(world.client, things, world.mark).is_empty


def test_a_job_is_made_anew_when_it_changes(world: World) -> None:
    apply_objects(world.client, [world.namespace, world.job("example.org/smoke:1")], world.mark)
    before = world.live(world.job(""))["metadata"]["uid"]
    plan = apply_objects(world.client, [world.namespace, world.job("example.org/smoke:2")], world.mark)
    assert [change.ref.kind for change in plan.of(Verb.REPLACE)] == ["Job"]
    live = world.live(world.job(""))
    assert live["metadata"]["uid"] != before
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "example.org/smoke:2"
    assert plan_objects(world.client, [world.namespace, world.job("example.org/smoke:2")], world.mark).is_empty


def test_what_cannot_be_changed_says_so(world: World) -> None:
    apply_objects(world.client, [world.namespace, world.deployment()], world.mark)
    other = world.deployment()
    other["spec"]["selector"]["matchLabels"] = {"app": "x"}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "x"}
    with pytest.raises(InvalidObjectError, match="immutable"):
        plan_objects(world.client, [world.namespace, other], world.mark)


def test_what_is_no_longer_wanted_is_pruned_but_data(world: World) -> None:
    everything = world.everything()
    apply_objects(world.client, everything, world.mark)
    other = Mark(site=world.name, component="other")
    apply_objects(world.client, [world.config("theirs")], other)
    less = [thing for thing in everything if thing["kind"] in ("Namespace", "Deployment", "CustomResourceDefinition")]
    plan = apply_objects(world.client, less, world.mark)
    gone = {change.ref.kind for change in plan.of(Verb.DELETE)}
    assert gone == {"ConfigMap", "Secret", "Service", "ServiceAccount", "NetworkPolicy", "Job", "Thing"}
    assert world.client.get(ref_of(world.config())) is None
    claim = Ref(api_version="v1", kind="PersistentVolumeClaim", namespace=world.name, name="data")
    assert world.client.get(claim) is not None
    assert world.client.get(ref_of(world.config("theirs"))) is not None
    assert plan_objects(world.client, less, world.mark).is_empty


def test_removal_takes_what_bears_our_mark_and_nothing_else(world: World) -> None:
    everything = [thing for thing in world.everything() if thing["kind"] != "PersistentVolumeClaim"]
    apply_objects(world.client, everything, world.mark)
    copied = world.config("copied")
    copied["metadata"]["labels"] = dict(world.mark.labels)  # as a controller copies labels
    path = world.client.kinds.find("v1", "ConfigMap").path(world.name)
    query = {"fieldManager": "kubectl"}
    world.client.connection.ask("POST", path, what="make it", query=query, body=copied)
    site = Mark(site=world.name)
    result = remove_marked(world.client, site)
    assert {ref.kind for ref in result.removed} == {thing["kind"] for thing in everything} - {"Namespace"}
    (kept,) = result.kept
    assert kept[0].kind == "Namespace"
    assert "ConfigMap" in kept[1]
    assert "copied" in kept[1]
    assert world.live(copied)["data"] == {"mode": "plain"}
    world.client.delete(ref_of(copied))
    assert [ref.kind for ref in remove_marked(world.client, site).removed] == ["Namespace"]
    assert world.client.get(ref_of(world.namespace)) is None
    assert marked_objects(world.client, site).objects == ()


def test_data_goes_only_when_told_so(world: World) -> None:
    apply_objects(world.client, world.everything(), world.mark)
    kept = {ref.kind: reason for ref, reason in remove_marked(world.client, world.mark).kept}
    assert kept["PersistentVolumeClaim"] == "it holds data"
    assert "PersistentVolumeClaim" in kept["Namespace"]
    assert remove_marked(world.client, world.mark, data=True).kept == ()
    assert world.client.get(ref_of(world.namespace)) is None


def test_a_definition_stays_while_others_use_it(world: World) -> None:
    apply_objects(world.client, [world.namespace, world.definition], world.mark)
    path = world.client.kinds.find(f"{world.name}.example.org/v1", "Thing").path(world.name)
    world.client.connection.ask("POST", path, what="make it", query={"fieldManager": "kubectl"}, body=world.thing())
    kept = {ref.kind: reason for ref, reason in remove_marked(world.client, world.mark).kept}
    assert set(kept) == {"CustomResourceDefinition", "Namespace"}
    assert f"Thing {world.name}/one" in kept["CustomResourceDefinition"]


def test_generated_secrets_are_made_once(world: World) -> None:
    second = f"{world.name}-too"
    spaces = [world.namespace, {**world.namespace, "metadata": {"name": second}}]
    apply_objects(world.client, spaces, world.mark)
    texts = {"uri": "postgresql://mlflow:${password}@db/mlflow"}

    def make() -> bool:
        wanted = {"password": 24}
        places = [world.name, second]
        return make_secret(world.client, "database", namespaces=places, random=wanted, texts=texts, mark=world.mark)

    assert make()
    ref = Ref(api_version="v1", kind="Secret", namespace=world.name, name="database")
    first = world.client.get(ref)
    assert first is not None
    assert set(first["data"]) == {"password", "uri"}
    assert first["immutable"] is True
    assert not make()
    assert world.client.get(ref) == first
    # one that was lost is made from the other
    copy_of_it = Ref(api_version="v1", kind="Secret", namespace=second, name="database")
    assert world.client.delete(copy_of_it)
    assert make()
    made = world.client.get(copy_of_it)
    assert made is not None
    assert made["data"] == first["data"]
    # neither pruned with its component, nor removed without its data
    assert plan_objects(world.client, spaces, world.mark).is_empty
    assert (ref, "it holds data") in remove_marked(world.client, world.mark).kept


def test_a_namespace_that_goes_away_says_what_holds_it(world: World) -> None:
    held = world.config()
    held["metadata"]["finalizers"] = ["example.org/hold"]
    apply_objects(world.client, [world.namespace, held], world.mark)
    world.client.delete(ref_of(world.namespace))
    with pytest.raises(NotWellError) as caught:
        wait_until_gone(world.client, ref_of(world.namespace), timeout_s=4)
    assert "configmaps" in caught.value.evidence
    with pytest.raises(TerminatingError, match="going away"):
        world.client.apply(world.config("another"))
    with pytest.raises(TryAgainError, match="is going away") as refused:
        apply_objects(world.client, [world.namespace, world.config("another")], world.mark)
    assert "configmaps" in refused.value.evidence
    world.patch(held, {"metadata": {"finalizers": None}})
    wait_until_gone(world.client, ref_of(world.namespace), timeout_s=30)


def test_deleting_is_only_of_that_very_object(world: World) -> None:
    apply_objects(world.client, [world.namespace, world.config()], world.mark)
    with pytest.raises(ConflictError):
        world.client.delete(ref_of(world.config()), uid="00000000-0000-0000-0000-000000000000")
    assert world.client.delete(ref_of(world.config())) is True
    assert world.client.delete(ref_of(world.config())) is False


def test_waiting_follows_the_status(world: World) -> None:
    apply_objects(world.client, [world.namespace, world.deployment()], world.mark)
    ref = ref_of(world.deployment())
    with pytest.raises(NotWellError, match="controller has not seen") as caught:
        wait_until_well(world.client, ref, timeout_s=1)
    assert caught.value.next_step == f"see more: kubectl -n {world.name} describe deployment mlflow"
    status = {
        "observedGeneration": world.live(world.deployment())["metadata"]["generation"],
        "replicas": 1,
        "updatedReplicas": 1,
        "availableReplicas": 1,
        "readyReplicas": 1,
    }
    path = world.client.kinds.find("apps/v1", "Deployment").path(world.name, "mlflow")
    body = {"status": status}
    world.client.connection.ask("PATCH", f"{path}/status", what="act", body=body, content_type=MERGE)
    assert wait_until_well(world.client, ref, timeout_s=10)["status"]["availableReplicas"] == 1
    # a status that changes is no change of ours
    assert plan_objects(world.client, [world.namespace, world.deployment()], world.mark).is_empty


def test_a_deployment_that_was_out_of_time_may_start_after_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_objects(world.client, [world.namespace, world.deployment()], world.mark)
    ref = ref_of(world.deployment())
    path = world.client.kinds.find("apps/v1", "Deployment").path(world.name, "mlflow")
    out_of_time = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "no pod"}
    seen = {"observedGeneration": world.live(world.deployment())["metadata"]["generation"]}
    seen |= {"replicas": 1, "updatedReplicas": 1}

    def act(status: dict[str, Any]) -> None:
        body = {"status": {**seen, **status}}
        world.client.connection.ask("PATCH", f"{path}/status", what="act", body=body, content_type=MERGE)

    act({"conditions": [out_of_time]})
    started = Timer(1, act, [{"conditions": None, "availableReplicas": 1, "readyReplicas": 1}])
    started.start()
    assert wait_until_well(world.client, ref, timeout_s=30)["status"]["availableReplicas"] == 1
    started.join()
    act({"conditions": [out_of_time], "availableReplicas": 0, "readyReplicas": 0})
    monkeypatch.setattr(waiting, "OLD_FAILURE_S", 0)
    with pytest.raises(NotWellError, match="failed: no pod"):
        wait_until_well(world.client, ref, timeout_s=30)


def test_a_list_comes_in_pages_and_by_label(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_how.kubernetes_api.client._PAGE", "2")
    configs = [world.config(f"c{number}") for number in range(5)]
    configs[3]["metadata"]["labels"] = {"colour": "red"}
    apply_objects(world.client, [world.namespace, *configs], world.mark)
    found = world.client.list_objects("v1", "ConfigMap", world.name).items
    assert [item["metadata"]["name"] for item in found if item["metadata"]["name"].startswith("c")] == [
        f"c{number}" for number in range(5)
    ]
    assert {item["kind"] for item in found} == {"ConfigMap"}
    (red,) = world.client.list_objects("v1", "ConfigMap", world.name, labels="colour=red").items
    assert red["metadata"]["name"] == "c3"


def test_metadata_alone_shows_no_secret(world: World) -> None:
    secret = world.in_namespace("v1", "Secret", "words", stringData={"password": "open sesame"})
    apply_objects(world.client, [world.namespace, secret], world.mark)
    kind = world.client.kinds.find("v1", "Secret")
    (found,) = world.client.list_kind(kind, world.name, labels=world.mark.selector, metadata_only=True).items
    assert found["kind"] == "Secret"
    assert "data" not in found


def test_two_failures_are_both_told(world: World) -> None:
    apply_objects(world.client, [world.namespace, world.definition], world.mark)
    plan = plan_objects(world.client, [world.namespace, world.config("a"), world.config("b")], world.mark, prune=False)
    world.client.delete(ref_of(world.namespace))
    with pytest.raises(AiHowError) as caught:
        apply_plan(world.client, plan)
    assert isinstance(caught.value, ProviderError | TerminatingError)


def test_nonsense_is_refused_without_asking_the_server(world: World) -> None:
    with pytest.raises(SpecError, match="no Kubernetes object"):
        plan_objects(world.client, [{"kind": "ConfigMap", "metadata": {}}], world.mark)
    with pytest.raises(SpecError, match="given twice"):
        plan_objects(world.client, [world.config(), copy.deepcopy(world.config())], world.mark)
    lost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lost"}}
    with pytest.raises(SpecError, match="names no namespace"):
        plan_objects(world.client, [lost], world.mark)
