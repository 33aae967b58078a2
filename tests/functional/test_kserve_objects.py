"""What is rendered for a cluster, run for real: the program that a pod waits with, and the queries by promtool."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ai_how.kserve.container import drain_program
from ai_how.kserve.scaling import scaled_object
from tests.kserve import revision, setting

PROMTOOL = shutil.which("promtool")
IDLE = 'vllm:num_requests_running{engine="0",model_name="chat"} 0.0\nvllm:num_requests_waiting{engine="0"} 0.0\n'
BUSY = 'vllm:num_requests_running{engine="0",model_name="chat"} 2.0\nvllm:num_requests_waiting{engine="0"} 0.0\n'
QUEUED = 'vllm:num_requests_running{engine="0",model_name="chat"} 0.0\nvllm:num_requests_waiting{engine="0"} 1.0\n'


class Metrics:
    """A port that shows metrics, the last of them again and again."""

    def __init__(self, *texts: str) -> None:
        self.left = list(texts)
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                text = outer.left.pop(0) if len(outer.left) > 1 else outer.left[0]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(f"# HELP\n{text}".encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def served() -> Iterator[list[Metrics]]:
    found: list[Metrics] = []
    yield found
    for each in found:
        each.server.shutdown()
        each.server.server_close()


def drain(metrics: Metrics, *, timeout_s: float) -> int:
    threading.Thread(target=metrics.server.serve_forever, daemon=True).start()
    where = setting(site_text=f"serving: {{drain_timeout_s: {timeout_s}}}\n")
    program = drain_program(where, port=metrics.port, propagation_s=0.1)
    return subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode


def test_a_pod_ends_when_it_has_answered_all(served: list[Metrics]) -> None:
    served.append(Metrics(BUSY, QUEUED, IDLE))
    assert drain(served[0], timeout_s=60) == 0
    assert served[0].asked == 3


def test_a_pod_that_never_becomes_idle_is_not_waited_for_for_ever(served: list[Metrics]) -> None:
    served.append(Metrics(BUSY))
    assert drain(served[0], timeout_s=1) == 0
    assert served[0].asked >= 1


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus")
@pytest.mark.parametrize(
    ("running", "waiting", "used", "wanted"),
    [
        # by name: requests, queue as a factor of replicas, KV cache
        ((3, 1), (2, 0), (0.5, 0.9), (6, 1.5, 0.7)),
        ((1, 1), (0, 0), (0.1, 0.1), (2, 0, 0.1)),
        ((0, 0), (4, 0), (0.0, 0.0), (4, 4, 0.0)),
    ],
)
def test_the_queries_say_what_scaling_acts_on(
    tmp_path: Path,
    running: tuple[int, int],
    waiting: tuple[int, int],
    used: tuple[float, float],
    wanted: tuple[float, float, float],
) -> None:
    triggers = scaled_object(revision(), setting(), sleeping=False)["spec"]["triggers"]
    rules = [{"record": each["name"].replace("-", "_"), "expr": each["metadata"]["query"]} for each in triggers]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "scaling", "rules": rules}]}))
    series = [
        {"series": f'{name}{{namespace="models",pod="chat-r1-predictor-{at}"}}', "values": f"{value}x2"}
        for name, values in (
            ("vllm:num_requests_running", running),
            ("vllm:num_requests_waiting", waiting),
            ("vllm:kv_cache_usage_perc", used),
        )
        for at, value in enumerate(values)
    ]
    # another revision's pods do not count
    series.append(
        {"series": 'vllm:num_requests_running{namespace="models",pod="chat-r12-predictor-0"}', "values": "99x2"}
    )
    tests = [
        {
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [
                {
                    "expr": f"round({rule['record']}, 0.001)",
                    "eval_time": "2m",
                    "exp_samples": [{"labels": "{}", "value": value}],
                }
                for rule, value in zip(rules, wanted, strict=True)
            ],
        }
    ]
    (tmp_path / "tests.json").write_text(json.dumps({"rule_files": ["rules.json"], "tests": tests}))
    assert PROMTOOL is not None
    said = subprocess.run(
        [PROMTOOL, "test", "rules", "tests.json"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
