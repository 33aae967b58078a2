"""KServe's own controller for tests, beside a real API server: the program that ``KSERVE_MANAGER`` names.

It runs with the settings that our values make of its chart, which Helm renders: CHARTS_DIR holds the charts, and helm
is on the PATH. Its webhooks are asked on loopback.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ai_how.errors import TryAgainError
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.objects import ref_of
from ai_how.kubernetes_api.waiting import wait_until_served
from ai_how.run.http import request
from ai_how.stack.objects import Chart
from ai_how.stack.setting import KSERVE
from ai_how.stack.stack import render_parts
from tests.process_backend import free_port
from tests.stacks import setting

from .api_endpoint import Endpoint
from .real_api_server import end, start
from .site import eventually

MANAGER = "KSERVE_MANAGER"
Object = dict[str, Any]


@contextmanager
def real_kserve(endpoint: Endpoint, folder: Path) -> Iterator[None]:
    """The controller while it runs; its settings and webhooks go again with it."""
    manager, charts = os.environ.get(MANAGER), os.environ.get("CHARTS_DIR")
    if not (manager and charts and shutil.which("helm")):
        pytest.skip(f"{MANAGER} names no controller of KServe, CHARTS_DIR no charts, or helm is not on the PATH")
    things = _rendered(Path(charts))
    client = endpoint.client()
    hooks, health = free_port(), free_port()
    serving = endpoint.authority.issue("kserve-webhooks")
    # where it looks for them below the folder of temporary files
    certificates = folder / "k8s-webhook-server" / "serving-certs"
    certificates.mkdir(parents=True)
    shutil.copy(serving.certificate, certificates / "tls.crt")
    shutil.copy(serving.key, certificates / "tls.key")
    _define(client, things)
    client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": KSERVE}})
    made = [_make(client, thing) for thing in things if thing["kind"] == "ConfigMap"]
    words = [
        manager,
        "--metrics-addr=127.0.0.1:0",
        f"--webhook-port={hooks}",
        f"--health-probe-addr=127.0.0.1:{health}",
    ]
    own = {"TMPDIR": str(folder), "KUBECONFIG": str(endpoint.kubeconfig("kserve-controller")), "POD_NAMESPACE": KSERVE}
    log = folder / "kserve.log"
    process = start(words, log, env={**os.environ, **own})
    try:
        eventually(lambda: _answers(process, health, log), timeout_s=90)
        for thing in things:
            if thing["kind"].endswith("WebhookConfiguration"):
                made.append(_make(client, _on_loopback(thing, hooks, endpoint=endpoint)))
        yield
    finally:
        for thing in reversed(made):
            client.delete(ref_of(thing))
        end([process])
        client.close()


def _rendered(charts: Path) -> list[Object]:
    """What Helm makes of KServe's own charts with our values."""
    parts = render_parts(setting("document", release="current", mlflow="3.18.0"))
    wanted = [one for part in parts for one in part.component.charts if one.namespace == KSERVE]
    return [thing for chart in wanted for thing in _template(chart, charts / f"{chart.name}-{chart.version}")]


def _template(chart: Chart, folder: Path) -> list[Object]:
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not in CHARTS_DIR")
    words = ["helm", "template", chart.release, str(folder), "--namespace", chart.namespace, "--include-crds"]
    values = json.dumps(chart.values, default=dict)
    done = subprocess.run([*words, "--values", "-"], input=values, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [thing for thing in YAML(typ="safe", pure=True).load_all(done.stdout) if thing]


def _define(client: Client, things: list[Object]) -> None:
    """The kinds that the controller looks at and ai-how does not use; they stay."""
    missing = [one for one in things if one["kind"] == "CustomResourceDefinition" and client.get(ref_of(one)) is None]
    for definition in missing:
        # by another pod of KServe, which is not here
        definition["spec"].pop("conversion", None)
        client.create(definition)
    for definition in missing:
        spec = definition["spec"]
        for version in spec["versions"]:
            api_version = f"{spec['group']}/{version['name']}"
            wait_until_served(client, api_version, spec["names"]["kind"], timeout_s=60)


def _make(client: Client, thing: Object) -> Object:
    if thing["kind"] == "ConfigMap":
        thing["metadata"]["namespace"] = KSERVE
    client.create(thing)
    return thing


def _on_loopback(thing: Object, port: int, *, endpoint: Endpoint) -> Object:
    """A webhook configuration that names no Service, behind which a pod would be, but where the process listens."""
    bundle = base64.b64encode(endpoint.authority.pair.certificate.read_bytes()).decode()
    for hook in thing["webhooks"]:
        path = hook["clientConfig"]["service"]["path"]
        hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{path}", "caBundle": bundle}
    return thing


def _answers(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert process.poll() is None, log.read_text(errors="replace")[-3000:]
    try:
        return request("GET", f"http://127.0.0.1:{port}/readyz").status == 200
    except TryAgainError:
        return False
