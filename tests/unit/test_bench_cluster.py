"""Probes of a cluster: what is made, what is read from it, and the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ai_how.bench.cluster import pods, readings
from ai_how.bench.cluster.readings import Reading, Readings
from ai_how.errors import ProviderError

PLACE = pods.Place(site="lab", namespace="ai-how-bench-1", image="kserve/storage-initializer:v0.20.0")
ALL = (
    pods.idle_pod(PLACE, "start"),
    pods.gpu_pod(PLACE, "gpu", resource="nvidia.com/gpu"),
    pods.dns_pod(PLACE, "dns", looked_up="kubernetes.default.svc.cluster.local", count=5),
    pods.echo_pod(PLACE, "echo", node="a", port=18080),
    pods.ping_pod(PLACE, "ping", node="b", host="10.0.0.1", port=18080, count=5),
)


@pytest.mark.parametrize("pod", ALL, ids=lambda pod: pod["metadata"]["name"])
def test_every_pod_is_ours_short_and_may_do_nothing(pod: dict[str, Any]) -> None:
    assert pod["metadata"]["labels"]["ai-how/component"] == "bench-cluster"
    assert pod["metadata"]["namespace"] == "ai-how-bench-1"
    spec = pod["spec"]
    assert spec["activeDeadlineSeconds"] == 300
    assert spec["restartPolicy"] == "Never"
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["image"] == PLACE.image


def test_the_namespace_holds_pods_to_the_restricted_level() -> None:
    labels = pods.namespace(PLACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["ai-how/site"] == "lab"


def test_a_gpu_is_asked_for_by_the_name_that_nodes_give_it() -> None:
    assert pods.gpu_resource([node("a"), node("b", **{"nvidia.com/gpu": "1"})]) == "nvidia.com/gpu"
    assert pods.gpu_resource([node("a", **{"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "2"})]) == (
        "nvidia.com/mig-1g.10gb"
    )
    assert pods.gpu_resource([node("a")]) is None
    limits = pods.gpu_pod(PLACE, "gpu", resource="nvidia.com/mig-1g.10gb")["spec"]["containers"][0]["resources"][
        "limits"
    ]
    assert limits == {"nvidia.com/mig-1g.10gb": "1"}


def node(
    name: str, *, ready: str = "True", taint: str = "", cordoned: bool = False, **allocatable: str
) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"unschedulable": cordoned, "taints": [{"key": "k", "effect": taint}] if taint else []},
        "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": ready}]},
    }


def test_only_nodes_that_take_any_pod_are_paired() -> None:
    found = [
        node("d"),
        node("a"),
        node("off", ready="Unknown"),
        node("tainted", taint="NoSchedule"),
        node("cordoned", cordoned=True),
        node("mild", taint="PreferNoSchedule"),
    ]
    assert pods.worker_names(found) == ["a", "d", "mild"]


def test_a_percentile_is_told_with_what_it_is_of() -> None:
    log = "warning: something\n" + json.dumps({"ms": [float(n) for n in range(100)]}) + "\n"
    found = readings.milliseconds(log, what="DNS")
    assert found.value == pytest.approx(94.05)
    assert found.note == "P95 of 100; P50 49.5 ms, longest 99 ms"
    assert readings.milliseconds('{"ms": [1.0, 2.0]}', what="DNS") == Reading(note="2 samples are too few for P95")


@pytest.mark.parametrize("log", ["", "Traceback\nOSError: no route", "[1]", '{"ms": ["x"]}', '{"ms": null}'])
def test_a_log_without_figures_is_an_error_with_its_end(log: str) -> None:
    with pytest.raises(ProviderError, match="the probe of DNS printed no figures") as refused:
        readings.milliseconds(log, what="DNS")
    assert refused.value.evidence == log.strip()


def pod(**state: Any) -> dict[str, Any]:
    status = {"containerStatuses": [{"name": "probe", "state": state}]} if state else {}
    return {"metadata": {"creationTimestamp": "2026-03-01T10:00:00Z"}, "status": status}


def test_times_of_a_pod() -> None:
    ended = pod(terminated={"startedAt": "2026-03-01T10:00:07Z", "finishedAt": "2026-03-01T10:00:09Z"})
    assert (readings.started_s(ended), readings.ended_s(ended)) == (7, 9)
    assert readings.started_s(pod(running={"startedAt": "2026-03-01T10:00:07Z"})) == 7
    assert readings.started_s(pod(waiting={"reason": "ContainerCreating"})) is None
    assert readings.started_s(pod()) is None
    # a node whose clock is behind
    assert readings.started_s(pod(running={"startedAt": "2026-03-01T09:59:58Z"})) == 0


def test_what_prometheus_answers() -> None:
    assert readings.prometheus_value({"data": {"result": [{"value": [1, "81.5"]}]}}) == 81.5
    assert readings.prometheus_value({"data": {"result": []}}) is None
    assert readings.prometheus_value({}) is None


NOTHING = Readings(**{name: Reading(note="why") for name in Readings.__dataclass_fields__})


def outcomes(found: Readings) -> dict[str, str]:
    return {row.metric: row.outcome for row in readings.verdict(found, gpu_utilization_percent=70)}


def test_what_was_not_measured_never_passes() -> None:
    assert set(outcomes(NOTHING).values()) == {"not measured"}
    assert all(row.note for row in readings.verdict(NOTHING, gpu_utilization_percent=70))


@pytest.mark.parametrize(
    ("field", "metric", "good", "bad"),
    [
        ("pod_start_s", "pod start", 29, 30),
        ("gpu_pod_start_s", "GPU pod start", 119, 120),
        ("dns_ms", "DNS look-up", 49.9, 50),
        ("same_node_ms", "pod to pod, same node", 0.99, 1),
        ("cross_node_ms", "pod to pod, two nodes", 4.9, 5),
    ],
)
def test_each_figure_is_held_against_the_requirements(field: str, metric: str, good: float, bad: float) -> None:
    assert outcomes(replace(NOTHING, **{field: Reading(value=good)}))[metric] == "pass"
    assert outcomes(replace(NOTHING, **{field: Reading(value=bad)}))[metric] == "fail"


def test_idle_gpus_are_no_failure() -> None:
    busy = replace(NOTHING, gpu_busiest_percent=Reading(value=80))
    assert outcomes(busy)["GPU utilization"] == "pass"
    idle = readings.verdict(replace(NOTHING, gpu_busiest_percent=Reading(value=3)), gpu_utilization_percent=70)[-1]
    assert (idle.outcome, idle.measured) == ("not measured", None)
    assert idle.note.startswith("the busiest five minutes had 3 %: no peak load then")
