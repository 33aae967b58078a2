"""Is an object well? Read from its status, for each kind as its controller means it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ai_how.kubernetes_api.objects import ApiObject


class Health(StrEnum):
    """``waiting``: not yet; ``failed``: it will not become well by waiting."""

    WELL = "well"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class State:
    """How an object is, with a reason in a few words where it is not well."""

    health: Health
    reason: str = ""

    @property
    def is_well(self) -> bool:
        return self.health is Health.WELL


WELL = State(health=Health.WELL)
_USUAL = ("Ready", "Available", "Established", "Programmed", "Accepted")


def state_of(thing: ApiObject, condition: str = "") -> State:
    """How the object is: by a named condition, by what is usual for its kind, or by a usual condition if it has one."""
    if condition:
        return by_condition(thing, condition)
    if _is_behind(thing):
        return _waiting("its controller has not seen the newest version yet")
    reader = _READERS.get(str(thing.get("kind")))
    if reader is not None:
        return reader(thing)
    known = {entry.get("type") for entry in _conditions(thing)}
    usual = next((name for name in _USUAL if name in known), None)
    return by_condition(thing, usual) if usual else WELL


def by_condition(thing: ApiObject, name: str) -> State:
    """Well while the named condition is True."""
    found = _condition(thing, name)
    if found is None:
        return _waiting(f"{name} is not known yet")
    seen = found.get("observedGeneration")
    if isinstance(seen, int) and seen < thing.get("metadata", {}).get("generation", 0):
        return _waiting(f"{name} is of an older version")
    if found.get("status") == "True":
        return WELL
    return _waiting(_said(found) or f"{name} is {found.get('status')}")


def _deployment(thing: ApiObject) -> State:
    progressing = _condition(thing, "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        return State(health=Health.FAILED, reason=_said(progressing))
    status, wanted = _status(thing), _wanted(thing)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted:
        return _waiting(f"{updated} of {wanted} replicas are new")
    if status.get("replicas", 0) > updated:
        return _waiting(f"{status['replicas'] - updated} old replicas are still there")
    return WELL if available >= wanted else _waiting(f"{available} of {wanted} replicas are available")


def _stateful_set(thing: ApiObject) -> State:
    status, wanted = _status(thing), _wanted(thing)
    strategy = thing.get("spec", {}).get("updateStrategy") or {}
    kept = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if ready < wanted:
        return _waiting(f"{ready} of {wanted} replicas are ready")
    if strategy.get("type") != "OnDelete" and updated < wanted - kept:
        return _waiting(f"{updated} of {wanted - kept} replicas are new")
    return WELL


def _daemon_set(thing: ApiObject) -> State:
    status = _status(thing)
    if "desiredNumberScheduled" not in status:
        return _waiting("no nodes have been chosen yet")
    wanted = status["desiredNumberScheduled"]
    for key, words in (("updatedNumberScheduled", "are new"), ("numberAvailable", "are available")):
        if status.get(key, 0) < wanted:
            return _waiting(f"{status.get(key, 0)} of {wanted} pods {words}")
    return WELL


def _job(thing: ApiObject) -> State:
    failed = _condition(thing, "Failed")
    if failed is not None and failed.get("status") == "True":
        return State(health=Health.FAILED, reason=_said(failed) or "it failed")
    complete = _condition(thing, "Complete")
    if complete is not None and complete.get("status") == "True":
        return WELL
    status = _status(thing)
    return _waiting(f"{status.get('succeeded', 0)} done, {status.get('active', 0)} running")


def _definition(thing: ApiObject) -> State:
    names = _condition(thing, "NamesAccepted")
    if names is not None and names.get("status") == "False":
        return State(health=Health.FAILED, reason=_said(names))
    return by_condition(thing, "Established")


def _pod(thing: ApiObject) -> State:
    phase = _status(thing).get("phase", "Pending")
    if phase == "Succeeded":
        return WELL
    if phase == "Failed":
        return State(health=Health.FAILED, reason=str(_status(thing).get("message") or "it failed"))
    return by_condition(thing, "Ready") if phase == "Running" else _waiting(f"it is {str(phase).lower()}")


def _claim(thing: ApiObject) -> State:
    phase = _status(thing).get("phase", "Pending")
    if phase == "Lost":
        return State(health=Health.FAILED, reason="its volume is lost")
    return WELL if phase == "Bound" else _waiting("it has no volume yet")


def _service(thing: ApiObject) -> State:
    if thing.get("spec", {}).get("type") != "LoadBalancer" or _status(thing).get("loadBalancer", {}).get("ingress"):
        return WELL
    return _waiting("it has no external address yet")


def _namespace(thing: ApiObject) -> State:
    if _status(thing).get("phase") == "Terminating":
        return State(health=Health.FAILED, reason="it is going away")
    return WELL


_READERS: Mapping[str, Callable[[ApiObject], State]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "CustomResourceDefinition": _definition,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "Service": _service,
    "Namespace": _namespace,
}


def _is_behind(thing: ApiObject) -> bool:
    seen = _status(thing).get("observedGeneration")
    generation = thing.get("metadata", {}).get("generation", 0)
    if seen is None:
        return thing.get("kind") in ("Deployment", "StatefulSet", "DaemonSet")
    return isinstance(seen, int) and seen < generation


def _waiting(reason: str) -> State:
    return State(health=Health.WAITING, reason=reason)


def _status(thing: ApiObject) -> Mapping[str, Any]:
    return thing.get("status") or {}


def _wanted(thing: ApiObject) -> int:
    replicas = thing.get("spec", {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def _conditions(thing: ApiObject) -> list[Mapping[str, Any]]:
    return _status(thing).get("conditions") or []


def _condition(thing: ApiObject, name: str) -> Mapping[str, Any] | None:
    return next((entry for entry in _conditions(thing) if entry.get("type") == name), None)


def _said(condition: Mapping[str, Any]) -> str:
    return str(condition.get("message") or condition.get("reason") or "")
