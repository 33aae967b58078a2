"""What a user is told of an endpoint on a cluster, for each state that its pods and its InferenceService can be in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_how.endpoints.types import Autoscaling, EndpointSpec, EndpointState
from ai_how.kserve.engine_log import engine_trouble, fetch_trouble, last_error
from ai_how.kserve.scheduling import holders_of_gpus, scheduling_trouble
from ai_how.kserve.services import webhook_trouble
from ai_how.kserve.states import DIGEST, Judgement, Sight, judge
from tests.kserve_pods import CRASH_LOG, CUDA_LOG, EVENTS, LOGS, STATUSES, condition, event, pod

NAME = "chat-r1-predictor-abc"
NOW = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
SPEC = EndpointSpec(
    name="chat",
    model_name="chat",
    model_version=1,
    model_uri="s3://models/chat/0f",
    model_digest="0f" * 32,
    engine="vllm",
)


def service(*, digest: str = "a", status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    ready = {"conditions": [condition("PredictorReady", "False", reason="MinimumReplicasUnavailable")]}
    return {
        "metadata": {
            "name": "chat-r1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {DIGEST: digest},
            **metadata,
        },
        "status": ready if status is None else status,
    }


def with_digest(thing: dict[str, Any], digest: str) -> dict[str, Any]:
    return {**thing, "metadata": {**thing["metadata"], "annotations": {DIGEST: digest}}}


def judged(name: str, *, spec: EndpointSpec = SPEC, now: datetime = NOW, **more: Any) -> Judgement:
    events = [event(reason, message, bad=bad) for reason, message, bad in EVENTS.get(name, [])]
    logs = {NAME: LOGS[name]} if name in LOGS else {}
    one = with_digest(pod(**STATUSES[name]), "a")
    return judge(spec, Sight(service=service(), pods=[one], events=events, logs=logs, **more), now=now)


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("ready", EndpointState.RUNNING, ()),
        ("pulling", EndpointState.STARTING, ("pulling the image docker.io/vllm/vllm-openai:v0.23.0",)),
        ("fetching", EndpointState.STARTING, ("fetching the model's files",)),
        ("loading", EndpointState.STARTING, ("loading the model",)),
        (
            "unscheduled",
            EndpointState.ERROR,
            ("Of 3 nodes: 1 with no free GPUs; 2 not the kind of node that it wants", "add a GPU worker"),
        ),
        ("no-image", EndpointState.ERROR, ("cannot get the image docker.io/vllm", "the registry has no such image")),
        ("wrong-keys", EndpointState.ERROR, ("refuses the keys", "S3 authentication failed", "ai-how up")),
        ("no-files", EndpointState.ERROR, ("not in the object store", "No model found in chat/0f", "ai-how model")),
        ("host-memory", EndpointState.ERROR, ("its limit of 24Gi (host memory, not the GPU's)",)),
        ("gpu-memory", EndpointState.ERROR, ("the GPU's memory is too small", "14.58 GiB", "serving.context_tokens")),
        ("crash", EndpointState.ERROR, ("OSError: Can't load the configuration of '/mnt/models'", "3 restarts")),
    ],
)
def test_each_state_is_told_by_its_cause_and_what_to_do(
    name: str, state: EndpointState, words: tuple[str, ...]
) -> None:
    found = judged(name)
    assert found.state is state
    for word in words:
        assert word in found.message
    assert "preemption" not in found.message
    assert "back-off" not in found.message.lower()
    assert [replica.in_flight for replica in found.replicas] == [None]


def test_a_pod_that_waits_for_a_gpu_has_a_while_before_that_is_an_error() -> None:
    soon = judged("unscheduled", now=datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC))
    assert soon.state is EndpointState.STARTING
    assert "no free GPUs" in soon.message


def test_who_has_the_gpus_is_said_where_they_are_short() -> None:
    holders = holders_of_gpus([node("cloud-gpu-worker-1", gpus=1), node("cloud-cpu-worker-1")], [pod("other-r1-x")])
    assert holders == ("cloud-gpu-worker-1: 1 of 1 GPUs taken by models/other-r1-x",)
    assert "taken by models/other-r1-x" in judged("unscheduled", gpu_holders=holders).message
    assert "taken by" not in judged("crash", gpu_holders=holders).message


def test_a_replica_of_an_earlier_spec_is_not_the_endpoint() -> None:
    old = with_digest(pod("chat-r1-predictor-old"), "before")
    new = with_digest(pod(**STATUSES["loading"]), "a")
    seen = Sight(service=service(), pods=[old, new])
    assert judge(SPEC, seen, now=NOW).state is EndpointState.STARTING
    broken = Sight(service=service(), pods=[old, with_digest(pod(**STATUSES["crash"]), "a")], logs={NAME: CUDA_LOG})
    found = judge(SPEC, broken, now=NOW)
    assert found.state is EndpointState.ERROR
    assert "its earlier version answers meanwhile" in found.message


def test_one_ready_replica_is_enough_and_the_other_one_s_trouble_is_told() -> None:
    ready = with_digest(pod("chat-r1-predictor-aaa"), "a")
    failing = with_digest(pod(**STATUSES["no-image"]), "a")
    found = judge(SPEC, Sight(service=service(), pods=[ready, failing]), now=NOW)
    assert found.state is EndpointState.RUNNING
    assert "cannot get the image" in found.message
    assert [replica.state for replica in found.replicas] == ["ready", "failed"]


def test_a_stopped_endpoint_stops_until_its_last_pod_is_gone() -> None:
    from dataclasses import replace

    stopped = replace(SPEC, stopped=True)
    assert judge(stopped, Sight(service=service(), pods=[pod()]), now=NOW).state is EndpointState.STOPPING
    assert judge(stopped, Sight(service=service()), now=NOW).state is EndpointState.STOPPED


def test_an_endpoint_that_was_not_written_to_the_end_is_an_error_that_the_next_deploy_mends() -> None:
    found = judge(SPEC, Sight(service=None), now=NOW)
    assert found.state is EndpointState.ERROR
    assert "InferenceService is not there" in found.message
    assert "ai-how deploy up" in found.message


def test_an_endpoint_without_pods_sleeps_only_where_it_may() -> None:
    from dataclasses import replace

    ready = service(status={"conditions": [condition("PredictorReady", reason="NewReplicaSetAvailable")]})
    sleeper = replace(SPEC, autoscaling=Autoscaling(min_replicas=0, max_replicas=2))
    assert judge(sleeper, Sight(service=ready), now=NOW).state is EndpointState.RUNNING
    assert judge(SPEC, Sight(service=ready), now=NOW).state is EndpointState.STARTING
    # woken for a rollout, where no request would wake it
    assert judge(sleeper, Sight(service=ready), now=NOW, alone=False).state is EndpointState.STARTING


def test_kserve_that_does_not_run_is_the_cause_after_a_while() -> None:
    young = judge(SPEC, Sight(service=service(status={})), now=datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC))
    assert young.state is EndpointState.PENDING
    found = judge(SPEC, Sight(service=service(status={})), now=NOW)
    assert found.state is EndpointState.ERROR
    assert "KServe's controller has not looked at it for 300 s" in found.message
    assert "ai-how logs stack/kserve" in found.message


def test_a_quota_is_told_with_what_was_asked_and_what_is_left() -> None:
    said = (
        'pods "chat-r1-predictor-abc" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, '
        "used: requests.nvidia.com/gpu=2, limited: requests.nvidia.com/gpu=2"
    )
    refused = {"conditions": [condition("PredictorReady", "False", reason="FailedCreate", message=said)]}
    found = judge(SPEC, Sight(service=service(status=refused)), now=NOW)
    assert found.state is EndpointState.ERROR
    assert "the quota gpus does not allow its pod: it asks for requests.nvidia.com/gpu=1" in found.message
    noted = event("FailedCreate", f"Error creating: {said}", kind="ReplicaSet", pod="chat-r1-predictor-5d", bad=True)
    again = judge(SPEC, Sight(service=service(), events=[noted]), now=NOW)
    assert "the quota gpus does not allow its pod" in again.message


def test_a_spec_that_kserve_refuses_is_told_in_its_words() -> None:
    status = {
        "conditions": [condition("PredictorReady", "False")],
        "modelStatus": {
            "transitionStatus": "InvalidSpec",
            "lastFailureInfo": {"reason": "RuntimeNotRecognized", "message": "Waiting for runtime to become available"},
        },
    }
    found = judge(SPEC, Sight(service=service(status=status)), now=NOW)
    assert found.state is EndpointState.ERROR
    assert "Waiting for runtime to become available" in found.message


def test_webhooks_that_refuse_or_do_not_answer_are_told_apart() -> None:
    refused = webhook_trouble(
        'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: the name is too long'
    )
    assert refused is not None
    assert refused.cause == "KServe refuses it: the name is too long"
    silent = webhook_trouble(
        'Internal error occurred: failed calling webhook "inferenceservice.kserve-webhook-server.defaulter": failed to '
        'call webhook: Post "https://kserve-webhook-server-service.kserve.svc:443/mutate": connection refused'
    )
    assert silent is not None
    assert "does not answer" in silent.cause
    assert "ai-how logs stack/kserve" in silent.remedy
    assert webhook_trouble("something else") is None


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("0/1 nodes are available: 1 Insufficient memory. preemption: none", "Of 1 nodes: 1 with too little memory"),
        (
            "0/2 nodes are available: 1 node(s) had untolerated taint {nvidia.com/gpu: present}, 1 node(s) were "
            "unschedulable. preemption: 0/2 nodes are available",
            "1 kept free by the taint {nvidia.com/gpu: present}; 1 set aside (cordoned)",
        ),
        ("no nodes available to schedule pods", "no node takes it: no nodes available to schedule pods"),
        ("", "the scheduler gives no reason"),
    ],
)
def test_the_scheduler_s_reasons_are_read(message: str, words: str) -> None:
    assert words in scheduling_trouble(message, lasting=True).cause


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`", "KV cache"),
        (
            "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (2.1 GiB).",
            "one request of full length does not fit",
        ),
        (
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU",
            "cannot compute in bfloat16",
        ),
        (
            "ValueError: Free memory on device (2.0/15 GiB) on startup is less than desired GPU memory utilization",
            "another program",
        ),
        ("  Value error, Model architectures ['FooForCausalLM'] are not supported for now.", "architecture"),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "driver is too old"),
        ("RuntimeError: Failed to infer device type", "sees no GPU"),
    ],
)
def test_what_the_engine_said_last_is_explained(line: str, words: str) -> None:
    found = engine_trouble(
        f"INFO 01-01 00:00:00 [x.py:1] fine\n(EngineCore_DP0 pid=9) ERROR 01-01 00:00:01 [y.py:2] {line}\n"
    )
    assert found is not None
    assert found.lasting
    assert words in found.cause


def test_the_last_error_line_is_without_time_place_and_aftermath() -> None:
    assert last_error(CRASH_LOG) == "OSError: Can't load the configuration of '/mnt/models'."
    assert last_error(CUDA_LOG).startswith("torch.OutOfMemoryError: CUDA out of memory.")
    assert last_error("all is well") == ""
    assert engine_trouble("all is well") is None


@given(st.text(max_size=400))
def test_no_log_and_no_message_breaks_the_readers(text: str) -> None:
    assert len(last_error(text)) <= 240
    found = engine_trouble(text)
    assert found is None or found.cause
    assert fetch_trouble(text).cause
    assert scheduling_trouble(text, lasting=True).cause
    webhook_trouble(text)


def node(name: str, *, gpus: int = 0) -> dict[str, Any]:
    allocatable = {"cpu": "8", **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {"metadata": {"name": name}, "status": {"allocatable": allocatable}}
