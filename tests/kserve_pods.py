"""Pods of KServe's revisions in every state that they go through, with the events that kubelet and scheduler note."""

from __future__ import annotations

from typing import Any

from ai_how.kserve.pods import ENGINE, FETCHER

Object = dict[str, Any]
NODE = "cloud-gpu-worker-1"
SINCE = "2026-01-01T00:00:00Z"
IMAGE = "docker.io/vllm/vllm-openai:v0.23.0"

FETCH_KEYS = (
    "2026-01-01 00:00:02.101 1 kserve ERROR [kserve_storage.py:raise_storage_error():41] S3 error for "
    "s3://models/chat/0f: An error occurred (InvalidAccessKeyId) when calling the HeadBucket operation\n"
    "2026-01-01 00:00:02.102 1 kserve ERROR [initializer-entrypoint:<module>():30] Storage initialization failed: "
    "S3 authentication failed. Set AWS_ACCESS_KEY_ID/AWS_SECRET_ACCESS_KEY or use awsAnonymousCredential=true."
)
FETCH_GONE = (
    "2026-01-01 00:00:02.102 1 kserve ERROR [initializer-entrypoint:<module>():30] Storage initialization failed: "
    "Failed to fetch model. No model found in chat/0f."
)
CUDA_LOG = """INFO 01-01 00:01:10 [gpu_model_runner.py:2602] Starting to load model /mnt/models...
(EngineCore_DP0 pid=93) ERROR 01-01 00:01:21 [core.py:708] EngineCore failed to start.
(EngineCore_DP0 pid=93) ERROR 01-01 00:01:21 [core.py:708] Traceback (most recent call last):
(EngineCore_DP0 pid=93) ERROR 01-01 00:01:21 [core.py:708] torch.OutOfMemoryError: CUDA out of memory. Tried to \
allocate 1.96 GiB. GPU 0 has a total capacity of 14.58 GiB of which 512.00 MiB is free.
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
CRASH_LOG = """(APIServer pid=1) INFO 01-01 00:00:05 [api_server.py:1839] vLLM API server version 0.23.0
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/usr/local/bin/vllm", line 8, in <module>
(APIServer pid=1) OSError: Can't load the configuration of '/mnt/models'.
"""
UNSCHEDULABLE = (
    "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match Pod's node affinity/selector. "
    "preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, "
    "2 Preemption is not helpful for scheduling."
)


def pod(name: str = "chat-r1-predictor-abc", *, namespace: str = "models", **status: Any) -> Object:
    """A pod with one GPU; ``status`` replaces parts of a status in which everything is well."""
    whole = {
        "phase": "Running",
        "conditions": [condition("PodScheduled"), condition("Ready")],
        "initContainerStatuses": [entry(FETCHER, terminated={"exitCode": 0, "reason": "Completed"}, ready=True)],
        "containerStatuses": [entry(ENGINE, running={"startedAt": SINCE}, ready=True)],
        **status,
    }
    limits = {"nvidia.com/gpu": "1", "memory": "24Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": NODE,
            "initContainers": [
                {"name": FETCHER, "image": "kserve/storage-initializer", "resources": {"limits": {"memory": "1Gi"}}}
            ],
            "containers": [{"name": ENGINE, "image": IMAGE, "resources": {"limits": limits}}],
        },
        "status": whole,
    }


def entry(name: str, *, ready: bool = False, restarts: int = 0, last: Object | None = None, **state: Any) -> Object:
    """A container's status; ``state``: running, waiting or terminated; ``last``: how an earlier run ended."""
    image = IMAGE if name == ENGINE else "kserve/storage-initializer:v0.20.0"
    found: Object = {
        "name": name,
        "image": image,
        "imageID": "",
        "ready": ready,
        "restartCount": restarts,
        "state": state,
    }
    return {**found, "lastState": {"terminated": last}} if last else found


def condition(kind: str, status: str = "True", **more: str) -> Object:
    return {"type": kind, "status": status, "lastTransitionTime": SINCE, **more}


def event(
    reason: str, message: str, *, pod: str = "chat-r1-predictor-abc", kind: str = "Pod", bad: bool = False
) -> Object:
    return {
        "type": "Warning" if bad else "Normal",
        "reason": reason,
        "message": message,
        "lastTimestamp": SINCE,
        "involvedObject": {"kind": kind, "name": pod},
    }


NOT_READY = [condition("PodScheduled"), condition("Ready", "False")]
WAITS = entry(ENGINE, waiting={"reason": "PodInitializing"})
STATUSES: dict[str, Object] = {
    "ready": {},
    "unscheduled": {
        "phase": "Pending",
        "conditions": [condition("PodScheduled", "False", reason="Unschedulable", message=UNSCHEDULABLE)],
        "initContainerStatuses": [],
        "containerStatuses": [],
    },
    "pulling": {
        "phase": "Pending",
        "conditions": NOT_READY,
        "initContainerStatuses": [entry(FETCHER, terminated={"exitCode": 0, "reason": "Completed"}, ready=True)],
        "containerStatuses": [WAITS],
    },
    "fetching": {
        "phase": "Pending",
        "conditions": NOT_READY,
        "initContainerStatuses": [entry(FETCHER, running={"startedAt": SINCE})],
        "containerStatuses": [WAITS],
    },
    "loading": {"conditions": NOT_READY, "containerStatuses": [entry(ENGINE, running={"startedAt": SINCE})]},
    "no-image": {
        "phase": "Pending",
        "conditions": NOT_READY,
        "containerStatuses": [
            entry(ENGINE, waiting={"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'})
        ],
    },
    "wrong-keys": {
        "phase": "Pending",
        "conditions": NOT_READY,
        "initContainerStatuses": [
            entry(
                FETCHER,
                restarts=1,
                waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"},
                last={"exitCode": 1, "reason": "Error", "message": FETCH_KEYS},
            )
        ],
        "containerStatuses": [WAITS],
    },
    "no-files": {
        "phase": "Pending",
        "conditions": NOT_READY,
        "initContainerStatuses": [
            entry(
                FETCHER,
                restarts=1,
                waiting={"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"},
                last={"exitCode": 1, "reason": "Error", "message": FETCH_GONE},
            )
        ],
        "containerStatuses": [WAITS],
    },
    "host-memory": {
        "conditions": NOT_READY,
        "containerStatuses": [
            entry(
                ENGINE,
                restarts=2,
                waiting={"reason": "CrashLoopBackOff"},
                last={"exitCode": 137, "reason": "OOMKilled"},
            )
        ],
    },
    "crash": {
        "conditions": NOT_READY,
        "containerStatuses": [
            entry(ENGINE, restarts=3, waiting={"reason": "CrashLoopBackOff"}, last={"exitCode": 1, "reason": "Error"})
        ],
    },
}
"""What a pod's status is, by the name of its state; ``gpu-memory`` is a crash with another log."""
STATUSES["gpu-memory"] = STATUSES["crash"]
LOGS = {"gpu-memory": CUDA_LOG, "crash": CRASH_LOG}
EVENTS = {
    "no-image": [
        (
            "Failed",
            f'Failed to pull image "{IMAGE}": rpc error: code = NotFound desc = failed to pull and unpack image: '
            f"{IMAGE}: not found",
            True,
        )
    ],
    "pulling": [("Pulling", f'Pulling image "{IMAGE}"', False)],
}
