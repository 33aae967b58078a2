"""Has what read a Secret at its start read it again: pods that use it are made anew, and waited for.

A pod is deleted, not rolled: while an old pod is on a node, its kubelet may hand the old content of an immutable Secret
to a new one. Never changes what makes the pods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_how.apply.provider import Say
from ai_how.errors import NotFoundError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import ApiObject, Ref
from ai_how.kubernetes_api.states import state_of
from ai_how.kubernetes_api.times import epoch_s
from ai_how.kubernetes_api.waiting import wait_until_gone, wait_until_well
from ai_how.stack.stack import render_parts
from ai_how.stack_access.running import RunningStack

WELL_S = 1800
"""An engine loads its model again."""
_GONE_S = 900
"""A pod answers what it was sent before it goes."""
TICK_S = 1.1
"""The API's times have whole seconds: what is made after this is seen to be newer than what was made before it."""
_OWNERS = ("Deployment", "StatefulSet", "DaemonSet")
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, kw_only=True)
class Restart:
    """What keeps some pods, and those of them that are made anew. ``was_well``: only then it is waited for."""

    owner: Ref
    pods: Mapping[Ref, str] = field(default_factory=dict)
    was_well: bool = True


def restarts_for(stack: RunningStack, secrets: Mapping[Ref, bool]) -> tuple[Restart, ...]:
    """What has to be restarted to read these Secrets again, in the order of the stack's parts. Changes nothing.

    Args:
        secrets: Each with whether it will be another one; where not, only pods that are older than it are restarted:
            what a change that was broken off has left.

    Raises:
        NotFoundError: a pod would have to be restarted that nothing makes again.
    """
    found: dict[Ref, dict[Ref, str]] = {}
    for secret, changes in secrets.items():
        made_s = None if changes else _made_s(stack.api.get(secret))
        for pod in _pods(stack.api, secret.namespace):
            age_s = _made_s(pod)
            if uses(pod, secret.name) and (made_s is None or age_s is None or age_s <= made_s):
                _add(stack.api, pod, found)
    return _ordered(stack, found)


def restart_of(stack: RunningStack, namespace: str, labels: str) -> tuple[Restart, ...]:
    """A restart of all pods with these labels. Changes nothing."""
    found: dict[Ref, dict[Ref, str]] = {}
    for pod in _pods(stack.api, namespace, labels):
        _add(stack.api, pod, found)
    return _ordered(stack, found)


def _add(client: Client, pod: ApiObject, found: dict[Ref, dict[Ref, str]]) -> None:
    metadata = pod["metadata"]
    ref = Ref(api_version="v1", kind="Pod", namespace=metadata["namespace"], name=metadata["name"])
    found.setdefault(_owner(client, pod, ref), {})[ref] = str(metadata["uid"])


def carry_out(stack: RunningStack, restarts: Sequence[Restart], *, say: Say) -> None:
    """Restart, one owner after the other, and wait for each.

    Raises:
        NotWellError: one did not become well; the evidence says why. The same command goes on from there.
    """
    for one in restarts:
        say(f"restarting {one.owner}")
        for pod, uid in one.pods.items():
            stack.api.delete(pod, uid=uid)
        for pod, uid in one.pods.items():
            wait_until_gone(stack.api, pod, uid=uid, timeout_s=_GONE_S)
        if not one.was_well:
            say(f"{one.owner} was not well before: it is not waited for")
        elif one.owner.kind != "Pod":
            wait_until_well(stack.api, one.owner, timeout_s=WELL_S)


def uses(pod: ApiObject, secret: str) -> bool:
    """Whether a pod reads a Secret of its namespace. Pure."""
    return secret in set(_named(pod.get("spec") or {}))


def _named(spec: Mapping[str, Any]) -> Iterator[str]:
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for variable in container.get("env") or ():
            yield ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name", "")
        for source in container.get("envFrom") or ():
            yield (source.get("secretRef") or {}).get("name", "")
    for volume in spec.get("volumes") or ():
        yield (volume.get("secret") or {}).get("secretName", "")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield (source.get("secret") or {}).get("name", "")


def _pods(client: Client, namespace: str, labels: str = "") -> list[dict[str, Any]]:
    found = client.list_objects("v1", "Pod", namespace, labels=labels).items
    return [pod for pod in found if (pod.get("status") or {}).get("phase") not in _ENDED]


def _made_s(thing: ApiObject | None) -> float | None:
    return epoch_s((thing or {}).get("metadata", {}).get("creationTimestamp"))


def _owner(client: Client, pod: ApiObject, ref: Ref) -> Ref:
    """What makes a pod anew: the Deployment behind a ReplicaSet, else what owns it; itself where nothing does."""
    found, thing = ref, pod
    while found.kind not in _OWNERS:
        entry = next((each for each in thing["metadata"].get("ownerReferences") or () if each.get("controller")), None)
        if entry is None:
            return found
        found = Ref(
            api_version=str(entry["apiVersion"]),
            kind=str(entry["kind"]),
            namespace=ref.namespace,
            name=str(entry["name"]),
        )
        thing = client.get(found) or {"metadata": {}}
    return found


def _ordered(stack: RunningStack, found: Mapping[Ref, Mapping[Ref, str]]) -> tuple[Restart, ...]:
    awaited = [each for part in render_parts(stack.setting) for each in part.component.awaited]
    places = {(each.kind, each.namespace, each.name): place for place, each in enumerate(awaited)}
    last = len(places)
    owners = sorted(found, key=lambda ref: (places.get((ref.kind, ref.namespace, ref.name), last), ref))
    alone = [str(owner) for owner in owners if owner.kind == "Pod"]
    if alone:
        raise NotFoundError(
            "pods use a Secret that would be replaced, and nothing would make them again",
            evidence=", ".join(alone),
            next_step="delete them, then run the same command again",
        )
    return tuple(Restart(owner=owner, pods=found[owner], was_well=_is_well(stack.api, owner)) for owner in owners)


def _is_well(client: Client, owner: Ref) -> bool:
    live = client.get(owner)
    return live is not None and state_of(live).is_well
