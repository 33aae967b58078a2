"""Reads endpoints from a cluster: their revisions, and what is to be seen of each. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ai_how.errors import AiHowError, SpecError
from ai_how.kserve.pods import ENGINE, engine_has_ended
from ai_how.kserve.revision import ENDPOINT, KServeRevision, endpoint_of, number_of, revision_of
from ai_how.kserve.routing import shares_of
from ai_how.kserve.scheduling import holders_of_gpus, wants_gpu
from ai_how.kserve.setting import ServingSetting
from ai_how.kserve.states import Sight
from ai_how.kubernetes_api.client import Client, event_time
from ai_how.kubernetes_api.discovery import UnknownKindError
from ai_how.kubernetes_api.objects import ApiObject
from ai_how.kubernetes_api.refusals import NotThereError
from ai_how.kubernetes_api.side_by_side import side_by_side

RUNTIME = ("serving.kserve.io/v1alpha1", "ServingRuntime")
SERVICE = ("serving.kserve.io/v1beta1", "InferenceService")
ROUTE = ("gateway.networking.k8s.io/v1", "HTTPRoute")
_SERVICE_OF_POD = "serving.kserve.io/inferenceservice"
"""Label that KServe puts onto pods."""
_LOG_LINES = 200


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One revision and what is to be seen of it."""

    revision: KServeRevision
    sight: Sight


@dataclass(frozen=True, kw_only=True)
class SeenEndpoint:
    """One endpoint: its revisions by number, at least one; its route; numbers of runtimes that are damaged."""

    name: str
    revisions: tuple[Seen, ...]
    route: ApiObject | None = None

    @property
    def main(self) -> Seen:
        """The revision that has most of the requests; the newest of several."""
        return max(self.revisions, key=lambda one: (one.revision.share_percent, one.revision.number))


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a cluster has: endpoints by name, and why others could not be read."""

    endpoints: Mapping[str, SeenEndpoint]
    damaged: Mapping[str, SpecError]


def look(client: Client, setting: ServingSetting, name: str = "") -> Looked:
    """The endpoints of a cluster, or the one of that name.

    Raises:
        AiHowError: the cluster cannot be asked.
    """
    space = setting.namespace
    labels = f"{ENDPOINT}={name}" if name else ENDPOINT
    # pods bear what KServe copies, and events no labels at all
    reads: Sequence[Callable[[], list[dict[str, Any]]]] = (
        partial(_listed, client, *RUNTIME, space, labels),
        partial(_listed, client, *SERVICE, space, labels),
        partial(_listed, client, *ROUTE, space, labels),
        partial(_listed, client, "v1", "Pod", space, _SERVICE_OF_POD),
        partial(_listed, client, "v1", "Event", space, ""),
    )
    runtimes, services, routes, pods, events = side_by_side(lambda read: read(), reads)
    by_name = {str(route["metadata"]["name"]): route for route in routes}
    revisions, damaged = _revisions(runtimes, by_name)
    events.sort(key=event_time)
    found: dict[str, list[Seen]] = {}
    for revision in revisions:
        service = next((one for one in services if one["metadata"]["name"] == revision.name), None)
        own = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(_SERVICE_OF_POD) == revision.name]
        sight = Sight(
            service=service,
            pods=own,
            events=events,
            logs=_logs(client, space, own),
            gpu_holders=_holders(client, own),
        )
        found.setdefault(revision.spec.name, []).append(Seen(revision=revision, sight=sight))
    seen = {
        each: SeenEndpoint(
            name=each,
            revisions=tuple(sorted(found[each], key=lambda one: one.revision.number)),
            route=by_name.get(each),
        )
        for each in sorted(found)
    }
    return Looked(endpoints=seen, damaged=damaged)


def _revisions(
    runtimes: Sequence[ApiObject], routes: Mapping[str, ApiObject]
) -> tuple[list[KServeRevision], dict[str, SpecError]]:
    sound, damaged = [], {}
    for runtime in runtimes:
        name, number = endpoint_of(runtime), number_of(runtime)
        shares = shares_of(routes[name]) if name in routes else {}
        try:
            sound.append(revision_of(runtime, share_percent=shares.get(number or 0, 0)))
        except SpecError as error:
            damaged[name] = error
    return sound, damaged


def _listed(client: Client, api_version: str, kind: str, space: str, labels: str) -> list[dict[str, Any]]:
    try:
        return client.list_objects(api_version, kind, space, labels=labels).items
    except (UnknownKindError, NotThereError):
        return []  # what brings the kind is not installed: then there is none


def _logs(client: Client, space: str, pods: Sequence[ApiObject]) -> dict[str, str]:
    """The ends of the logs of engines that have ended."""
    found = {}
    for pod in pods:
        ended, restarted = engine_has_ended(pod)
        if not ended:
            continue
        name = str(pod["metadata"]["name"])
        try:
            found[name] = client.log(space, name, container=ENGINE, lines=_LOG_LINES, previous=restarted)
        except AiHowError:
            continue  # a log that is gone with its container must not hide the state itself
    return found


def _holders(client: Client, pods: Sequence[ApiObject]) -> tuple[str, ...]:
    if not any(wants_gpu(pod) for pod in pods):
        return ()
    nodes, everything = side_by_side(lambda kind: client.list_objects("v1", kind).items, ("Node", "Pod"))
    return holders_of_gpus(nodes, everything)
