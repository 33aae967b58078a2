"""One replica, by its pod and what was noted about it: what it does now, what keeps it from answering. Pure.

Container names and the fetcher's messages are KServe's (``pkg/constants``, ``pkg/utils/storage.go``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ai_how.kserve.engine_log import engine_trouble, fetch_trouble
from ai_how.kserve.scheduling import scheduling_trouble
from ai_how.kserve.trouble import Trouble
from ai_how.kubernetes_api.causes import cause_of_pod, why_not_pulled
from ai_how.kubernetes_api.objects import ApiObject

ENGINE, FETCHER = "kserve-container", "storage-initializer"
SCHEDULE_PATIENCE_S = 30.0
"""A GPU that another pod is about to let go is free within this time."""
_PULL_REFUSED = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_PULL_FAILED = ("ErrImagePull", "RegistryUnavailable")
_BACKS_OFF = {"CrashLoopBackOff", "ImagePullBackOff"}
Events = Sequence[Mapping[str, Any]]


def is_ready(pod: ApiObject) -> bool:
    """Whether requests may go to it."""
    return _condition(pod, "Ready").get("status") == "True" and not is_leaving(pod)


def newest(pods: Sequence[ApiObject]) -> ApiObject | None:
    """The pod that was made last, of those that stay where there are any."""
    ordered = sorted(pods, key=lambda pod: (not is_leaving(pod), str(pod["metadata"].get("creationTimestamp") or "")))
    return ordered[-1] if ordered else None


def is_leaving(pod: ApiObject) -> bool:
    """Whether it was told to end; it finishes its requests then."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def backs_off(pod: ApiObject) -> bool:
    """Whether something of it failed, and its node lets time pass before it tries again."""
    status = pod.get("status") or {}
    entries = (*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or []))
    reasons = {((entry.get("state") or {}).get("waiting") or {}).get("reason") for entry in entries}
    return not is_leaving(pod) and bool(reasons & _BACKS_OFF)


def engine_has_ended(pod: ApiObject) -> tuple[bool, bool]:
    """Whether the engine's last run ended, not by itself in peace; and whether it has been started again since."""
    entry = _container(pod, ENGINE)
    ended = _ended(entry)
    again = "terminated" not in (entry.get("state") or {})
    return bool(ended) and ended.get("exitCode") != 0, again


def container_to_read(pod: ApiObject) -> tuple[str, bool] | None:
    """Whose log tells most, and whether of its run before the last restart; None while nothing has run."""
    engine, fetcher = _container(pod, ENGINE), _container(pod, FETCHER)
    for name, entry in ((ENGINE, engine), (FETCHER, fetcher)):
        state = entry.get("state") or {}
        if "running" in state or "terminated" in state:
            return name, False
        if (entry.get("lastState") or {}).get("terminated"):
            return name, True
    return None


def phase(pod: ApiObject, events: Events) -> str:
    """What a replica that is not ready does now, in a few words."""
    if _condition(pod, "PodScheduled").get("status") != "True":
        return "waiting for a node"
    fetcher = _container(pod, FETCHER)
    if "running" in (fetcher.get("state") or {}):
        return "fetching the model's files"
    if "running" in (_container(pod, ENGINE).get("state") or {}):
        return "loading the model"
    pulls = [event for event in events if event.get("reason") in ("Pulling", "Pulled")]
    if pulls and pulls[-1]["reason"] == "Pulling":
        return f"pulling {_image_of(pulls[-1])}"
    return "being set up on its node"


def pod_trouble(pod: ApiObject, events: Events, *, log: str = "", now: datetime) -> Trouble | None:
    """What keeps the replica from answering; None where nothing is seen.

    Args:
        events: What was noted about this pod, oldest first.
        log: The end of the engine's log, of the run that ended where there was one.
    """
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        return Trouble(cause=f"its node gave it up: {status.get('message', '')}", lasting=False)
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        waited_s = (now - _time(scheduled.get("lastTransitionTime"), now)).total_seconds()
        return scheduling_trouble(str(scheduled.get("message") or ""), lasting=waited_s >= SCHEDULE_PATIENCE_S)
    for entry in (*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])):
        found = _not_pulled(entry, events)
        if found is None and entry["name"] == FETCHER:
            found = _not_fetched(pod, entry)
        elif found is None and entry["name"] == ENGINE:
            found = _engine_ended(pod, entry, events, log)
        if found is not None:
            return found
    other = cause_of_pod(pod, [event for event in events if event.get("reason") != "Unhealthy"])
    return Trouble(cause=other, lasting=False) if other else None


def _not_pulled(entry: Mapping[str, Any], events: Events) -> Trouble | None:
    waiting = (entry.get("state") or {}).get("waiting") or {}
    if waiting.get("reason") not in (*_PULL_REFUSED, *_PULL_FAILED):
        return None
    return Trouble(
        cause=f"its node cannot get the image {entry.get('image', '')}: {why_not_pulled(waiting, events)}",
        remedy="let the nodes reach the registry, or hand them the images: ai-how bundle create, then bundle load",
        lasting=waiting.get("reason") in _PULL_REFUSED,
    )


def _not_fetched(pod: ApiObject, entry: Mapping[str, Any]) -> Trouble | None:
    ended = _ended(entry)
    if not ended or ended.get("exitCode") == 0:
        return None
    if ended.get("reason") == "OOMKilled":
        limit = _limit(pod, "initContainers", FETCHER)
        return Trouble(cause=f"fetching the model's files used more memory than its limit{limit}")
    found = fetch_trouble(str(ended.get("message") or ""))
    # the first attempt may meet a store that has just been started
    return found if entry.get("restartCount") or "waiting" in (entry.get("state") or {}) else _passing(found)


def _engine_ended(pod: ApiObject, entry: Mapping[str, Any], events: Events, log: str) -> Trouble | None:
    waiting = (entry.get("state") or {}).get("waiting") or {}
    if waiting.get("reason") in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        said = waiting.get("message") or waiting["reason"]
        return Trouble(cause=f"its container cannot be made: {said}", remedy="ai-how up puts right what it lacks")
    ended = _ended(entry)
    if not ended:
        return None
    if ended.get("reason") == "OOMKilled":
        limit = _limit(pod, "containers", ENGINE)
        return Trouble(
            cause=f"it used more of the node's memory than its limit{limit} (host memory, not the GPU's)",
            remedy="serve a smaller model, or give its node more memory",
        )
    crashing = waiting.get("reason") == "CrashLoopBackOff" or int(entry.get("restartCount") or 0) > 1
    found = engine_trouble(log or str(ended.get("message") or ""))
    killed = [str(e.get("message")) for e in events if e.get("reason") == "Killing" and "startup probe" in str(e)]
    if killed and (found is None or not found.lasting):
        return Trouble(
            cause="it was not ready in its time and was ended" + (f"; last it said: {found.cause}" if found else ""),
            remedy="raise serving.start_timeout_s in the site file and deploy it again",
            lasting=crashing,
        )
    if found is None:
        found = Trouble(cause=f"the engine ended with exit code {ended.get('exitCode')}", lasting=False)
    if crashing and not found.lasting:
        return Trouble(cause=f"{found.cause} ({entry.get('restartCount', 0)} restarts)", remedy=found.remedy)
    return found


def _passing(trouble: Trouble) -> Trouble:
    return Trouble(cause=trouble.cause, remedy=trouble.remedy, lasting=False)


def _ended(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """How its run ended that ended last; empty while none has, or a later one is ready."""
    now = entry.get("state") or {}
    if "terminated" in now:
        return now["terminated"] or {}
    return {} if entry.get("ready") else (entry.get("lastState") or {}).get("terminated") or {}


def _limit(pod: ApiObject, group: str, name: str) -> str:
    for container in (pod.get("spec") or {}).get(group) or []:
        memory = ((container.get("resources") or {}).get("limits") or {}).get("memory")
        if container.get("name") == name and memory:
            return f" of {memory}"
    return ""


def _container(pod: ApiObject, name: str) -> Mapping[str, Any]:
    status = pod.get("status") or {}
    entries = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((entry for entry in entries if entry.get("name") == name), {})


def _condition(pod: ApiObject, name: str) -> Mapping[str, Any]:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == name), {})


def _image_of(event: Mapping[str, Any]) -> str:
    found = re.search(r'image "([^"]+)"', str(event.get("message") or ""))
    return f"the image {found[1]}" if found else "its image"


def _time(text: object, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return otherwise
