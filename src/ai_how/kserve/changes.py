"""Writes an endpoint's objects to the cluster and takes them away again, in the order in which no request is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.errors import AiHowError, ProviderError, SpecError
from ai_how.kserve.digest import pods_digest
from ai_how.kserve.look import ROUTE, RUNTIME, SERVICE, SeenEndpoint
from ai_how.kserve.objects import endpoint_objects
from ai_how.kserve.revision import ENDPOINT, REVISION, KServeRevision
from ai_how.kserve.services import webhook_trouble
from ai_how.kserve.setting import ServingSetting
from ai_how.kserve.states import DIGEST
from ai_how.kubernetes_api.apply import apply_plan, plan_objects
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.discovery import UnknownKindError
from ai_how.kubernetes_api.marks import Mark, marked
from ai_how.kubernetes_api.objects import ApiObject, Ref, ref_of
from ai_how.kubernetes_api.refusals import NotThereError, RefusedError
from ai_how.kubernetes_api.side_by_side import side_by_side
from ai_how.kubernetes_api.waiting import wait_until_gone

NUMBER = "ai-how/last-revision"
"""Annotation of the route: the highest number that a revision ever had."""
KINDS = (
    RUNTIME,
    SERVICE,
    ROUTE,
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("http.keda.sh/v1beta1", "InterceptorRoute"),
    ("http.keda.sh/v1alpha1", "HTTPScaledObject"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("gateway.nginx.org/v1alpha1", "ClientSettingsPolicy"),
    ("gateway.nginx.org/v1alpha1", "ProxySettingsPolicy"),
    ("v1", "PersistentVolumeClaim"),
)
"""Every kind that an endpoint is made of."""
_FIRST = ("PersistentVolumeClaim", "ServingRuntime")
_GONE_MARGIN_S = 60.0


def mark_of(setting: ServingSetting, name: str) -> Mark:
    """Our mark on the objects of an endpoint; no part of the stack has it, so that none removes them."""
    return Mark(site=setting.site, component=f"endpoint-{name}")


def apply_endpoint(client: Client, setting: ServingSetting, revisions: Sequence[KServeRevision], *, last: int) -> None:
    """Make an endpoint what its revisions say, and remove what of it is no longer wanted, save whole revisions.

    Args:
        last: The highest number that a revision of it ever had.

    Raises:
        SpecError: its objects cannot be so on this cluster.
        ProviderError: a check in the cluster refuses them, or does not answer.
    """
    name = revisions[0].spec.name
    things = with_remarks(endpoint_objects(revisions, setting=setting), last=last)
    mark = mark_of(setting, name)
    first = [thing for thing in things if thing["kind"] in _FIRST]
    then = [thing for thing in things if thing["kind"] not in _FIRST]
    try:
        for some in (first, then):
            apply_plan(client, plan_objects(client, [marked(thing, mark) for thing in some], mark, prune=False))
    except RefusedError as error:
        raise _explained(error, name) from error
    numbers = {str(revision.number) for revision in revisions}
    wanted = {ref_of(thing) for thing in things}
    for ref, thing in _objects_of(client, setting, name):
        number = (thing["metadata"].get("labels") or {}).get(REVISION)
        if ref not in wanted and (number is None or number in numbers):
            client.delete(ref)


def with_remarks(things: Sequence[ApiObject], *, last: int) -> list[dict[str, Any]]:
    """The objects with what is read back from them: of what pods are made, the highest number of a revision. Pure."""
    runtimes = {thing["metadata"]["name"]: thing for thing in things if thing["kind"] == "ServingRuntime"}
    found = []
    for thing in things:
        more: dict[str, str] = {}
        if thing["kind"] == "InferenceService":
            more = {DIGEST: pods_digest(runtimes[thing["metadata"]["name"]], thing)}
        elif thing["kind"] == "HTTPRoute":
            more = {NUMBER: str(last)}
        metadata = thing["metadata"]
        if more:
            metadata = {**metadata, "annotations": {**(metadata.get("annotations") or {}), **more}}
        found.append({**thing, "metadata": metadata})
    return found


def last_number(there: SeenEndpoint) -> int:
    """The highest number that a revision of an endpoint ever had."""
    kept = str(((there.route or {}).get("metadata") or {}).get("annotations", {}).get(NUMBER, ""))
    highest = max(one.revision.number for one in there.revisions)
    return max(highest, int(kept) if kept.isdecimal() else 0)


def check_shares(name: str, shares: Mapping[int, int], *, numbers: Sequence[int]) -> None:
    """Whether shares are in order.

    Raises:
        SpecError: they do not add up to 100, are out of bounds, or name a revision that is not there.
    """
    said = ", ".join(f"revision {number}: {share} %" for number, share in sorted(shares.items())) or "none"
    unknown = sorted(set(shares) - set(numbers))
    if unknown:
        has = ", ".join(map(str, numbers))
        raise SpecError(f"endpoint {name} has no revision {unknown[0]}", evidence=f"it has: {has}")
    if sum(shares.values()) != 100 or any(not 0 <= share <= 100 for share in shares.values()):
        raise SpecError(f"the shares of endpoint {name} do not add up to 100", evidence=said)


def remove_revision(client: Client, setting: ServingSetting, name: str, number: int) -> None:
    """Remove a revision that gets no requests any more; waits until its pods have finished theirs.

    Raises:
        NotWellError: it did not go in its time; the evidence says what holds it.
    """
    _remove(client, setting, [ref for ref, thing in _objects_of(client, setting, name) if _is_of(thing, number)])


def remove_endpoint(client: Client, setting: ServingSetting, name: str) -> None:
    """Remove an endpoint, its route first, so that nothing new comes while its pods finish.

    Raises:
        NotWellError: it did not go in its time; the evidence says what holds it.
    """
    refs = [ref for ref, _ in _objects_of(client, setting, name)]
    for ref in refs:
        if ref.kind == ROUTE[1] and client.delete(ref):
            wait_until_gone(client, ref, timeout_s=_GONE_MARGIN_S)
    _remove(client, setting, [ref for ref in refs if ref.kind != ROUTE[1]])


def _remove(client: Client, setting: ServingSetting, refs: Sequence[Ref]) -> None:
    """What runs goes first; what it stands on goes when it has ended."""
    running = [ref for ref in refs if ref.kind == SERVICE[1]]
    # what scales a Deployment would start it again
    scaling = [ref for ref in refs if ref.group in ("keda.sh", "http.keda.sh")]
    for ref in scaling:
        client.delete(ref)
    for ref in running:
        client.delete(ref, propagation="Foreground")
    for ref in running:
        wait_until_gone(client, ref, timeout_s=setting.serving.drain_timeout_s + _GONE_MARGIN_S)
    for ref in refs:
        if ref not in running and ref not in scaling:
            client.delete(ref)


def _objects_of(client: Client, setting: ServingSetting, name: str) -> list[tuple[Ref, ApiObject]]:
    """What is there of an endpoint, by its labels and our mark."""
    mark = mark_of(setting, name)

    def listed(kind: tuple[str, str]) -> list[dict[str, Any]]:
        try:
            return client.list_objects(*kind, setting.namespace, labels=f"{ENDPOINT}={name}").items
        except (UnknownKindError, NotThereError):
            return []  # what brings the kind is not installed

    found = [thing for things in side_by_side(listed, KINDS) for thing in things]
    return [(ref_of(thing), thing) for thing in found if mark.is_on(thing)]


def _is_of(thing: ApiObject, number: int) -> bool:
    return (thing["metadata"].get("labels") or {}).get(REVISION) == str(number)


def _explained(error: RefusedError, name: str) -> AiHowError:
    """A refusal in words: of a webhook that says no, or one that does not answer."""
    found = webhook_trouble(error.refusal.message)
    if found is None:
        return error
    return ProviderError(
        f"endpoint {name} could not be written to the cluster", evidence=found.cause, next_step=found.remedy
    )
