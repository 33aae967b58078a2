"""Why a pod or what made it does not work, in one line, from what Kubernetes notes about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ai_how.kubernetes_api.objects import ApiObject

_PULL = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_START = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
_BAD_EVENTS = (
    "FailedCreate",
    "FailedMount",
    "FailedAttachVolume",
    "ProvisioningFailed",
    "FailedBinding",
    "FailedCreatePodSandBox",
    "FailedScheduling",
    "Evicted",
    "NodeNotReady",
    "Unhealthy",
)
_LONGEST = 200


def cause_of_pod(pod: ApiObject, events: Iterable[Mapping[str, Any]] = ()) -> str:
    """What is wrong with a pod, with the remedy where it is plain; empty where nothing is seen."""
    noted = list(events)
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        return _short(f"was evicted: {status.get('message', '')}")
    unscheduled = _unscheduled(status)
    if unscheduled:
        return unscheduled
    limits = {c["name"]: (c.get("resources") or {}).get("limits") or {} for c in _containers(pod)}
    for entry in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        found = _cause_of_container(entry, limits.get(entry["name"], {}), noted)
        if found:
            return found
    return cause_in_events(noted)


def cause_in_events(events: Sequence[Mapping[str, Any]]) -> str:
    """The newest warning that says why something does not go on; events oldest first."""
    for event in reversed(events):
        if event.get("type") == "Warning" and event.get("reason") in _BAD_EVENTS:
            message = str(event.get("message") or "")
            refused = re.search(r"violates PodSecurity \"[^\"]*\": (.*)", message)
            if refused:
                return _short(f"is not allowed by its namespace's pod security: {refused[1]}")
            quota = re.search(r"exceeded quota: .*", message)
            return _short(quota[0] if quota else f"{event['reason']}: {message}")
    return ""


def _unscheduled(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = str(condition.get("message") or condition.get("reason") or "")
            lacking = sorted(set(re.findall(r"Insufficient ([\w./-]*\w)", message)))
            if lacking:
                return _short(f"fits no node: not enough {', '.join(lacking)} ({message})")
            return _short(f"fits no node: {message}")
    return ""


def _cause_of_container(
    entry: Mapping[str, Any], limits: Mapping[str, Any], events: Sequence[Mapping[str, Any]]
) -> str:
    name = entry["name"]
    now = entry.get("state") or {}
    waiting = now.get("waiting") or {}
    reason = waiting.get("reason") or ""
    if reason in _PULL:
        return _short(f"{name}: cannot get its image {entry.get('image', '')}: {why_not_pulled(waiting, events)}")
    if reason in _START:
        return _short(f"{name}: cannot start: {waiting.get('message') or reason}")
    ended = now.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
    if not ended or (ended.get("exitCode") == 0 and reason != "CrashLoopBackOff"):
        return ""
    again = f", {entry['restartCount']} restarts" if entry.get("restartCount") else ""
    if ended.get("reason") == "OOMKilled":
        limit = f" of {limits['memory']}" if "memory" in limits else ""
        return f"{name}: used more memory than its limit{limit}{again}"
    if reason == "CrashLoopBackOff" or now.get("terminated"):
        return _short(f"{name}: ended with exit code {ended.get('exitCode')}{again}{_last_words(ended)}")
    return ""


def _last_words(ended: Mapping[str, Any]) -> str:
    words = str(ended.get("message") or "").strip().splitlines()
    return f": {words[-1]}" if words else ""


def why_not_pulled(waiting: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    """Why an image cannot be fetched, from a container's waiting state and its pod's events, in a few words."""
    texts = [str(waiting.get("message") or "")]
    texts += [str(e.get("message") or "") for e in reversed(events) if e.get("reason") == "Failed"]
    text = " ".join(texts)
    known = (
        (r"429|toomanyrequests", "the registry allows no more pulls for now"),
        (r"401|403|unauthorized|denied|no basic auth", "the registry refuses access"),
        (r"not found|manifest unknown|404", "the registry has no such image"),
        (r"no such host|i/o timeout|connection refused|TLS handshake", "the registry cannot be reached"),
        (r"no space left", "the node's disk is full"),
    )
    for pattern, words in known:
        if re.search(pattern, text, re.IGNORECASE):
            return words
    return texts[0] or str(waiting.get("reason"))


def _containers(pod: ApiObject) -> list[Mapping[str, Any]]:
    spec = pod.get("spec") or {}
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
