"""What an endpoint becomes on a cluster: who answers what, what scales it, what may change while it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.endpoints.types import Autoscaling, ServedAdapter
from ai_how.errors import NotFoundError, SpecError
from ai_how.kserve.container import arguments, drain_program, grace_period_s
from ai_how.kserve.nodes import Placement
from ai_how.kserve.objects import endpoint_objects, notes, revision_objects
from ai_how.kserve.revision import ENDPOINT, KServeRevision, revision_of, revisions_of
from ai_how.kserve.routing import route_objects, shares_of
from ai_how.kserve.setting import ServingSetting
from ai_how.models.types import ModelFormat
from ai_how.stack.checks.fit import check_objects
from ai_how.stack.components import keda_http_add_on as add_on
from ai_how.stack.stack import render_parts
from tests import stacks
from tests.kserve import ADAPTER, INFO, revision, setting, spec

SLEEPY = spec(autoscaling=Autoscaling(min_replicas=0, max_replicas=3))
BASE = {"adapter_base_uri": "s3://models/base/00", "adapter_base_digest": "0" * 64}


def kind_of(objects: tuple[Any, ...], kind: str) -> dict[str, Any]:
    (found,) = (thing for thing in objects if thing["kind"] == kind)
    return dict(found)


def told(what: KServeRevision, **changes: Any) -> list[str]:
    return list(arguments(what, setting(**changes)))


def option(argv: list[str], name: str) -> str | None:
    return argv[argv.index(name) + 1] if name in argv else None


def selects(monitor: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a PodMonitor reads pods with these labels."""
    selector = monitor["spec"]["selector"]
    wanted = {"Exists": True, "DoesNotExist": False}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        (one["key"] in labels) is wanted[one["operator"]] for one in selector.get("matchExpressions", [])
    )


def test_the_figures_of_an_endpoint_s_pod_are_read_once() -> None:
    objects = endpoint_objects([revision(1)], setting=setting())
    own = {
        **kind_of(objects, "InferenceService")["metadata"]["labels"],
        "serving.kserve.io/inferenceservice": "chat-r1",
    }
    foreign = {"serving.kserve.io/inferenceservice": "someone-s"}
    monitors = [kind_of(objects, "PodMonitor")]
    for part in render_parts(stacks.setting("document")):
        things = [dict(thing) for thing in part.component.objects]
        monitors += [one for one in things if one["kind"] == "PodMonitor" and one["metadata"]["namespace"] == "models"]
    assert [sum(selects(one, pod) for one in monitors) for pod in (own, foreign)] == [1, 1]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=4),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from(["current", "2025.10"]),
)
def test_every_endpoint_is_valid_and_is_read_back(shares: list[int], low: int, stopped: bool, release: str) -> None:
    shares[-1] += 100 - sum(shares)
    if shares[-1] < 0:
        shares = [100]
    what = spec(autoscaling=Autoscaling(min_replicas=low, max_replicas=3), stopped=stopped)
    revisions = [revision(at, share=share, spec=what) for at, share in enumerate(shares, start=1)]
    objects = endpoint_objects(revisions, setting=setting(release))
    assert [str(misfit) for misfit in check_objects(objects)] == []
    assert all(thing["metadata"]["labels"][ENDPOINT] == "chat" for thing in objects)
    assert not any(thing["kind"] == "Secret" for thing in objects)
    runtimes = [thing for thing in objects if thing["kind"] == "ServingRuntime"]
    assert list(revisions_of(runtimes, shares_of(kind_of(objects, "HTTPRoute")))) == revisions


@pytest.mark.parametrize(
    "change",
    [
        {"autoscaling": Autoscaling(min_replicas=2, max_replicas=5)},
        {"stopped": True},
        {"created_at": "2027-01-01T00:00:00+00:00"},
    ],
)
def test_what_needs_no_other_pod_changes_nothing_that_kserve_copies_into_pods(change: dict[str, Any]) -> None:
    before, after = revision(), revision(spec=spec(**change))
    for kind in ("InferenceService", "ServingRuntime"):
        old, new = (kind_of(revision_objects(each, setting=setting()), kind) for each in (before, after))
        assert old["spec"] == new["spec"]
        assert old["metadata"]["labels"] == new["metadata"]["labels"]
    services = [kind_of(revision_objects(each, setting=setting()), "InferenceService") for each in (before, after)]
    assert services[0] == services[1]
    assert revision_of(kind_of(revision_objects(after, setting=setting()), "ServingRuntime")) == replace(
        after, share_percent=0
    )


def test_requests_go_where_the_shares_say_and_a_header_to_any_revision() -> None:
    route = kind_of(
        route_objects("chat", [revision(1, share=100), revision(2, share=0)], setting=setting()), "HTTPRoute"
    )
    assert shares_of(route) == {1: 100, 2: 0}
    by_header = {
        header["value"]: [backend["name"] for backend in rule["backendRefs"]]
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
        for header in match.get("headers", ())
    }
    assert by_header == {"1": ["chat-r1-predictor"], "2": ["chat-r2-predictor"]}
    (everyone,) = (
        rule for rule in route["spec"]["rules"] if rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    )
    assert [backend["name"] for backend in everyone["backendRefs"]] == ["chat-r1-predictor"]
    assert route["spec"]["hostnames"] == ["chat-models.ai-how.internal"]


def test_nothing_that_vllm_leaves_unguarded_is_let_in() -> None:
    route = kind_of(route_objects("chat", [revision()], setting=setting()), "HTTPRoute")
    for rule in route["spec"]["rules"]:
        for match in rule["matches"]:
            path = match["path"]
            rewritten = [f["urlRewrite"]["path"]["replaceFullPath"] for f in rule.get("filters", ())]
            assert path == {"type": "PathPrefix", "value": "/v1"} or rewritten == ["/health"]


@pytest.mark.parametrize("shares", [(), (50,), (60, 60)])
def test_shares_that_do_not_add_up_are_refused(shares: tuple[int, ...]) -> None:
    revisions = [revision(at, share=share) for at, share in enumerate(shares, start=1)]
    with pytest.raises(SpecError, match="do not add up to 100"):
        route_objects("chat", revisions, setting=setting())


def test_a_single_revision_that_sleeps_is_woken_by_the_request_that_is_held() -> None:
    objects = endpoint_objects([revision(spec=SLEEPY)], setting=setting())
    scaled, route = kind_of(objects, "ScaledObject"), kind_of(objects, "HTTPRoute")
    held = kind_of(objects, "InterceptorRoute")
    assert scaled["spec"]["minReplicaCount"] == 0
    (push,) = (each for each in scaled["spec"]["triggers"] if each["type"] == "external-push")
    assert push["metadata"]["interceptorRoute"] == held["metadata"]["name"]
    assert held["spec"]["timeouts"]["readiness"] == "600s"
    assert held["spec"]["rules"] == [{"hosts": route["spec"]["hostnames"]}]
    to = {backend["name"] for rule in route["spec"]["rules"][:2] for backend in rule["backendRefs"]}
    assert to == {add_on.PROXY}
    # whoever asks how it is does not wake it
    assert route["spec"]["rules"][-1]["backendRefs"][0]["name"] == "chat-r1-predictor"


def test_beside_another_revision_none_sleeps() -> None:
    objects = endpoint_objects(
        [revision(1, share=90, spec=SLEEPY), revision(2, share=10, spec=SLEEPY)], setting=setting()
    )
    scaled = [thing for thing in objects if thing["kind"] == "ScaledObject"]
    assert [each["spec"]["minReplicaCount"] for each in scaled] == [1, 1]
    backends = [each["name"] for rule in kind_of(objects, "HTTPRoute")["spec"]["rules"] for each in rule["backendRefs"]]
    assert set(backends) == {"chat-r1-predictor", "chat-r2-predictor"}
    # where nginx sends requests until it has the new route
    assert kind_of(objects, "InterceptorRoute")["spec"]["target"]["service"] == "chat-r1-predictor"


@pytest.mark.parametrize("shares", [(100, 0), (0, 100)])
def test_requests_are_held_for_the_one_that_gets_them_while_another_starts_or_ends_beside_it(
    shares: tuple[int, int],
) -> None:
    revisions = [revision(at, share=share, spec=SLEEPY) for at, share in enumerate(shares, start=1)]
    objects = endpoint_objects(revisions, setting=setting())
    served, other = (1, 2) if shares[0] else (2, 1)
    assert kind_of(objects, "InterceptorRoute")["spec"]["target"]["service"] == f"chat-r{served}-predictor"
    by_header = {}
    *headed, rest, _health = kind_of(objects, "HTTPRoute")["spec"]["rules"]
    for rule in headed:
        by_header[int(rule["matches"][0]["headers"][0]["value"])] = rule["backendRefs"][0]["name"]
    assert by_header == {served: add_on.PROXY, other: f"chat-r{other}-predictor"}
    assert [backend["name"] for backend in rest["backendRefs"]] == [add_on.PROXY]


def test_what_is_stopped_has_no_replica_and_holds_no_request() -> None:
    objects = endpoint_objects([revision(spec=replace(SLEEPY, stopped=True))], setting=setting())
    scaled = kind_of(objects, "ScaledObject")
    assert scaled["metadata"]["annotations"] == {"autoscaling.keda.sh/paused-replicas": "0"}
    assert not any(thing["kind"] == "InterceptorRoute" for thing in objects)


def test_a_release_set_that_cannot_hold_requests_is_told() -> None:
    versions = {name: text for name, text in setting().versions.items() if name != "keda-http-add-on"}
    with pytest.raises(NotFoundError) as caught:
        endpoint_objects([revision(spec=SLEEPY)], setting=setting(versions=versions))
    assert "min_replicas: 1" in caught.value.next_step


def test_the_stack_lets_held_requests_through() -> None:
    parts = render_parts(stacks.setting())
    part = stacks.part_of(parts, add_on.NAME)
    (grant,) = (thing for thing in part.component.objects if thing["kind"] == "ReferenceGrant")
    assert grant["metadata"]["namespace"] == "keda"
    assert grant["spec"]["to"] == [{"group": "", "kind": "Service", "name": add_on.PROXY}]
    spaces = [thing["metadata"]["namespace"] for thing in part.component.objects if thing["kind"] == "NetworkPolicy"]
    assert spaces == ["keda", "models", "gateway"]


def test_an_adapter_is_served_under_the_endpoints_name_on_its_base() -> None:
    what = revision(info=ADAPTER, base=INFO, adapter_rank=24, spec=spec(**BASE))
    argv = told(what)
    assert argv[0] == "/mnt/models/base"
    assert option(argv, "--served-model-name") == "chat-base"
    assert option(argv, "--lora-modules") == "chat=/mnt/models/adapter"
    assert option(argv, "--max-lora-rank") == "32"
    predictor = kind_of(revision_objects(what, setting=setting()), "InferenceService")["spec"]["predictor"]
    assert [each["mountPath"] for each in predictor["storageUris"]] == ["/mnt/models/base", "/mnt/models/adapter"]
    assert "storageUri" not in predictor["model"]


def test_a_kserve_that_fetches_one_folder_only_refuses_an_adapter() -> None:
    what = revision(info=ADAPTER, base=INFO, spec=spec(**BASE))
    with pytest.raises(SpecError) as caught:
        revision_objects(what, setting=setting("2025.10"))
    assert "storageUris" in caught.value.evidence


def test_adapters_share_the_model_that_is_loaded_once() -> None:
    adapters = tuple(
        ServedAdapter(tag=tag, model_name=tag, model_version=1, model_uri=f"s3://models/{tag}/1", model_digest="0" * 64)
        for tag in ("legal", "sales")
    )
    full = revision(spec=spec(adapters=adapters), adapter_rank=16)
    argv = told(full)
    assert argv[0] == "/mnt/models/base"
    assert option(argv, "--served-model-name") == "chat"
    modules = ["chat:legal=/mnt/models/adapters/legal", "chat:sales=/mnt/models/adapters/sales"]
    at = argv.index("--lora-modules")
    assert argv[at + 1 : at + 3] == modules
    assert option(argv, "--max-loras") == "2"
    predictor = kind_of(revision_objects(full, setting=setting()), "InferenceService")["spec"]["predictor"]
    assert {each["mountPath"]: each["uri"] for each in predictor["storageUris"]} == {
        "/mnt/models/base": full.spec.model_uri,
        "/mnt/models/adapters/legal": "s3://models/legal/1",
        "/mnt/models/adapters/sales": "s3://models/sales/1",
    }
    assert "storageUri" not in predictor["model"]
    tuned = revision(info=ADAPTER, base=INFO, adapter_rank=16, spec=spec(**BASE, adapters=adapters))
    argv = told(tuned)
    assert option(argv, "--served-model-name") == "chat-base"
    at = argv.index("--lora-modules")
    assert argv[at + 1 : at + 4] == ["chat=/mnt/models/adapter", *modules]
    with pytest.raises(SpecError, match="cannot fetch an adapter beside its base"):
        revision_objects(full, setting=setting("2025.10"))


def test_adapters_are_kept_on_the_node_and_read_from_folders() -> None:
    legal = ServedAdapter(
        tag="legal", model_name="l", model_version=1, model_uri="s3://models/l/1", model_digest="7" * 64
    )
    full = revision(spec=spec(adapters=(legal,)), adapter_rank=16)
    kept = "serving: {node_cache_gib: 100}\n"
    argv = told(full, site_text=kept)
    own = f"/mnt/models/{full.spec.model_digest}"
    assert argv[0] == own
    assert option(argv, "--lora-modules") == f"chat:legal=/mnt/models/{'7' * 64}"
    predictor = kind_of(revision_objects(full, setting=setting(site_text=kept)), "InferenceService")["spec"][
        "predictor"
    ]
    (fetched,) = predictor["initContainers"]
    assert {f"{full.spec.model_digest}={full.spec.model_uri}", f"{'7' * 64}=s3://models/l/1"} <= set(fetched["args"])
    assert "storageUris" not in predictor
    # vLLM streams a model from the store only where no adapter needs a folder beside it
    assert told(full, site_text="serving: {loader: streamer}\n")[0] == "/mnt/models/base"
    tuned = revision(info=ADAPTER, base=INFO, adapter_rank=16, spec=spec(**BASE, adapters=(legal,)))
    argv = told(tuned, site_text=kept)
    assert argv[0] == f"/mnt/models/{'0' * 64}"
    at = argv.index("--lora-modules")
    assert argv[at + 1 : at + 3] == [f"chat={own}", f"chat:legal=/mnt/models/{'7' * 64}"]


def test_an_adapter_without_its_base_is_refused() -> None:
    with pytest.raises(SpecError, match="needs its base model"):
        revision_objects(revision(info=ADAPTER), setting=setting())


def test_a_gguf_file_is_refused() -> None:
    info = replace(INFO, format=ModelFormat.GGUF)
    with pytest.raises(SpecError, match="is a GGUF file"):
        revision_objects(revision(info=info), setting=setting())


def test_a_model_without_a_chat_template_is_served_and_that_is_said() -> None:
    what = revision(info=replace(INFO, chat_template=False))
    assert revision_objects(what, setting=setting())
    assert notes(what) == ("chat has no chat template: chat answers /v1/completions, and refuses /v1/chat/completions",)
    assert notes(revision()) == ()


@pytest.mark.parametrize(
    ("placement", "name", "value"),
    [
        ({"compute_capability": (7, 5)}, "--dtype", "half"),
        ({"compute_capability": (8, 0)}, "--dtype", None),
        ({"count": 2}, "--tensor-parallel-size", "2"),
        ({"count": 1}, "--tensor-parallel-size", None),
        ({"memory_share": 0.25}, "--gpu-memory-utilization", "0.225"),
        ({}, "--gpu-memory-utilization", "0.9"),
    ],
)
def test_vllm_is_told_what_the_gpu_needs(placement: dict[str, Any], name: str, value: str | None) -> None:
    where = Placement(accelerator="x", products=("X",), **placement)
    assert option(told(revision(placement=where)), name) == value


def test_a_context_longer_than_the_model_was_trained_for_is_cut() -> None:
    site_text = "serving: {context_tokens: 8192}\n"
    assert option(told(revision(), site_text=site_text), "--max-model-len") == "8192"
    short = revision(info=replace(INFO, context_tokens=4096))
    assert option(told(short, site_text=site_text), "--max-model-len") == "4096"


def test_no_key_stands_in_an_object() -> None:
    container = kind_of(revision_objects(revision(), setting=setting()), "ServingRuntime")["spec"]["containers"][0]
    key = next(each for each in container["env"] if each["name"] == "VLLM_API_KEY")
    assert key["valueFrom"] == {"secretKeyRef": {"name": "ai-how-api-keys", "key": "default"}}
    assert "--api-key" not in container["args"]


def test_compiled_code_is_kept_where_one_node_has_the_gpu() -> None:
    one = Placement(accelerator="x", products=("X",), nodes=("a",))
    objects = revision_objects(revision(placement=one), setting=setting())
    claim = kind_of(objects, "PersistentVolumeClaim")["metadata"]["name"]
    volumes = kind_of(objects, "ServingRuntime")["spec"]["volumes"]
    assert {"name": "compile-cache", "persistentVolumeClaim": {"claimName": claim}} in volumes
    two = Placement(accelerator="x", products=("X",), nodes=("a", "b"))
    assert not any(
        thing["kind"] == "PersistentVolumeClaim"
        for thing in revision_objects(revision(placement=two), setting=setting())
    )


@pytest.mark.parametrize(("total", "strategy"), [(1, {"type": "Recreate"}), (2, None), (0, None)])
def test_where_a_new_pod_has_no_gpu_beside_the_old_one_the_old_one_ends_first(
    total: int, strategy: dict[str, str] | None
) -> None:
    where = Placement(accelerator="x", products=("X",), total=total)
    predictor = kind_of(revision_objects(revision(placement=where), setting=setting()), "InferenceService")["spec"][
        "predictor"
    ]
    assert predictor.get("deploymentStrategy") == strategy


def test_nothing_that_gos_templates_would_read_is_in_the_container() -> None:
    runtime = kind_of(revision_objects(revision(), setting=setting()), "ServingRuntime")
    assert "{{" not in json.dumps(runtime["spec"]["containers"])


def test_a_pod_has_the_time_that_its_last_requests_take() -> None:
    slow = setting(site_text="serving: {drain_timeout_s: 300}\n")
    predictor = kind_of(revision_objects(revision(), setting=slow), "InferenceService")["spec"]["predictor"]
    assert predictor["terminationGracePeriodSeconds"] == grace_period_s(slow) > 300
    assert "310" in drain_program(slow)


def test_a_load_balancers_address_has_no_port() -> None:
    text = "clusters: {cloud: {stack: {access: {type: load-balancer}}}}\n"
    assert setting(site_text=text).url("chat") == "https://chat-models.ai-how.internal"
    assert setting().url("chat") == "https://chat-models.ai-how.internal:30443"


KEPT = "serving: {node_cache_gib: 60}\n"
STREAMED = "serving: {loader: streamer}\n"


def pod_of(where: ServingSetting, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The container of a revision, and its predictor."""
    objects = revision_objects(revision(**changes), setting=where)
    runtime, service = (next(o for o in objects if o["kind"] == k) for k in ("ServingRuntime", "InferenceService"))
    return runtime["spec"]["containers"][0], service["spec"]["predictor"]


def test_weights_on_the_node_are_fetched_by_our_container_and_served_under_a_lock() -> None:
    container, predictor = pod_of(setting(site_text=KEPT))
    digest = spec().model_digest
    assert container["args"][0] == f"/mnt/models/{digest}"
    assert container["command"][3:] == [digest, "--", "vllm", "serve"]
    fetcher = predictor["initContainers"][0]
    assert fetcher["args"][-1] == f"{digest}={spec().model_uri}"
    assert fetcher["args"][1] == "60"
    assert "storageUri" not in predictor["model"] and "storageUris" not in predictor
    assert {mount["name"] for mount in fetcher["volumeMounts"]} <= {
        mount["name"] for mount in container["volumeMounts"]
    }


def test_no_text_that_kserve_would_take_for_a_template() -> None:
    container, predictor = pod_of(setting(site_text=KEPT))
    fetcher = predictor["initContainers"][0]
    assert not [text for text in (*container["command"], *fetcher["command"], *fetcher["args"]) if "{{" in text]


def test_weights_are_streamed_from_the_store_unless_they_are_nearer() -> None:
    container, predictor = pod_of(setting(site_text=STREAMED))
    assert container["args"][0] == spec().model_uri
    assert "storageUri" not in predictor["model"]
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["AWS_ENDPOINT_URL"]["value"] == "http://object-store.mlops.svc:8333"
    assert env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "object-store"
    assert "initContainers" not in predictor
    both, predictor = pod_of(setting(site_text="serving: {loader: streamer, node_cache_gib: 60}\n"))
    assert both["args"][0].startswith("/mnt/models/")
    assert "AWS_ENDPOINT_URL" not in {entry["name"] for entry in both["env"]}
    for found in (container, both):
        assert found["args"][found["args"].index("--load-format") + 1] == "runai_streamer"


def test_a_vllm_that_is_not_known_to_stream_is_refused() -> None:
    with pytest.raises(SpecError, match=r"streamer is not for vLLM 0\.10"):
        revision_objects(revision(), setting=setting("2025.10", site_text=STREAMED))
