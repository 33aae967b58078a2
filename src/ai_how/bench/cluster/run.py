"""The order of a cluster's probes: leftovers, namespace, one probe after the other, and everything gone again.

A probe that cannot be carried out says why and stops no other one. One after the other, so that none disturbs another.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ai_how.bench.cluster import pods
from ai_how.bench.cluster.readings import Reading, Readings, ended_s, milliseconds, prometheus_value, started_s
from ai_how.errors import AiHowError, NotFoundError, ProviderError
from ai_how.kubernetes_api.causes import cause_of_pod
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import Mark
from ai_how.kubernetes_api.objects import Ref, ref_of
from ai_how.kubernetes_api.times import epoch_s

LEFT_AFTER_S = 2 * pods.DEADLINE_S
"""A namespace of probes that is older belongs to a run that was killed."""
COUNT = 200
POLL_S = 0.5
KSERVE_CONFIG = Ref(api_version="v1", kind="ConfigMap", namespace="kserve", name="inferenceservice-config")
BUSIEST = "max_over_time(avg(avg_over_time(DCGM_FI_DEV_GPU_UTIL[5m]))[1h:1m])"
"""The busiest five minutes of the last hour, over all GPUs: DCGM's utilisation as the GPU Operator exports it."""


@dataclass(frozen=True, kw_only=True)
class ClusterProbes:
    """What probes need. ``query`` asks Prometheus and returns its answer; None where there is no way to it.

    ``port`` is the echo's own; ``unschedulable_after_s``: how long a pod may find no node with a free GPU before that
    is the finding; ``pause`` waits between looks.
    """

    api: Client
    place: pods.Place
    domain: str
    query: Callable[[str], Mapping[str, Any]] | None = None
    timeout_s: float = pods.DEADLINE_S
    unschedulable_after_s: float = 20.0
    port: int = 18080
    say: Callable[[str], None] = lambda _: None
    pause: Callable[[float], None] = field(default=time.sleep)


def new_place(site: str, image: str) -> pods.Place:
    """A place of one run's own."""
    return pods.Place(site=site, namespace=f"ai-how-bench-{secrets.token_hex(3)}", image=image)


def image_on(api: Client) -> str:
    """An image with Python that the nodes that serve have anyway: KServe's storage initializer.

    Raises:
        NotFoundError: KServe's settings are not there, or name none.
    """
    found = api.get(KSERVE_CONFIG)
    try:
        return str(json.loads((found or {})["data"]["storageInitializer"])["image"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotFoundError(
            "no image for the probes is known",
            evidence=f"{KSERVE_CONFIG} names no storage initializer",
            next_step="give one that has python3: ai-how bench cluster --image IMAGE",
        ) from error


def measure(probes: ClusterProbes) -> Readings:
    """All probes.

    Raises:
        AiHowError: not even the namespace could be made.
    """
    nodes = probes.api.list_objects("v1", "Node").items
    with _own_namespace(probes):
        same, cross = _pairs(probes, pods.worker_names(nodes))
        return Readings(
            pod_start_s=_guarded(probes, "a pod's start", lambda: _start(probes)),
            gpu_pod_start_s=_guarded(probes, "a GPU pod's start", lambda: _gpu_start(probes, nodes)),
            dns_ms=_guarded(probes, "DNS", lambda: _dns(probes)),
            same_node_ms=same,
            cross_node_ms=cross,
            gpu_busiest_percent=_guarded(probes, "GPU utilization", lambda: _busiest(probes)),
        )


@contextmanager
def _own_namespace(probes: ClusterProbes) -> Iterator[None]:
    _remove_leftovers(probes)
    made = pods.namespace(probes.place)
    probes.api.create(made)
    try:
        yield
    finally:
        # with it goes everything in it
        probes.api.delete(ref_of(made))


def _remove_leftovers(probes: ClusterProbes) -> None:
    mark = Mark(site=probes.place.site, component=pods.COMPONENT)
    for found in probes.api.list_objects("v1", "Namespace", labels=mark.selector).items:
        made = epoch_s(found["metadata"].get("creationTimestamp"))
        if made is not None and time.time() - made > LEFT_AFTER_S:
            probes.api.delete(ref_of(found))


def _guarded(probes: ClusterProbes, what: str, probe: Callable[[], Reading]) -> Reading:
    probes.say(what)
    try:
        return probe()
    except AiHowError as error:
        first = error.evidence.splitlines()[0] if error.evidence else ""
        return Reading(note=": ".join(filter(None, (error.brief, first))))


def _start(probes: ClusterProbes) -> Reading:
    pod = _finished(probes, pods.idle_pod(probes.place, "start"))
    took_s = started_s(pod)
    if took_s is None:
        return Reading(note="the pod ended, and its status has no times")
    pulled = [event for event in probes.api.events(ref_of(pod)) if event.get("reason") == "Pulled"]
    how = str(pulled[0].get("message", "")).partition(". Image size")[0] if pulled else "no event tells of its image"
    return Reading(value=took_s, note=f"from creation to its container's start, to the second; {how}")


def _gpu_start(probes: ClusterProbes, nodes: Sequence[Mapping[str, Any]]) -> Reading:
    resource = pods.gpu_resource(nodes)
    if resource is None:
        return Reading(note="no node gives GPUs to pods")
    pod = _finished(probes, pods.gpu_pod(probes.place, "gpu", resource=resource), waits_for_gpu=True)
    said = probes.api.log(probes.place.namespace, "gpu").strip().splitlines()
    took_s = ended_s(pod)
    if took_s is None:
        return Reading(note="the pod ended, and its status has no times")
    return Reading(value=took_s, note=f"from creation until it has named its GPU: {said[0] if said else 'nothing'}")


def _dns(probes: ClusterProbes) -> Reading:
    looked_up = f"kubernetes.default.svc.{probes.domain}"
    _finished(probes, pods.dns_pod(probes.place, "dns", looked_up=looked_up, count=COUNT))
    found = milliseconds(probes.api.log(probes.place.namespace, "dns"), what="DNS")
    return replace(found, note=f"{looked_up}: {found.note}")


def _pairs(probes: ClusterProbes, workers: Sequence[str]) -> tuple[Reading, Reading]:
    """Round trips to a pod on the same node, then to it from another node."""
    if not workers:
        none = Reading(note="no node takes any pod: all have taints, are cordoned or not ready")
        return none, none
    try:
        probes.say("round trips between pods")
        server = pods.echo_pod(probes.place, "echo", node=workers[0], port=probes.port)
        probes.api.create(server)
        host = str(_awaited(probes, server, _has_address)["status"]["podIP"])
    except AiHowError as error:
        none = Reading(note=error.brief)
        return none, none
    same = _guarded(probes, "same node", lambda: _ping(probes, "same", node=workers[0], host=host))
    if len(workers) < 2:
        return same, Reading(note=f"only {workers[0]} takes any pod")
    cross = _guarded(probes, "two nodes", lambda: _ping(probes, "cross", node=workers[1], host=host))
    return same, replace(cross, note=f"{workers[1]} to {workers[0]}: {cross.note}")


def _ping(probes: ClusterProbes, name: str, *, node: str, host: str) -> Reading:
    pod = pods.ping_pod(probes.place, name, node=node, host=host, port=probes.port, count=COUNT)
    _finished(probes, pod)
    found = milliseconds(probes.api.log(probes.place.namespace, name), what="round trips")
    return replace(found, note=f"round trip of one byte over TCP; {found.note}")


def _busiest(probes: ClusterProbes) -> Reading:
    if probes.query is None:
        return Reading(note="no way to Prometheus")
    value = prometheus_value(probes.query(BUSIEST))
    if value is None:
        return Reading(note="Prometheus has no DCGM_FI_DEV_GPU_UTIL: no GPU, or no DCGM exporter")
    return Reading(value=value, note="DCGM, all GPUs, busiest five minutes of the last hour")


def _finished(probes: ClusterProbes, pod: Mapping[str, Any], *, waits_for_gpu: bool = False) -> dict[str, Any]:
    """Make a pod and wait until it has ended well."""
    probes.api.create(pod)
    return _awaited(probes, pod, _has_succeeded, waits_for_gpu=waits_for_gpu)


def _awaited(
    probes: ClusterProbes,
    pod: Mapping[str, Any],
    enough: Callable[[Mapping[str, Any]], bool],
    *,
    waits_for_gpu: bool = False,
) -> dict[str, Any]:
    """The pod once it is as wanted.

    Raises:
        ProviderError: it failed, found no node, or took too long; the brief says why.
    """
    ref, began = ref_of(pod), time.monotonic()
    while True:
        found = probes.api.get(ref)
        if found is not None and enough(found):
            return found
        waited_s = time.monotonic() - began
        if found is None or (found.get("status") or {}).get("phase") == "Failed":
            raise ProviderError(f"pod {ref.name} failed", evidence=_why(probes, found))
        stuck = waits_for_gpu and waited_s > probes.unschedulable_after_s and _unschedulable(found)
        if stuck or waited_s > probes.timeout_s:
            raise ProviderError(f"pod {ref.name} did not start within {waited_s:.0f} s", evidence=_why(probes, found))
        probes.pause(POLL_S)


def _why(probes: ClusterProbes, pod: Mapping[str, Any] | None) -> str:
    if pod is None:
        return "it is gone"
    phase = str((pod.get("status") or {}).get("phase") or "nothing is known of it")
    said = probes.api.log(probes.place.namespace, ref_of(pod).name, lines=1).strip() if phase == "Failed" else ""
    return said[-200:] or cause_of_pod(pod, probes.api.events(ref_of(pod))) or phase


def _has_succeeded(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Succeeded"


def _has_address(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def _unschedulable(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "PodScheduled" and c.get("status") == "False" for c in conditions)
