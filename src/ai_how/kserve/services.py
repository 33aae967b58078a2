"""What keeps KServe, or the Deployment that it makes, from making pods at all. Pure.

Condition names and reasons are KServe's (``pkg/apis/serving/v1beta1/inference_service_status.go``, the same in 0.15 and
0.20); what a Deployment says reaches the condition ``PredictorReady``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ai_how.kserve.pods import Events
from ai_how.kserve.trouble import Trouble, shortened
from ai_how.kubernetes_api.causes import cause_in_events
from ai_how.kubernetes_api.objects import ApiObject

CONTROLLER_PATIENCE_S = 30.0
"""KServe's controller writes a first status within a second or two."""
_REFUSED_SPEC = ("InvalidSpec",)
_REFUSED_REASONS = (
    "NoSupportingRuntime",
    "RuntimeNotRecognized",
    "RuntimeDisabled",
    "InvalidPredictorSpec",
    "InvalidGPUAllocation",
)


def service_trouble(service: ApiObject, events: Events, *, has_pods: bool, now: datetime) -> Trouble | None:
    """Why a revision has no pods, or never will; None where nothing is seen.

    Args:
        service: Its InferenceService.
        events: The namespace's, oldest first.
    """
    status = service.get("status") or {}
    if not status:
        return _unseen_by_kserve(service, now)
    refused = _refused_by_kserve(status)
    return refused or (None if has_pods else _without_pods(service, events))


def _refused_by_kserve(status: Mapping[str, Any]) -> Trouble | None:
    model = status.get("modelStatus") or {}
    failure = model.get("lastFailureInfo") or {}
    if model.get("transitionStatus") not in _REFUSED_SPEC and failure.get("reason") not in _REFUSED_REASONS:
        return None
    said = failure.get("message") or failure.get("reason") or "it gives no reason"
    return Trouble(
        cause=f"KServe cannot serve it: {said}", remedy="ai-how deploy up writes it anew; else: ai-how status"
    )


def _without_pods(service: ApiObject, events: Events) -> Trouble | None:
    ready = condition_of(service, "PredictorReady")
    failed, message = ready.get("status") == "False", str(ready.get("message") or "")
    if failed and ready.get("reason") == "FailedCreate":
        return _not_created(message)
    noted = cause_in_events([event for event in events if _is_of_revision(event, service)])
    if noted:
        return _not_created(noted)
    if failed and ready.get("reason") == "ReconcileFailed":
        return Trouble(cause=f"KServe could not make its Deployment: {message}", remedy="ai-how logs stack/kserve")
    return None


def _unseen_by_kserve(service: ApiObject, now: datetime) -> Trouble | None:
    try:
        made = datetime.fromisoformat(str(service["metadata"].get("creationTimestamp")))
    except ValueError:
        return None
    age_s = (now - made).total_seconds()
    if age_s < CONTROLLER_PATIENCE_S:
        return None
    return Trouble(
        cause=f"KServe's controller has not looked at it for {age_s:.0f} s: it does not run, or cannot work",
        remedy="ai-how status, then: ai-how logs stack/kserve",
    )


def _not_created(message: str) -> Trouble:
    quota = re.search(
        r"exceeded quota: (?P<name>[^,]+), requested: (?P<asked>.*?), used: (?P<used>.*?), limited: (?P<limit>.*)",
        message,
    )
    if quota:
        return Trouble(
            cause=f"the quota {quota['name']} does not allow its pod: it asks for {quota['asked']}, "
            f"used are {quota['used']} of {quota['limit']}",
            remedy="raise the quota of its namespace, or stop another endpoint: ai-how deploy stop",
        )
    if "pod security" in message.lower() or "PodSecurity" in message:
        return Trouble(cause=f"its pod {message}", remedy="ai-how deploy up writes its pods anew")
    hook = webhook_trouble(message)
    return hook or Trouble(cause=f"its pod cannot be made: {message}", lasting=False)


def webhook_trouble(message: str) -> Trouble | None:
    """What an API server's message about a webhook means; None where it is about none."""
    silent = re.search(r"failed calling webhook \"(?P<name>[^\"]+)\": (?P<why>.*)", message, re.DOTALL)
    if silent:
        return Trouble(
            cause=f"the check by {_owner(silent['name'])} does not answer: {shortened(silent['why'], 200)}",
            remedy=f"ai-how status, then: ai-how logs stack/{_part(silent['name'])}",
        )
    refused = re.search(r"admission webhook \"(?P<name>[^\"]+)\" denied the request: (?P<why>.*)", message, re.DOTALL)
    if refused:
        return Trouble(cause=f"{_owner(refused['name'])} refuses it: {shortened(refused['why'], 300)}")
    return None


def _owner(hook: str) -> str:
    return "KServe" if "kserve" in hook else hook


def _part(hook: str) -> str:
    return "kserve" if "kserve" in hook else hook.partition(".")[0]


def _is_of_revision(event: Mapping[str, Any], service: ApiObject) -> bool:
    kind, name = subject_of(event)
    own = f"{service['metadata']['name']}-predictor"
    return kind in ("Deployment", "ReplicaSet") and (name == own or name.startswith(f"{own}-"))


def subject_of(event: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name of what an event is about."""
    about = event.get("involvedObject") or {}
    return str(about.get("kind") or ""), str(about.get("name") or "")


def condition_of(thing: ApiObject | None, name: str) -> Mapping[str, Any]:
    """A condition of an object's status; empty where it has none of that name."""
    conditions = ((thing or {}).get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == name), {})
