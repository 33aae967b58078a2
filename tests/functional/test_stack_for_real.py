"""``ai-how up`` with a stack where all but the machines is real: Helm, charts, API server, controllers, scheduler.

Needs ``KUBEBUILDER_ASSETS`` (etcd, kube-apiserver, kube-controller-manager, kube-scheduler), ``CHARTS_DIR`` (see
``test_stack_charts``) and ``helm`` in the former or on PATH. Nodes run nothing: see ``real_control_plane``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.capacity.demand import all_needs
from ai_how.cli.app import root
from ai_how.kubernetes_api.client import Client
from ai_how.kubernetes_api.marks import Mark
from ai_how.kubernetes_api.objects import ref_of
from ai_how.kubernetes_api.removal import marked_objects
from ai_how.run.ssh import SshTarget
from ai_how.site.load import load_site
from ai_how.stack.fit import node_room
from ai_how.stack.objects import Chart
from ai_how.stack.part import Manifest
from tests.fake_cluster import api_node, proxy_pod

from .api_endpoint import Endpoint
from .kubespray_stand_in import LoopbackProvider, command_line_in, write_sudo
from .real_api_server import ASSETS, real_api_server
from .real_control_plane import Played, real_controllers, storage_class
from .sshd import ssh_server
from .stack_world import USUAL, conditions_of, gateway_api

CHARTS = os.environ.get("CHARTS_DIR", "")
HELM = shutil.which("helm", path=f"{os.environ.get(ASSETS, '')}:{os.environ['PATH']}")
pytestmark = [
    pytest.mark.skipif(not CHARTS, reason="CHARTS_DIR does not name a folder with unpacked charts"),
    pytest.mark.skipif(not HELM, reason="no helm in KUBEBUILDER_ASSETS or on PATH"),
    pytest.mark.timeout(1800),
]
CONTROL_PLANE = "node-role.kubernetes.io/control-plane"
SITE = """name: lab
provider: libvirt
release: '{RELEASE}'
pins: {mlflow: '>=3.9'}
clusters:
  cloud:
    stack: {STACK}
    nodes: [{role: control-plane}, {role: cpu-worker}, {role: gpu-worker}]
"""


@dataclass(frozen=True)
class Unpacked:
    """Charts from ``CHARTS_DIR``, and Helm; Gateway API's definitions are the extracts of them."""

    folder: Path

    def helm(self) -> Path:
        """The real one."""
        return Path(str(HELM))

    def chart(self, chart: Chart) -> Path:
        """A folder, which Helm takes as well as an archive."""
        folder = Path(CHARTS) / f"{chart.name}-{chart.version}"
        if not folder.is_dir():
            pytest.skip(f"{folder.name} is not in CHARTS_DIR")
        return folder

    def manifest(self, manifest: Manifest) -> Path:
        return gateway_api(self.folder, manifest)

    def manifest_here(self, manifest: Manifest) -> Path | None:
        return self.manifest(manifest)


@dataclass
class Lab:
    """A site on loopback whose cluster is a real control plane."""

    folder: Path
    target: SshTarget
    endpoint: Endpoint
    played: Played

    @property
    def site_file(self) -> Path:
        return self.folder / "ai-how.yaml"

    def provider(self, *_words: object, **_options: object) -> LoopbackProvider:
        site = load_site(self.site_file)
        machines = {need.name for need in all_needs(site)}
        supply = Unpacked(self.folder)
        return LoopbackProvider(site, self.site_file, self.target, machines, supply_of=lambda _: supply)

    def write(self, stack: str = "", release: str = "current") -> None:
        self.site_file.write_text(SITE.replace("{STACK}", f"{{{stack}}}").replace("{RELEASE}", release))
        wishes = self.provider().stacks.wishes.get("cloud", ())
        self.played.conditions = conditions_of([wish.part for wish in wishes])

    def have_kubernetes(self) -> None:
        """As after ``up`` without a stack."""
        client, provider = self.endpoint.client(), self.provider()
        needs = {need.name: need for need in all_needs(provider.site)}
        (cluster,) = provider.clusters()
        for node in cluster.nodes:
            need = needs[node.name]
            room = node_room(need.vcpus, need.memory_gib)
            holds = {"cpu": f"{room.cpu_m}m", "memory": f"{room.memory_mib}Mi", "pods": "110"}
            if need.gpus:
                holds["nvidia.com/gpu"] = str(need.gpus)
            made = api_node(node, cluster.nodes)
            made["metadata"]["labels"] |= {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
            if node.role == "control-plane":
                made["spec"]["taints"].append({"key": CONTROL_PLANE, "effect": "NoSchedule"})
            status = {**made.pop("status"), "capacity": holds, "allocatable": holds}
            status["conditions"] = [{**one, "lastHeartbeatTime": None} for one in status["conditions"]]
            created = client.create({"apiVersion": "v1", "kind": "Node", **made})
            self.played.patch(client, {"apiVersion": "v1", "kind": "Node", **created}, {"status": status}, "/status")
            if node.role != "control-plane":
                client.create({"apiVersion": "v1", "kind": "Pod", **proxy_pod(node.name)})
        client.create(storage_class())
        provider.record_kubernetes()

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, list(words))
        assert result.exit_code == code, (result.output, str(result.exception), self.played.troubles[-5:])
        return result

    def plan(self) -> dict[str, str]:
        return {action.resource: action.reason for action in self.provider().plan().actions}

    def status(self) -> dict[str, dict[str, Any]]:
        said = CliRunner().invoke(root, ["status", "-o", "json"])
        return {each["name"]: each for each in json.loads(said.stdout)["components"]}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    (tmp_path / "sshd").mkdir()
    (tmp_path / "api").mkdir()
    programs = str(write_sudo(tmp_path))
    with ExitStack() as stack:
        target = stack.enter_context(ssh_server(tmp_path / "sshd", path=programs))
        endpoint = stack.enter_context(real_api_server(tmp_path / "api"))
        stack.enter_context(real_controllers(endpoint))
        played = Played(endpoint, usual=USUAL)
        one = Lab(folder=tmp_path, target=target, endpoint=endpoint, played=played)
        endpoint.leave_admin_conf(tmp_path)
        command_line_in(tmp_path, monkeypatch, one.provider)
        one.write()
        one.have_kubernetes()
        stack.enter_context(played.running())
        yield one


def pods_of(client: Client) -> dict[str, dict[str, Any]]:
    return {str(ref_of(pod)): pod for pod in client.list_objects("v1", "Pod").items}


def test_the_stack_from_nothing_to_nothing(lab: Lab) -> None:
    done = lab.run("up", "--yes")
    assert "chart keda installed: " in done.stderr
    assert lab.plan() == {}
    client = lab.endpoint.client()

    # every pod was admitted by its namespace's level, and the scheduler has found it a node of the document's sizes
    pods = pods_of(client)
    waiting = {name: pod.get("status") for name, pod in pods.items() if not pod["spec"].get("nodeName")}
    assert waiting == {}
    refused = [event for event in client.list_objects("v1", "Event").items if event.get("reason") == "FailedCreate"]
    assert [event["message"] for event in refused] == []
    spaces = {pod["metadata"]["namespace"] for pod in pods.values()}
    assert spaces >= {"mlops", "monitoring", "kserve", "cert-manager", "keda"}

    assert "nothing to do" in lab.run("up", "--yes").stdout
    found = lab.status()
    assert {each["condition"] for each in found.values()} == {"healthy"}, found

    # a value is changed in the site file: only what hangs on it changes
    lab.write("monitoring: {size_gib: 60}")
    assert list(lab.plan()) == ["stack/cloud/monitoring"]
    lab.run("up", "--yes")
    assert lab.plan() == {}

    lab.run("destroy", "--yes")
    left = [one.ref for one in marked_objects(client, Mark(site="lab")).objects]
    # secrets stay, and so do the namespaces that hold them or a volume
    assert {ref.kind for ref in left} == {"Namespace", "Secret"}
    assert {ref.name for ref in left if ref.kind == "Namespace"} == {"mlops", "models", "monitoring"}
    assert client.list_objects("v1", "Secret", labels="owner=helm").items == []


def test_from_a_release_set_to_the_next(lab: Lab) -> None:
    lab.write(release="2025.10")
    lab.provider().record_kubernetes()
    lab.run("up", "--yes")
    assert lab.plan() == {}
    # kinds that an upgrade of a chart needs and Helm does not bring are there in time
    lab.write(release="current")
    lab.provider().record_kubernetes()
    lab.run("up", "--yes")
    assert lab.plan() == {}
    found = lab.status()
    assert {each["condition"] for each in found.values()} == {"healthy"}, found
