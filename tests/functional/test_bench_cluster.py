"""``ai-how bench cluster`` on a stand-in API server whose kubelet runs the probes' programs as processes here."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from click.testing import CliRunner

from ai_how.bench.cluster import pods
from ai_how.bench.cluster.readings import prometheus_value
from ai_how.bench.cluster.run import BUSIEST, ClusterProbes, image_on, measure, new_place
from ai_how.cli.app import root
from ai_how.errors import NotFoundError, ProviderError
from ai_how.kubernetes_api.client import Client
from ai_how.stack_access.metrics import open_prometheus
from ai_how.stack_access.running import open_running_stack
from tests.process_backend import free_port

from .api_server import StandIn, stand_in
from .running_stack import StackOnLoopback, stack_on_loopback

IMAGE = "kserve/storage-initializer:v0.20.0"
CONFIG = {
    "metadata": {"name": "inferenceservice-config", "namespace": "kserve"},
    "data": {"storageInitializer": json.dumps({"image": IMAGE})},
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[Client, StandIn]]:
    with stand_in(tmp_path) as (endpoint, server):
        yield endpoint.client(), server


def add_nodes(server: StandIn, *names: str, gpus: str = "0") -> None:
    kind = server.store.kind_of("", "v1", "nodes")
    for name in names:
        ready = [{"type": "Ready", "status": "True"}]
        status = {"conditions": ready, "allocatable": {"nvidia.com/gpu": gpus}}
        node = {"metadata": {"name": name}, "status": status, "spec": {}}
        server.store.write(kind, "", name, node, "kubelet", "Update")


class Kubelet:
    """Runs each pod that appears: its command as a process, its output as its log.

    Pods in ``refused`` never find a node, those in ``failing`` end badly; ``nvidia-smi`` names a GPU.
    """

    def __init__(self, server: StandIn, *, refused: tuple[str, ...] = (), failing: tuple[str, ...] = ()) -> None:
        self.server = server
        self.refused, self.failing = refused, failing
        self.seen: dict[str, dict[str, Any]] = {}
        self.running: list[subprocess.Popen[str]] = []
        self.ended = threading.Event()

    def run(self) -> None:
        kind = self.server.store.kind_of("", "v1", "pods")
        while not self.ended.wait(0.02):
            for pod in self.server.store.listed(kind, "", lambda pod: "status" not in pod):
                self.seen[pod["metadata"]["name"]] = pod
                self._status(pod, {"phase": "Pending"})
                threading.Thread(target=self._begin, args=(pod,), daemon=True).start()

    def _begin(self, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        if name in self.refused:
            lacking = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            message = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
            self._status(pod, {"phase": "Pending", "conditions": [{**lacking, "message": message}]})
            return
        words = pod["spec"]["containers"][0]["command"]
        # the cluster's name for its API server is known in the cluster alone
        words = ["localhost" if word.startswith("kubernetes.default") else word for word in words]
        local = ["echo", "GPU 0: Stand-in"] if words[0] == "nvidia-smi" else [sys.executable, *words[1:]]
        began = _now()
        process = subprocess.Popen(local, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.running.append(process)
        self._status(pod, {"phase": "Running", "podIP": "127.0.0.1", **_state(running={"startedAt": began})})
        said, _ = process.communicate()
        self.server.logs[pod["metadata"]["namespace"], name] = said
        well = process.returncode == 0 and name not in self.failing
        times = {"startedAt": began, "finishedAt": _now(), "exitCode": 0 if well else 1, "reason": "Completed"}
        self._status(pod, {"phase": "Succeeded" if well else "Failed", **_state(terminated=times)})

    def _status(self, pod: dict[str, Any], status: dict[str, Any]) -> None:
        kind, metadata = self.server.store.kind_of("", "v1", "pods"), pod["metadata"]
        if (*kind.resource, metadata["namespace"], metadata["name"]) in self.server.store.objects:
            done = {**pod, "status": status}
            self.server.store.write(kind, metadata["namespace"], metadata["name"], done, "kubelet", "Update")


def _state(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "probe", "state": state}]}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def kubelet(server: StandIn, **more: tuple[str, ...]) -> Iterator[Kubelet]:
    made = Kubelet(server, **more)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.ended.set()
        thread.join()
        for process in made.running:
            process.kill()
            process.wait()


def probes(client: Client, **more: Any) -> ClusterProbes:
    place = new_place("lab", IMAGE)
    return ClusterProbes(api=client, place=place, domain="cluster.local", timeout_s=30, port=free_port(), **more)


def namespaces(server: StandIn) -> set[str]:
    """Those of probes that were not told to go."""
    kind = server.store.kind_of("", "v1", "namespaces")
    found = server.store.listed(kind, "", lambda one: "deletionTimestamp" not in one["metadata"])
    return {one["metadata"]["name"] for one in found if one["metadata"]["name"].startswith("ai-how-bench-")}


def test_every_figure_is_measured_and_nothing_is_left(lab: tuple[Client, StandIn]) -> None:
    client, server = lab
    add_nodes(server, "worker-1", "worker-2", gpus="1")
    asked: list[str] = []

    def query(text: str) -> dict[str, Any]:
        asked.append(text)
        return {"data": {"result": [{"value": [0, "85"]}]}}

    with kubelet(server) as pods_ran:
        found = measure(probes(client, query=query))
    assert found.pod_start_s.value is not None and found.gpu_pod_start_s.value is not None
    assert "GPU 0: Stand-in" in found.gpu_pod_start_s.note
    for reading in (found.dns_ms, found.same_node_ms, found.cross_node_ms):
        assert reading.value is not None and reading.value > 0, reading
        assert "P95 of 200" in reading.note
    assert found.gpu_busiest_percent.value == 85
    assert "DCGM_FI_DEV_GPU_UTIL" in asked[0]
    placed = {name: pod["spec"].get("nodeSelector") for name, pod in pods_ran.seen.items()}
    first, second = {"kubernetes.io/hostname": "worker-1"}, {"kubernetes.io/hostname": "worker-2"}
    assert placed == {"start": None, "gpu": None, "dns": None, "echo": first, "same": first, "cross": second}
    assert namespaces(server) == set()


def test_what_cannot_be_measured_says_why_and_stops_nothing_else(lab: tuple[Client, StandIn]) -> None:
    client, server = lab
    add_nodes(server, "worker-1", gpus="1")
    with kubelet(server, refused=("gpu",), failing=("dns",)):
        found = measure(replace(probes(client), unschedulable_after_s=0.5))
    assert found.pod_start_s.value is not None
    assert found.gpu_pod_start_s.value is None and "nvidia.com/gpu" in found.gpu_pod_start_s.note
    assert found.dns_ms.value is None and found.dns_ms.note.startswith("pod dns failed: ")
    assert found.dns_ms.note.endswith("]}"), "the end of what it printed"
    assert found.same_node_ms.value is not None
    assert found.cross_node_ms.note == "only worker-1 takes any pod"
    assert found.gpu_busiest_percent.note == "no way to Prometheus"


def test_a_cluster_without_gpus_or_workers(lab: tuple[Client, StandIn]) -> None:
    client, server = lab
    with kubelet(server):
        found = measure(probes(client))
    assert found.gpu_pod_start_s.note == "no node gives GPUs to pods"
    assert "no node takes any pod" in found.same_node_ms.note == found.cross_node_ms.note


def test_a_run_that_is_broken_off_leaves_nothing(lab: tuple[Client, StandIn]) -> None:
    client, server = lab
    add_nodes(server, "worker-1")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(probes(client, pause=interrupt))
    assert namespaces(server) == set()


def test_what_a_killed_run_left_goes_and_what_runs_beside_stays(lab: tuple[Client, StandIn]) -> None:
    client, server = lab
    for name, made in (("ai-how-bench-old", "2026-01-01T00:00:00Z"), ("ai-how-bench-new", _now())):
        client.create(pods.namespace(pods.Place(site="lab", namespace=name, image=IMAGE)))
        server.store.objects["", "namespaces", "", name]["metadata"]["creationTimestamp"] = made
    client.create(pods.namespace(pods.Place(site="other", namespace="ai-how-bench-theirs", image=IMAGE)))
    server.store.objects["", "namespaces", "", "ai-how-bench-theirs"]["metadata"]["creationTimestamp"] = (
        "2026-01-01T00:00:00Z"
    )
    with kubelet(server):
        measure(probes(client))
    assert namespaces(server) == {"ai-how-bench-new", "ai-how-bench-theirs"}


def test_the_image_is_the_one_that_nodes_have_anyway(lab: tuple[Client, StandIn]) -> None:
    client, _ = lab
    with pytest.raises(NotFoundError, match="no image for the probes") as refused:
        image_on(client)
    assert "--image" in refused.value.next_step
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kserve"}})
    client.create({"apiVersion": "v1", "kind": "ConfigMap", **CONFIG})
    assert image_on(client) == IMAGE


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StackOnLoopback]:
    with stack_on_loopback(tmp_path) as made:
        made.put("namespaces", "", {"metadata": {"name": "kserve"}})
        made.put("configmaps", "kserve", CONFIG)
        add_nodes(made.server, "cloud-cpu-worker-1")
        monkeypatch.setattr("ai_how.cli.bench_cluster.open_kubernetes", made.provider)
        monkeypatch.setattr("ai_how.bench.cluster.run.ClusterProbes", _on_free_port(ClusterProbes))
        yield made


def _on_free_port(kind: type[ClusterProbes]) -> Callable[..., ClusterProbes]:
    return lambda **values: kind(**values, port=free_port(), timeout_s=30)


def test_the_command_shows_a_verdict_with_how(stack: StackOnLoopback) -> None:
    with kubelet(stack.server):
        said = CliRunner().invoke(root, ["bench", "cluster", "cloud"], catch_exceptions=False)
    assert said.exit_code == 0
    assert max(map(len, said.stdout.splitlines())) <= 80
    lines = said.stdout.splitlines()
    assert lines[0].split() == ["TARGET", "WANTED", "MEASURED", "VERDICT"]
    assert any(line.startswith("pod start") and line.endswith("pass") for line in lines)
    assert any(line.startswith("GPU pod start") and line.endswith("not measured") for line in lines)
    assert "ai-how bench run NAME" in said.stdout
    assert "prometheus does not run on cluster cloud" in said.stderr


def test_the_command_as_json_and_as_an_exit_code(stack: StackOnLoopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_how.bench.cluster.readings.DNS_MS", 1e-9)
    words = ["bench", "cluster", "-o", "json", "--image", "other/python:3", "--fail-on-miss"]
    with kubelet(stack.server) as ran:
        said = CliRunner().invoke(root, words, catch_exceptions=False)
    assert said.exit_code == 3
    found = json.loads(said.stdout)
    assert found["image"] == "other/python:3" == ran.seen["dns"]["spec"]["containers"][0]["image"]
    assert {row["metric"]: row["outcome"] for row in found["verdict"]}["DNS look-up"] == "fail"


@pytest.fixture
def prometheus() -> Iterator[tuple[int, list[str]]]:
    """A server that answers every query with 85, and what it was asked."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(unquote_plus(self.path))
            well = "DCGM" in asked[-1]
            body = json.dumps({"status": "success", "data": {"result": [{"value": [0, "85"]}]}}).encode()
            self.send_response(200 if well else 400)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port, asked
        server.shutdown()
        thread.join()


def test_how_busy_gpus_were_is_asked_of_prometheus_over_ssh(
    stack: StackOnLoopback, prometheus: tuple[int, list[str]]
) -> None:
    port, asked = prometheus
    stack.put("namespaces", "", {"metadata": {"name": "monitoring"}})
    stack.pod("prometheus", "http-web", port, namespace="monitoring")
    with open_running_stack(stack.provider()) as running, open_prometheus(running) as query:
        assert prometheus_value(query(BUSIEST)) == 85
        with pytest.raises(ProviderError, match="Prometheus refuses a query"):
            query("up")
    assert asked[0] == f"/api/v1/query?query={BUSIEST}"
