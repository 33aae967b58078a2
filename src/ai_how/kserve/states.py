"""How a revision of an endpoint is, judged from what the cluster shows of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ai_how.endpoints.types import EndpointSpec, EndpointState, ReplicaStatus
from ai_how.kserve.pods import Events, is_leaving, is_ready, phase, pod_trouble
from ai_how.kserve.scaling import sleeps
from ai_how.kserve.services import condition_of, service_trouble, subject_of
from ai_how.kserve.trouble import Trouble, shortened
from ai_how.kubernetes_api.objects import ApiObject

DIGEST = "ai-how/spec-digest"
"""Annotation of an InferenceService. KServe copies it to the pods: those of the present spec have the same."""
ENGINE_PORT = 8080
_NOT_WHOLE = Trouble(
    cause="its InferenceService is not there: it was not written to the end, or somebody has removed it",
    remedy="ai-how deploy up writes it anew",
)


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a cluster shows of one revision, read at one time.

    ``service`` is its InferenceService, None where it is gone. ``events`` are the namespace's, oldest first. ``logs``
    are the ends of the engines' logs by pod. ``gpu_holders`` say who has the GPUs, where that was asked.
    """

    service: ApiObject | None
    pods: Sequence[ApiObject] = ()
    events: Events = ()
    logs: Mapping[str, str] | None = None
    gpu_holders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The state, the replicas and a message: a cause with what to do about it, or what is going on."""

    state: EndpointState
    replicas: tuple[ReplicaStatus, ...] = ()
    message: str = ""


def judge(spec: EndpointSpec, sight: Sight, *, now: datetime, alone: bool = True) -> Judgement:
    """How a revision is. A replica of an earlier spec that still answers does not make it ``running``.

    Args:
        alone: Whether it is its endpoint's only one: beside another none sleeps, so that without pods it starts.
    """
    pods = sorted(sight.pods, key=lambda pod: str(pod["metadata"]["name"]))
    seen = [_replica(pod, sight, now) for pod in pods]
    replicas = tuple(replica for replica, _ in seen)
    if spec.stopped or (sight.service or {}).get("metadata", {}).get("deletionTimestamp"):
        state = EndpointState.STOPPING if pods else EndpointState.STOPPED
        return Judgement(state=state, replicas=replicas)
    if sight.service is None:
        return Judgement(state=EndpointState.ERROR, replicas=replicas, message=_NOT_WHOLE.text)
    current = [
        (pod, replica, trouble)
        for pod, (replica, trouble) in zip(pods, seen, strict=True)
        if _digest(pod) in (None, _digest(sight.service)) and not is_leaving(pod)
    ]
    earlier = any(is_ready(pod) and _digest(pod) not in (None, _digest(sight.service)) for pod in pods)
    troubles = [trouble for _, _, trouble in current if trouble is not None]
    if any(is_ready(pod) for pod, _, _ in current):
        return Judgement(state=EndpointState.RUNNING, replicas=replicas, message=_first(troubles, sight))
    general = service_trouble(sight.service, sight.events, has_pods=bool(current), now=now)
    lasting = [trouble for trouble in (*troubles, *([general] if general else [])) if trouble.lasting]
    if lasting:
        still = "\nits earlier version answers meanwhile" if earlier else ""
        return Judgement(state=EndpointState.ERROR, replicas=replicas, message=_first(lasting, sight) + still)
    if not current:
        return _without_pods(sight, replicas, general, may_sleep=alone and sleeps(spec))
    starting = [phase(pod, _events_of(pod, sight)) for pod, _, _ in current]
    message = _first(troubles, sight) or starting[0]
    return Judgement(state=EndpointState.STARTING, replicas=replicas, message=message)


def _without_pods(
    sight: Sight, replicas: tuple[ReplicaStatus, ...], general: Trouble | None, *, may_sleep: bool
) -> Judgement:
    if general is not None:
        return Judgement(state=EndpointState.STARTING, replicas=replicas, message=general.text)
    ready = condition_of(sight.service, "PredictorReady").get("status") == "True"
    if may_sleep and ready:
        return Judgement(state=EndpointState.RUNNING, replicas=replicas, message="it sleeps until a request comes")
    known = bool((sight.service or {}).get("status"))
    state = EndpointState.STARTING if known else EndpointState.PENDING
    return Judgement(state=state, replicas=replicas, message="its first pod is not there yet")


def _replica(pod: ApiObject, sight: Sight, now: datetime) -> tuple[ReplicaStatus, Trouble | None]:
    name = str(pod["metadata"]["name"])
    events = _events_of(pod, sight)
    trouble = None
    if is_leaving(pod):
        state, message = "draining", ""
    elif is_ready(pod):
        state, message = "ready", ""
    else:
        trouble = pod_trouble(pod, events, log=(sight.logs or {}).get(name, ""), now=now)
        state = "failed" if trouble is not None and trouble.lasting else "starting"
        message = shortened(trouble.cause, 120) if trouble is not None else phase(pod, events)
    restarts = sum(
        int(one.get("restartCount") or 0) for one in (pod.get("status") or {}).get("containerStatuses") or []
    )
    status = ReplicaStatus(name=name, state=state, port=ENGINE_PORT, in_flight=None, restarts=restarts, message=message)
    return status, trouble


def _first(troubles: Sequence[Trouble], sight: Sight) -> str:
    """The text of the worst trouble, with who has the GPUs where that is it."""
    if not troubles:
        return ""
    worst = next((trouble for trouble in troubles if trouble.lasting), troubles[0])
    return "\n".join((worst.text, *(sight.gpu_holders if "free GPUs" in worst.cause else ())))


def _events_of(pod: ApiObject, sight: Sight) -> list[Mapping[str, Any]]:
    name = pod["metadata"]["name"]
    return [event for event in sight.events if subject_of(event) == ("Pod", name)]


def _digest(thing: ApiObject) -> str | None:
    return (thing["metadata"].get("annotations") or {}).get(DIGEST)
