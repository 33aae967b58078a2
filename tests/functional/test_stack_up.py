"""``ai-how up`` with a stack, the whole way: plan, Kubespray's stand-in, objects and charts on an API server, destroy.

The API server is the stand-in that the client is held to, Helm a program that behaves as it does for our calls, and a
thread plays the controllers. SSH, the plan, its records and every command are real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ai_how.apply.python_environment import is_ready
from ai_how.cli.app import root
from ai_how.errors import AiHowError
from ai_how.kubernetes.cluster_of_site import READY
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes_api.objects import Ref
from ai_how.kubernetes_api.waiting import wait_until_served
from ai_how.plan.model import settings_digest
from ai_how.run.ssh import SshTarget
from ai_how.site.load import load_site
from tests.fake_cluster import admin_conf, api_node, proxy_pod

from .api_endpoint import Endpoint, LittleControllers
from .api_server import StandIn, stand_in
from .certificates import Pair
from .definitions import definitions
from .kubespray_stand_in import KUBESPRAY, LoopbackProvider, write_checkout, write_sudo
from .sshd import ssh_server
from .stack_world import Controllers, FakeSupply, conditions_of
from .test_kubernetes_finish import kubelet

CONTROL, WORKER = "cloud-control-plane-1", "cloud-cpu-worker-1"
SITE = """name: lab
provider: libvirt
clusters:
  cloud:
    kubernetes: {kubespray_path: checkout}
    stack: {STACK}
    nodes: [{role: control-plane}, {role: cpu-worker}]
"""
MLFLOW = "stack/cloud/mlflow"


@dataclass
class Lab:
    """A site on loopback whose cluster is an API server's stand-in."""

    folder: Path
    target: SshTarget
    endpoint: Endpoint
    server: StandIn
    controllers: Controllers
    machines: set[str]
    supply: FakeSupply

    @property
    def site_file(self) -> Path:
        return self.folder / "ai-how.yaml"

    def write(self, stack: str = "") -> None:
        self.site_file.write_text(SITE.replace("{STACK}", f"{{{stack}}}"))
        parts = tuple(wish.part for wish in self.provider().stacks.wishes.get("cloud", ()))
        self.supply.parts = parts or self.supply.parts
        self.controllers.conditions = conditions_of(self.supply.parts)

    def provider(self, *_words: object, **_options: object) -> LoopbackProvider:
        return LoopbackProvider(
            load_site(self.site_file), self.site_file, self.target, self.machines, supply_of=lambda _: self.supply
        )

    def leave_admin_conf(self, pair: Pair) -> None:
        (self.folder / "admin.conf").write_text(
            admin_conf(
                certificate=pair.certificate.read_text(),
                key=pair.key.read_text(),
                authority=self.endpoint.authority.pair.certificate.read_text(),
                server=self.endpoint.url,
            )
        )

    def have_kubernetes(self) -> None:
        """As after ``up`` without a stack, without the playbooks' time."""
        self.machines.update({CONTROL, WORKER})
        provider = self.provider()
        setup = provider.kubernetes.setups(provider.clusters())["cloud"]
        settings = setup.state.to_settings()
        provider.state.record("kubernetes/cloud", settings)
        provider.state.record(f"{READY}cloud", {"settings": settings_digest(settings)})
        provider.kubernetes.kubeconfig("cloud").fetch(setup.first_control_plane)

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, list(words))
        assert result.exit_code == code, (result.output, str(result.exception))
        return result

    def refused(self, *words: str) -> AiHowError:
        error = CliRunner().invoke(root, list(words)).exception
        assert isinstance(error, AiHowError), error
        return error

    def plan(self) -> dict[str, str]:
        said = self.provider().plan()
        return {action.resource: action.reason for action in said.actions}

    def status(self) -> dict[str, dict[str, Any]]:
        result = CliRunner().invoke(root, ["status", "-o", "json"])
        return {each["name"]: each for each in json.loads(result.stdout)["components"]}

    def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        client = self.endpoint.client()
        return client.get(Ref(api_version=api_version, kind=kind, namespace=namespace, name=name))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    (tmp_path / "notes").mkdir()
    (tmp_path / "sshd").mkdir()
    (tmp_path / "charts").mkdir()
    write_checkout(tmp_path / "checkout", tmp_path / "notes")
    programs = str(write_sudo(tmp_path))
    with ExitStack() as stack:
        target = stack.enter_context(ssh_server(tmp_path / "sshd", path=programs))
        endpoint, server = stack.enter_context(stand_in(tmp_path))
        client = endpoint.client()
        for definition in definitions():
            if definition["spec"]["group"] != "gateway.networking.k8s.io":
                client.create(definition)
                for version in definition["spec"]["versions"]:
                    served = f"{definition['spec']['group']}/{version['name']}"
                    wait_until_served(client, served, definition["spec"]["names"]["kind"], timeout_s=60)
        controllers = Controllers(server=server, conditions={})
        one = Lab(
            folder=tmp_path,
            target=target,
            endpoint=endpoint,
            server=server,
            controllers=controllers,
            machines=set(),
            supply=FakeSupply(folder=tmp_path / "charts", parts=()),
        )
        one.leave_admin_conf(endpoint.admin)
        one.write()
        nodes = one.provider().clusters()[0].nodes
        _put(server, "nodes", [api_node(node, nodes) for node in nodes])
        _put(server, "pods", [proxy_pod(WORKER)], "kube-system")
        stack.enter_context(controllers.running())
        stack.enter_context(kubelet(server, phase="Succeeded"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("AI_HOW_SITE", raising=False)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        for module in ("ai_how.cli.open_site", "ai_how.cli.lifecycle"):
            monkeypatch.setattr(f"{module}.provider_of", one.provider)
        monkeypatch.setattr("ai_how.cli.sizing.plan_sizing", lambda *_words, **_options: {})
        monkeypatch.setattr("ai_how.rollout.stacks_of_site.WELL_TIMEOUT_S", 20.0)
        yield one


def _put(server: StandIn, plural: str, things: list[dict[str, Any]], namespace: str = "") -> None:
    kind = server.store.kind_of("", "v1", plural)
    for thing in things:
        server.store.write(kind, namespace, thing["metadata"]["name"], thing, "kubeadm", "Update")


def test_a_stack_from_nothing_to_nothing(lab: Lab) -> None:
    if not is_ready(environment_of(lab.folder, KUBESPRAY).path):
        environment_of(lab.folder, KUBESPRAY).install()
    first = lab.plan()
    assert first[MLFLOW] == "does not exist yet, once its cluster is there"
    done = lab.run("up", "--yes")
    assert "chart keda installed: " in done.stderr
    assert lab.plan() == {}
    assert lab.get("apps/v1", "Deployment", "mlflow", "mlops") is not None

    # again: nothing is done, no chart is fetched
    fetched = list(lab.supply.fetched)
    assert "nothing to do" in lab.run("up", "--yes").stdout
    assert lab.supply.fetched == fetched
    found = lab.status()
    assert {each["condition"] for each in found.values()} == {"healthy"}, found
    assert found[MLFLOW]["address"].startswith("https://mlflow.ai-how.internal")

    # a value is changed in the site file: only what hangs on it changes
    lab.write("monitoring: {size_gib: 60}")
    assert list(lab.plan()) == ["stack/cloud/monitoring"]
    lab.run("up", "--yes")
    assert lab.supply.fetched == [*fetched, "kube-prometheus-stack"]
    assert lab.plan() == {}

    # a part is left out: what it had goes
    external = "object_store: {type: external, endpoint_url: 'https://s3.example.org', credentials_secret: s3}"
    lab.write(f"monitoring: {{size_gib: 60}}, {external}")
    assert "to be removed" in lab.plan()["stack/cloud/object-store"]
    with LittleControllers(lab.endpoint):
        lab.run("up", "--yes")
    assert lab.get("apps/v1", "StatefulSet", "object-store", "mlops") is None
    assert lab.get("v1", "Secret", "object-store", "mlops") is not None
    assert lab.plan() == {}

    said = lab.run("events", "-n", "100").stdout
    assert "kube-prometheus-stack" in said
    with LittleControllers(lab.endpoint):
        lab.run("destroy", "--yes")
    assert not (lab.folder / ".ai-how").exists()
    assert lab.get("apps/v1", "Deployment", "mlflow", "mlops") is None
