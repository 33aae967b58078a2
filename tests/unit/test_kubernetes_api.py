"""The pure parts of the Kubernetes API client: names, order, differences, states, causes, refusals, certificates."""

from __future__ import annotations

import base64
import copy
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.errors import AiHowError, ProviderError, SpecError
from ai_how.kubernetes_api.causes import cause_in_events, cause_of_pod
from ai_how.kubernetes_api.certificate import valid_until
from ai_how.kubernetes_api.differences import FieldChange, differences
from ai_how.kubernetes_api.failures import raise_all
from ai_how.kubernetes_api.field_paths import without_fields
from ai_how.kubernetes_api.marks import DATA, Mark, holds_data, marked
from ai_how.kubernetes_api.objects import Ref, ref_of
from ai_how.kubernetes_api.order import propagation_of, wave_of, waves
from ai_how.kubernetes_api.plans import ObjectChange, ObjectPlan, Verb, plan_lines
from ai_how.kubernetes_api.refusals import (
    AccessRefusedError,
    AlreadyThereError,
    BusyError,
    ChangedMeanwhileError,
    FieldConflictError,
    GoneError,
    InvalidObjectError,
    NotThereError,
    Refusal,
    RefusedError,
    ServerError,
    TerminatingError,
    error_for,
    read_refusal,
)
from ai_how.kubernetes_api.side_by_side import side_by_side
from ai_how.kubernetes_api.states import Health, state_of
from ai_how.kubernetes_api.terminating import why_still_there

Object = dict[str, Any]


def thing(kind: str = "ConfigMap", name: str = "a", **content: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "mlops"}, **content}


# --- names, marks, order


def test_an_object_is_named_in_words() -> None:
    assert str(ref_of(thing())) == "ConfigMap mlops/a"
    assert str(Ref(api_version="v1", kind="Namespace", namespace="", name="mlops")) == "Namespace mlops"
    assert Ref(api_version="apps/v1", kind="Deployment", namespace="x", name="y").group == "apps"
    assert Ref(api_version="v1", kind="Pod", namespace="x", name="y").group == ""


@pytest.mark.parametrize("bad", [{}, {"kind": "Pod"}, {"apiVersion": "v1", "kind": "Pod", "metadata": "x"}])
def test_what_is_no_object_is_refused(bad: Object) -> None:
    with pytest.raises(SpecError, match="no Kubernetes object"):
        ref_of(bad)


def test_a_mark_needs_labels_and_our_manager_and_no_owner() -> None:
    mark = Mark(site="lab", component="mlflow")
    ours = marked(thing(), mark)
    assert not mark.is_on(ours)  # a controller may have copied the labels
    ours["metadata"]["managedFields"] = [{"manager": "ai-how"}]
    assert mark.is_on(ours)
    assert Mark(site="lab").is_on(ours)
    assert not Mark(site="lab", component="other").is_on(ours)
    assert not Mark(site="other").is_on(ours)
    ours["metadata"]["ownerReferences"] = [{"kind": "Deployment"}]
    assert not mark.is_on(ours)
    assert mark.selector == "app.kubernetes.io/managed-by=ai-how,ai-how/site=lab,ai-how/component=mlflow"


def test_marking_keeps_other_labels_and_the_object_given() -> None:
    given_one = thing()
    given_one["metadata"]["labels"] = {"app": "x"}
    before = copy.deepcopy(given_one)
    assert marked(given_one, Mark(site="lab"))["metadata"]["labels"]["app"] == "x"
    assert given_one == before


def test_what_holds_data() -> None:
    assert holds_data(thing("PersistentVolumeClaim"))
    assert not holds_data(thing())
    one = thing()
    one["metadata"]["labels"] = {DATA: "true"}
    assert holds_data(one)


REFS = st.builds(
    Ref,
    api_version=st.sampled_from(["v1", "apps/v1", "batch/v1", "keda.sh/v1alpha1", "apiextensions.k8s.io/v1"]),
    kind=st.sampled_from(["Namespace", "CustomResourceDefinition", "Secret", "Deployment", "Job", "ScaledObject"]),
    namespace=st.sampled_from(["", "a", "b"]),
    name=st.sampled_from(["one", "two", "three"]),
)


@given(st.lists(REFS, unique=True).flatmap(lambda refs: st.tuples(st.just(refs), st.permutations(refs))))
def test_the_order_does_not_depend_on_how_objects_are_given(pair: tuple[list[Ref], list[Ref]]) -> None:
    one, other = ([[str(ref) for ref in wave] for wave in waves((ref, ref) for ref in refs)] for refs in pair)
    assert one == other


@given(st.lists(REFS, unique=True))
def test_waves_hold_everything_once_and_removal_goes_backwards(refs: list[Ref]) -> None:
    forward = waves((ref, ref) for ref in refs)
    assert sorted(ref for wave in forward for ref in wave) == sorted(refs)
    numbers = [{wave_of(ref) for ref in wave} for wave in forward]
    assert all(len(each) == 1 for each in numbers)
    assert numbers == sorted(numbers, key=min)
    assert waves(((ref, ref) for ref in refs), reverse=True) == forward[::-1]


def test_a_volume_goes_after_its_claim_and_both_only_with_data() -> None:
    claim = Ref(api_version="v1", kind="PersistentVolumeClaim", namespace="a", name="x")
    volume = Ref(api_version="v1", kind="PersistentVolume", namespace="", name="x")
    assert waves(((ref, ref) for ref in (volume, claim)), reverse=True) == [[claim], [volume]]
    assert all(holds_data({"kind": ref.kind, "metadata": {"name": "x"}}) for ref in (claim, volume))


def test_custom_resources_come_after_their_controllers_and_go_before_them() -> None:
    deployment = Ref(api_version="apps/v1", kind="Deployment", namespace="a", name="operator")
    scaled = Ref(api_version="keda.sh/v1alpha1", kind="ScaledObject", namespace="a", name="x")
    assert wave_of(deployment) < wave_of(scaled)
    assert propagation_of(deployment) == "Foreground"
    assert propagation_of(Ref(api_version="v1", kind="Service", namespace="a", name="x")) == "Background"


# --- differences


def test_differences_leave_out_what_the_server_keeps() -> None:
    live = thing(data={"a": "1"}, status={"x": 1})
    live["metadata"] |= {"uid": "u", "resourceVersion": "5", "generation": 2, "managedFields": []}
    assert differences(live, thing(data={"a": "1"})) == ()


def test_differences_name_fields_and_list_items() -> None:
    old = thing(spec={"c": [{"name": "x", "image": "1"}, {"name": "y"}], "p": [1, 2], "on": True, "text": "a" * 90})
    new = thing(spec={"c": [{"name": "x", "image": "2"}, {"name": "z"}], "p": [1, 3, 4], "on": False, "text": "b"})
    assert [str(change) for change in differences(old, new)] == [
        "spec.c[x].image: 1 -> 2",
        "spec.c[y]: {name} -> unset",
        "spec.c[z]: unset -> {name}",
        "spec.on: true -> false",
        "spec.p[1]: 2 -> 3",
        "spec.p[2]: unset -> 4",
        f"spec.text: {'a' * 39}… -> b",
    ]


def test_another_order_of_named_items_is_a_difference() -> None:
    old, new = thing(spec={"c": [{"name": "x"}, {"name": "y"}]}), thing(spec={"c": [{"name": "y"}, {"name": "x"}]})
    assert [str(change) for change in differences(old, new)] == ["spec.c: order -> another order"]


def test_only_what_is_ours_to_remove_may_differ() -> None:
    entry = {"manager": "ai-how", "operation": "Apply", "fieldsV1": {"f:data": {"f:a": {}}}}
    live, after = thing(data={"a": "1"}), thing(data={"a": "1"})
    after["metadata"]["managedFields"] = [entry]
    assert [change.path for change in differences(live, after)] == ["metadata.managedFields"]
    live["metadata"]["managedFields"] = [entry]
    assert differences(live, after) == ()


JSON = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), st.none() | inner, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON)
def test_differences_are_empty_only_for_what_is_equal(one: Any, other: Any) -> None:
    found = differences(thing(spec={"x": one}), thing(spec={"x": other}))
    # null and nothing at all are one to the API
    assert bool(found) == (_plain(one) != _plain(other))
    assert differences(thing(spec={"x": one}), thing(spec={"x": one})) == ()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if _plain(part) is not None}
    return [_plain(part) for part in value] if isinstance(value, list) else value


@given(st.dictionaries(st.sampled_from("abc"), st.text("xyz", min_size=6), max_size=3))
def test_no_value_of_a_secret_is_in_a_difference(data: dict[str, str]) -> None:
    found = differences(thing("Secret", data={"a": "pqrpqr"}), thing("Secret", data=data))
    text = repr(found) + "".join(map(str, found))
    assert not any(value in text for value in [*data.values(), "pqrpqr"])


def test_a_plan_in_words() -> None:
    ref = ref_of(thing())
    fields = tuple(FieldChange(path=f"data.{number}", old="1", new="2") for number in range(6))
    plan = ObjectPlan(
        changes=(ObjectChange(ref=ref, verb=Verb.KEEP), ObjectChange(ref=ref, verb=Verb.CHANGE, fields=fields)),
        unseen=("metrics.k8s.io/v1beta1: away",),
    )
    lines = plan_lines(plan)
    assert lines[0] == "change ConfigMap mlops/a"
    assert lines[5:] == ["  and 2 more", "not looked at: metrics.k8s.io/v1beta1: away"]
    assert not plan.is_empty
    assert ObjectPlan(changes=(ObjectChange(ref=ref, verb=Verb.KEEP),)).is_empty


# --- fields taken out


def test_fields_are_taken_out_by_the_paths_of_conflicts() -> None:
    one = thing(
        spec={
            "replicas": 1,
            "template": {
                "metadata": {"annotations": {"a.example.org/b": "c", "a": {"example": 1}}},
                "spec": {
                    "containers": [
                        {"name": "c", "image": "x", "ports": [{"containerPort": 80}, {"containerPort": 81}]},
                        {"name": 'd"]', "image": "y"},
                    ],
                    "args": ["x", "y"],
                },
            },
        }
    )
    after, missed = without_fields(
        one,
        [
            ".spec.replicas",
            ".spec.template.metadata.annotations.a.example.org/b",
            '.spec.template.spec.containers[name="c"].image',
            '.spec.template.spec.containers[name="c"].ports[containerPort=80,protocol="TCP"]',
            '.spec.template.spec.containers[name="d\\"]"].image',
            '.spec.template.spec.args[="y"]',
            ".spec.nothing",
        ],
    )
    assert missed == [".spec.nothing"]
    assert after["spec"] == {
        "template": {
            "metadata": {"annotations": {"a": {"example": 1}}},
            "spec": {
                "containers": [{"name": "c", "ports": [{"containerPort": 81}]}, {"name": 'd"]'}],
                "args": ["x"],
            },
        }
    }
    assert one["spec"]["replicas"] == 1


# --- refusals


def status(code: int, reason: str = "", message: str = "", **details: Any) -> Object:
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


@pytest.mark.parametrize(
    ("code", "body", "kind"),
    [
        (404, status(404, "NotFound"), NotThereError),
        (409, status(409, "AlreadyExists"), AlreadyThereError),
        (409, status(409, "Conflict"), ChangedMeanwhileError),
        (422, status(422, "Invalid"), InvalidObjectError),
        (400, status(400, "BadRequest"), InvalidObjectError),
        (500, status(500, "", "failed to create typed patch object (x): .a: field not declared"), InvalidObjectError),
        (401, status(401, "Unauthorized"), AccessRefusedError),
        (403, status(403, "Forbidden"), AccessRefusedError),
        (403, status(403, "Forbidden", causes=[{"reason": "NamespaceTerminating"}]), TerminatingError),
        (410, status(410, "Expired"), GoneError),
        (429, None, BusyError),
        (503, None, BusyError),
        (500, None, ServerError),
        (418, status(418), ServerError),
    ],
)
def test_each_refusal_is_an_error_of_its_own(code: int, body: Any, kind: type[RefusedError]) -> None:
    error = error_for(read_refusal(code, body, text="words of a proxy"), "apply ConfigMap mlops/a")
    assert type(error) is kind
    assert error.brief.startswith("could not apply ConfigMap mlops/a")
    assert error.refusal.code == code
    assert error.evidence


def test_a_conflict_says_who_owns_what() -> None:
    causes = [
        {"reason": "FieldManagerConflict", "field": ".spec.replicas", "message": 'conflict with "hpa" using apps/v1'},
        {
            "reason": "FieldManagerConflict",
            "field": ".spec.x",
            "message": 'conflict with "k" with subresource "scale" using apps/v1 at 2026-01-01T00:00:00Z',
        },
    ]
    error = error_for(read_refusal(409, status(409, "Conflict", causes=causes)), "apply")
    assert isinstance(error, FieldConflictError)
    assert [(c.path, c.manager) for c in error.conflicts] == [(".spec.replicas", "hpa"), (".spec.x", "k")]
    assert ".spec.replicas is owned by hpa" in error.evidence


def test_how_long_to_wait_is_read_from_header_or_body() -> None:
    assert read_refusal(429, None, retry_after="7").retry_after_s == 7
    assert read_refusal(503, status(503, retryAfterSeconds=3)).retry_after_s == 3
    assert read_refusal(503, None, retry_after="Wed, 21 Oct 2026 07:28:00 GMT").retry_after_s is None


def test_many_causes_are_cut_short() -> None:
    causes = tuple(("Invalid", f"spec.f{number}", "bad") for number in range(20))
    lines = error_for(Refusal(code=422, causes=causes), "apply").evidence.splitlines()
    assert lines[0] == "spec.f0: bad"
    assert lines[-1] == "and 12 more"


def test_several_failures_are_one_error() -> None:
    raise_all("applied", [], of=3)
    first = AiHowError("one failed", evidence="because\nof that", next_step="do this")
    with pytest.raises(AiHowError) as caught:
        raise_all("applied", [first], of=3)
    assert caught.value is first
    with pytest.raises(ProviderError, match="2 of 3 objects could not be applied") as both:
        raise_all("applied", [first, AiHowError("two failed")], of=3)
    assert both.value.evidence == "one failed (because)\ntwo failed"
    assert both.value.next_step == "do this"


def test_side_by_side_keeps_the_order_and_starts_nothing_after_an_error() -> None:
    assert side_by_side(lambda number: number * 2, range(40)) == list(range(0, 80, 2))
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise KeyboardInterrupt
        release.wait(timeout=60)

    release = threading.Event()
    threading.Timer(2, release.set).start()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, range(1000))
    assert len(begun) < 100


# --- states


def seen(kind: str, status: Object, spec: Object | None = None, generation: int = 1) -> Object:
    one = thing(kind, status=status, spec=spec or {})
    one["metadata"]["generation"] = generation
    return one


ROLLED = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
TWO = {"replicas": 2}


def condition(name: str, value: str = "True", message: str = "", **more: Any) -> Object:
    return {"conditions": [{"type": name, "status": value, "message": message, **more}]}


TOO_SLOW = condition("Progressing", "False", "too slow", reason="ProgressDeadlineExceeded")
SCHEDULED = {"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3}
REACHED = {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}


@pytest.mark.parametrize(
    ("one", "health", "words"),
    [
        (seen("Deployment", ROLLED, TWO), Health.WELL, ""),
        (seen("Deployment", {}, TWO), Health.WAITING, "controller has not seen"),
        (seen("Deployment", ROLLED, TWO, generation=2), Health.WAITING, "controller has not seen"),
        (seen("Deployment", {**ROLLED, "updatedReplicas": 1}, TWO), Health.WAITING, "1 of 2 replicas are new"),
        (seen("Deployment", {**ROLLED, "replicas": 3}, TWO), Health.WAITING, "1 old replicas are still there"),
        (seen("Deployment", {**ROLLED, "availableReplicas": 0}, TWO), Health.WAITING, "0 of 2 replicas are available"),
        (seen("Deployment", {"observedGeneration": 1}, {"replicas": 0}), Health.WELL, ""),
        (
            seen("Deployment", {**ROLLED, **TOO_SLOW}, TWO),
            Health.FAILED,
            "too slow",
        ),
        (seen("StatefulSet", ROLLED, TWO), Health.WELL, ""),
        (seen("StatefulSet", {**ROLLED, "readyReplicas": 1}, TWO), Health.WAITING, "1 of 2 replicas are ready"),
        (seen("StatefulSet", {**ROLLED, "updatedReplicas": 1}, TWO), Health.WAITING, "1 of 2 replicas are new"),
        (
            seen(
                "StatefulSet",
                {**ROLLED, "updatedReplicas": 1},
                {**TWO, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
            ),
            Health.WELL,
            "",
        ),
        (
            seen("StatefulSet", {**ROLLED, "updatedReplicas": 0}, {**TWO, "updateStrategy": {"type": "OnDelete"}}),
            Health.WELL,
            "",
        ),
        (seen("DaemonSet", {"observedGeneration": 1}), Health.WAITING, "no nodes have been chosen"),
        (seen("DaemonSet", {"observedGeneration": 1, "desiredNumberScheduled": 0}), Health.WELL, ""),
        (
            seen("DaemonSet", {**SCHEDULED, "numberAvailable": 1}),
            Health.WAITING,
            "1 of 3 pods are available",
        ),
        (seen("Job", condition("Complete")), Health.WELL, ""),
        (seen("Job", condition("Failed", message="BackoffLimitExceeded")), Health.FAILED, "BackoffLimitExceeded"),
        (seen("Job", {"active": 1}), Health.WAITING, "0 done, 1 running"),
        (seen("CustomResourceDefinition", condition("Established")), Health.WELL, ""),
        (seen("CustomResourceDefinition", {}), Health.WAITING, "Established is not known yet"),
        (seen("CustomResourceDefinition", condition("NamesAccepted", "False", "taken")), Health.FAILED, "taken"),
        (seen("Pod", {"phase": "Succeeded"}), Health.WELL, ""),
        (seen("Pod", {"phase": "Running", **condition("Ready")}), Health.WELL, ""),
        (seen("Pod", {"phase": "Pending"}), Health.WAITING, "it is pending"),
        (seen("Pod", {"phase": "Failed", "message": "Evicted"}), Health.FAILED, "Evicted"),
        (seen("PersistentVolumeClaim", {"phase": "Bound"}), Health.WELL, ""),
        (seen("PersistentVolumeClaim", {"phase": "Pending"}), Health.WAITING, "no volume yet"),
        (seen("PersistentVolumeClaim", {"phase": "Lost"}), Health.FAILED, "lost"),
        (seen("Service", {}, {"type": "ClusterIP"}), Health.WELL, ""),
        (seen("Service", {}, {"type": "LoadBalancer"}), Health.WAITING, "no external address"),
        (seen("Service", REACHED, {"type": "LoadBalancer"}), Health.WELL, ""),
        (seen("Namespace", {"phase": "Terminating"}), Health.FAILED, "going away"),
        (seen("Namespace", {"phase": "Active"}), Health.WELL, ""),
        (seen("ConfigMap", {}), Health.WELL, ""),
        (seen("Cluster", condition("Ready", "False", "1 of 3 instances")), Health.WAITING, "1 of 3 instances"),
        (seen("Cluster", condition("Ready")), Health.WELL, ""),
        (seen("Gateway", condition("Programmed", observedGeneration=1), generation=2), Health.WAITING, "older version"),
    ],
)
def test_how_an_object_is(one: Object, health: Health, words: str) -> None:
    state = state_of(one)
    assert state.health is health
    assert words in state.reason


def test_a_named_condition_counts_before_what_is_usual() -> None:
    one = seen("Deployment", {**ROLLED, **condition("Synced", "False", "not yet")}, TWO)
    assert state_of(one).is_well
    assert state_of(one, "Synced").reason == "not yet"
    assert state_of(one, "Other").reason == "Other is not known yet"


# --- causes


def container(state: Object, last: Object | None = None, restarts: int = 0) -> Object:
    entry = {"name": "server", "image": "example.org/a:1", "state": state, "restartCount": restarts}
    return {"containerStatuses": [{**entry, "lastState": last or {}}]}


def pod(status: Object, limits: Object | None = None) -> Object:
    spec = {"containers": [{"name": "server", "resources": {"limits": limits or {}}}]}
    return thing("Pod", spec=spec, status=status)


def event(reason: str, message: str, kind: str = "Warning") -> Object:
    return {"type": kind, "reason": reason, "message": message}


CRASHED = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}


@pytest.mark.parametrize(
    ("one", "events", "words"),
    [
        (
            pod(condition("PodScheduled", "False", "0/2 nodes: 2 Insufficient cpu, 1 Insufficient memory.")),
            [],
            "fits no node: not enough cpu, memory (0/2 nodes:",
        ),
        (
            pod(condition("PodScheduled", "False", "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")),
            [],
            "not enough nvidia.com/gpu (",
        ),
        (pod(condition("PodScheduled", "False", "had volume node affinity conflict")), [], "fits no node: had volume"),
        (
            pod(container({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})),
            [event("Failed", "429 Too Many Requests - toomanyrequests")],
            "server: cannot get its image example.org/a:1: the registry allows no more pulls for now",
        ),
        (
            pod(container({"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}})),
            [],
            "the registry has no such image",
        ),
        (
            pod(container({"waiting": {"reason": "ErrImagePull", "message": "dial tcp: lookup x: no such host"}})),
            [],
            "the registry cannot be reached",
        ),
        (
            pod(container({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "db" not found'}})),
            [],
            'server: cannot start: secret "db" not found',
        ),
        (
            pod(container(CRASHED, {"terminated": {"reason": "OOMKilled", "exitCode": 137}}, 4), {"memory": "512Mi"}),
            [],
            "server: used more memory than its limit of 512Mi, 4 restarts",
        ),
        (
            pod(container(CRASHED, {"terminated": {"exitCode": 2, "message": "a\nno such table\n"}}, 1)),
            [],
            "server: ended with exit code 2, 1 restarts: no such table",
        ),
        (
            pod(container(CRASHED, {"terminated": {"reason": "Completed", "exitCode": 0}}, 3)),
            [],
            "server: ended with exit code 0, 3 restarts",
        ),
        (pod({"reason": "Evicted", "message": "the node was low on memory"}), [], "was evicted: the node was low"),
        (
            pod(container({"running": {}})),
            [event("Unhealthy", "Readiness probe failed: HTTP 503")],
            "Unhealthy: Readiness probe failed",
        ),
        (pod({}), [event("FailedMount", 'configmap "x" not found')], 'FailedMount: configmap "x" not found'),
        (pod(container({"running": {}}, {"terminated": {"exitCode": 1}}, 1)), [], ""),
        (pod(container({"terminated": {"exitCode": 0}})), [], ""),
    ],
)
def test_why_a_pod_does_not_run(one: Object, events: list[Object], words: str) -> None:
    found = cause_of_pod(one, events)
    assert words in found
    assert bool(found) == bool(words)
    assert "\n" not in found


def test_the_newest_warning_counts() -> None:
    quota = event("FailedCreate", "exceeded quota: x, requested: cpu=9")
    assert (
        cause_in_events([event("FailedMount", "old"), quota, event("Pulled", "ok")])
        == "exceeded quota: x, requested: cpu=9"
    )
    said = 'pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    refused = event("FailedCreate", said)
    assert cause_in_events([refused]) == "is not allowed by its namespace's pod security: runAsNonRoot != true"
    assert cause_in_events([event("FailedMount", "fine now", "Normal")]) == ""


def test_what_holds_a_namespace() -> None:
    conditions = [
        {"type": "NamespaceContentRemaining", "status": "True", "message": "Some resources are remaining: a has 1"},
        {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "finalizers remaining: x in 1"},
        {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all fine"},
    ]
    one = {"kind": "Namespace", "metadata": {"finalizers": ["a/b"]}, "status": {"conditions": conditions}}
    assert why_still_there(one) == [
        "Some resources are remaining: a has 1",
        "finalizers remaining: x in 1",
        "held by the finalizer a/b",
    ]
    assert why_still_there(thing()) == []


# --- certificates

# self-signed with an ed25519 key that nobody has, by openssl ca -enddate 20300102030405Z
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIHEMHgCAQEwBQYDK2VwMA8xDTALBgNVBAMMBHRlc3QwHhcNMjAwMTAxMDAwMDAw
WhcNMzAwMTAyMDMwNDA1WjAPMQ0wCwYDVQQDDAR0ZXN0MCowBQYDK2VwAyEA4y1v
YKe2LkRzNCWH/QQCpPsHuoka6rQGeKLcEZBxH8IwBQYDK2VwA0EAnBfHW93N8IOG
s2wd697ik5RxW4r2WJCpUv/cUO+WpCQuWGmidLX0E3O7GF4YljRGJ1ffK7J6dfDP
vygDDZd7Aw==
-----END CERTIFICATE-----
"""


def test_a_certificates_end_is_read() -> None:
    found = valid_until("some text before\n" + CERTIFICATE)
    assert found is not None
    assert found.isoformat() == "2030-01-02T03:04:05+00:00"


@given(st.binary(max_size=60))
def test_what_is_no_certificate_has_no_end(junk: bytes) -> None:
    text = base64.b64encode(junk).decode()
    assert valid_until(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----") is None
    assert valid_until(junk.decode("latin-1")) is None
