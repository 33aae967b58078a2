"""``ai-how up`` with a stack, the whole way: plan, Kubespray's stand-in, objects and charts on an API server, destroy.

The API server is the stand-in that the client is held to, Helm a program that behaves as it does for our calls, and a
thread plays the controllers. SSH, the plan, its records and every command are real.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from ai_how.apply.python_environment import is_ready
from ai_how.cli.app import root
from ai_how.errors import AiHowError, InterruptionError, TryAgainError
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes_api.objects import Ref, ref_of
from ai_how.rollout import stacks_of_site
from ai_how.run.ssh import SshTarget
from ai_how.site.load import load_site
from ai_how.stack.objects import Awaited
from tests.fake_cluster import api_node, proxy_pod

from .api_endpoint import MERGE, Endpoint, LittleControllers
from .api_server import Fault, StandIn, stand_in
from .definitions import definitions
from .kubespray_stand_in import KUBESPRAY, LoopbackProvider, command_line_in, write_checkout, write_sudo
from .sshd import ssh_server
from .stack_world import Controllers, FakeSupply, conditions_of, definition_of
from .test_kubernetes_finish import kubelet
from .waiting import wait_for

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
STORE = "stack/cloud/object-store"


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

    def have_kubernetes(self) -> None:
        """As after ``up`` without a stack, without the playbooks' time."""
        self.machines.update({CONTROL, WORKER})
        self.provider().record_kubernetes()

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

    def perform(self, name: str) -> None:
        """The action of a fresh plan on that resource, where there is one."""
        provider = self.provider()
        plan = provider.plan()
        for action in plan.actions:
            if action.resource == name:
                provider.perform(action, plan.resource(name))

    def apply(self, *parts: str) -> None:
        for part in parts:
            self.perform(f"stack/cloud/{part}")

    def heal(self, name: str, namespace: str) -> None:
        """What kept a workload's pod from starting is over."""
        del self.controllers.stuck[name]
        pods = self.server.store.kind_of("", "v1", "pods")
        with self.server.store.changed:
            self.server.store.delete(pods, namespace, f"{name}-x", {})

    def releases(self, namespace: str) -> list[str]:
        """The status of each revision that Helm has recorded."""
        found = self.endpoint.client().list_objects("v1", "Secret", namespace, labels="owner=helm").items
        return [one["metadata"]["labels"]["status"] for one in found]

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
        brought = [one for one in definitions() if one["spec"]["group"] != "gateway.networking.k8s.io"]
        _put(server, "customresourcedefinitions", brought, group="apiextensions.k8s.io")
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
        endpoint.leave_admin_conf(tmp_path)
        one.write()
        nodes = one.provider().clusters()[0].nodes
        _put(server, "nodes", [api_node(node, nodes) for node in nodes])
        _put(server, "pods", [proxy_pod(WORKER)], "kube-system")
        stack.enter_context(controllers.running())
        stack.enter_context(kubelet(server, phase="Succeeded"))
        command_line_in(tmp_path, monkeypatch, one.provider)
        monkeypatch.setattr("ai_how.rollout.stacks_of_site.WELL_TIMEOUT_S", 20.0)
        yield one


def _put(server: StandIn, plural: str, things: list[dict[str, Any]], namespace: str = "", *, group: str = "") -> None:
    kind = server.store.kind_of(group, "v1", plural)
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
    assert "kubectl -n mlops get secret mlflow-login" in found[MLFLOW]["login"]

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
    # what Helm leaves goes too, and with it the namespaces that hold no data
    assert lab.get("v1", "ServiceAccount", "keda-hook", "keda") is None
    assert lab.get("v1", "Namespace", "keda") is None
    assert lab.get("v1", "Namespace", "mlops") is not None


POSTGRES = "stack/cloud/cloudnative-pg"
NO_IMAGE = {
    "phase": "Pending",
    "containerStatuses": [
        {
            "name": "main",
            "image": "registry.test/x:1",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "429 toomanyrequests"}},
        }
    ],
}
NO_ROOM = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes: 2 Insufficient memory."}],
}


@pytest.fixture
def ready(lab: Lab) -> Lab:
    """With Kubernetes, and the namespaces of a stack."""
    lab.have_kubernetes()
    lab.apply("namespaces")
    return lab


def test_a_chart_that_fails_is_told_and_taken_further(ready: Lab) -> None:
    failure = Path(f"{ready.supply.file('cloudnative-pg')}.fail")
    failure.write_text("failed pre-install: 1 error occurred: timed out waiting for the condition\n")
    with pytest.raises(AiHowError, match="could not install chart cloudnative-pg") as caught:
        ready.apply("cloudnative-pg")
    assert "timed out waiting" in caught.value.evidence
    failure.unlink()
    assert ready.plan()[POSTGRES] == "chart cloudnative-pg 0.29.0 did not end well the last time (failed)"
    ready.apply("cloudnative-pg")
    assert POSTGRES not in ready.plan()


def test_pods_that_do_not_start_are_told_with_the_reason(ready: Lab) -> None:
    ready.controllers.stuck["cloudnative-pg"] = NO_IMAGE
    with pytest.raises(AiHowError, match="Deployment cnpg-system/cloudnative-pg is not well after") as caught:
        ready.apply("cloudnative-pg")
    assert "the registry allows no more pulls for now" in caught.value.evidence
    assert "ai-how up" in caught.value.next_step
    found = ready.status()[POSTGRES]
    assert found["condition"] == "failing"
    assert "the registry allows no more pulls for now" in found["detail"]
    assert "stack.images" in found["remedy"]
    # it has not been seen well: the next up waits for it again, and installs nothing
    ready.heal("cloudnative-pg", "cnpg-system")
    ready.apply("cloudnative-pg")
    assert ready.supply.fetched == ["cloudnative-pg"]


def test_a_store_that_takes_no_writes_for_want_of_disk_is_told(ready: Lab) -> None:
    ready.apply("object-store")
    labels = {"app.kubernetes.io/name": "object-store"}
    spec = {"nodeName": WORKER, "containers": [{"name": "server", "image": "weed"}]}
    metadata = {"name": "object-store-0", "namespace": "mlops", "labels": labels}
    ready.endpoint.client().create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    # a kubelet that does not answer is told of its node
    assert ready.status()[STORE]["condition"] == "healthy"
    ready.server.disks[WORKER] = (17, 100)
    found = ready.status()[STORE]
    assert found["condition"] == "failing"
    assert found["detail"] == f"takes no writes: 17 % of the disk of {WORKER} is free, it wants 18 %"
    assert found["remedy"].startswith("free space there, or give it a larger disk")
    ready.server.disks[WORKER] = (18, 100)
    assert ready.status()[STORE]["condition"] == "healthy"


def test_an_upgrade_that_does_not_become_well_is_rolled_back(ready: Lab) -> None:
    ready.apply("cloudnative-pg")
    ready.controllers.stuck["cloudnative-pg"] = NO_ROOM
    ready.write("values: {cloudnative-pg: {monitoring: {podMonitorEnabled: true}}}")
    with pytest.raises(AiHowError, match="is not well after") as caught:
        ready.apply("cloudnative-pg")
    assert "fits no node: not enough memory" in caught.value.evidence
    assert "chart cloudnative-pg was rolled back to revision 1" in caught.value.evidence
    ready.heal("cloudnative-pg", "cnpg-system")
    ready.apply("cloudnative-pg")
    assert POSTGRES not in ready.plan()


def test_kinds_that_helm_would_leave_as_they_are_are_brought_to_the_charts(ready: Lab) -> None:
    """Those of a group that is there; what is not there yet Helm brings, or not, as the values want it."""
    new, other = kind_of("Shard", "postgresql.cnpg.io"), kind_of("Else", "other.test")
    Path(f"{ready.supply.file('cloudnative-pg')}.crds").write_text(f"{json.dumps(new)}\n---\n{json.dumps(other)}\n")
    ready.apply("cloudnative-pg")
    # before a first installation they may be others'
    assert "Shard" not in {kind.kind for kind in ready.endpoint.client().kinds.all()[0]}
    ready.write("values: {cloudnative-pg: {monitoring: {podMonitorEnabled: true}}}")
    ready.apply("cloudnative-pg")
    kinds = {kind.kind for kind in ready.endpoint.client().kinds.all()[0]}
    assert "Shard" in kinds
    assert "Else" not in kinds


def kind_of(name: str, group: str) -> dict[str, Any]:
    return definition_of(Awaited(api_version=f"{group}/v1", kind=name, name="any"))


def test_a_value_that_a_chart_does_not_know_is_refused_before(ready: Lab) -> None:
    ready.site_file.write_text(SITE.replace("{STACK}", "{values: {keda: {resuorces: {}}}}"))
    error = ready.refused("plan")
    assert "has no value resuorces" in error.brief
    assert "did you mean resources" in error.evidence


def test_a_stack_that_does_not_fit_is_refused_before(ready: Lab) -> None:
    small = SITE.replace("{role: cpu-worker}", "{role: cpu-worker, vcpus: 2, memory_gib: 4}")
    ready.site_file.write_text(small.replace("{STACK}", "{enabled: true}"))
    error = ready.refused("plan")
    assert "does not fit cluster cloud" in error.brief
    assert "stack: {enabled: false}" in error.next_step


def test_a_helm_whose_ai_how_was_killed_is_ended_and_its_half_made_release_taken_over(ready: Lab) -> None:
    hold = Path(f"{ready.supply.file('cloudnative-pg')}.wait")
    hold.touch()
    script = ready.folder / "killed.py"
    script.write_text(
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "from ai_how.site.load import load_site\n"
        "from tests.functional.kubespray_stand_in import LoopbackProvider\n"
        "target, machines, supply, file, name = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "provider = LoopbackProvider(load_site(file), file, target, machines, supply_of=lambda _: supply)\n"
        "plan = provider.plan()\n"
        "action = next(one for one in plan.actions if one.resource == name)\n"
        "provider.perform(action, plan.resource(name))\n"
    )
    told = ready.folder / "told"
    told.write_bytes(pickle.dumps((ready.target, ready.machines, ready.supply, ready.site_file, POSTGRES)))
    here = Path(__file__).parents[2]
    killed = subprocess.Popen(
        [sys.executable, script, told], env={**os.environ, "PYTHONPATH": str(here)}, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: ready.releases("cnpg-system") == ["pending-install"] or killed.poll() is not None)
        assert killed.poll() is None, killed.communicate()[1]
        killed.send_signal(signal.SIGKILL)
    finally:
        killed.kill()
        killed.communicate()
    assert marked(ready.folder)
    ready.apply("cloudnative-pg")
    assert marked(ready.folder) == []
    hold.unlink()
    assert ready.releases("cnpg-system") == ["deployed"]
    assert not list((ready.folder / ".ai-how/lab/kubernetes/cloud/stack").iterdir())


@pytest.mark.parametrize("wanted", [False, True])
def test_an_uninstallation_that_was_broken_off_is_taken_further(
    ready: Lab, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    """Helm's record of the hooks lasts until they are gone; or the part is wanted again, and installed anew."""
    ready.apply("cloudnative-pg")
    ready.write("enabled: false")
    with monkeypatch.context() as broken, pytest.raises(InterruptionError):
        broken.setattr("ai_how.rollout.apply.remove_hooks", _killed)
        ready.apply("cloudnative-pg")
    assert ready.releases("cnpg-system") == ["uninstalled"]
    assert ready.get("v1", "ServiceAccount", "cloudnative-pg-hook", "cnpg-system") is not None
    ready.write("" if wanted else "enabled: false")
    ready.apply("cloudnative-pg")
    assert ready.releases("cnpg-system") == (["deployed"] if wanted else [])
    assert (ready.get("v1", "ServiceAccount", "cloudnative-pg-hook", "cnpg-system") is not None) is wanted


def _killed(*_words: object) -> None:
    raise InterruptionError("as if killed here")


def test_a_release_that_another_helm_works_on_is_left_to_it(ready: Lab) -> None:
    ready.apply("cloudnative-pg")
    labels = {"name": "cloudnative-pg", "owner": "helm", "status": "pending-upgrade", "version": "2"}
    secret = {"metadata": {"name": "sh.helm.release.v1.cloudnative-pg.v2", "namespace": "cnpg-system"}}
    secret["metadata"]["labels"] = {**labels, "createdAt": str(int(time.time()))}
    _put(ready.server, "secrets", [secret], "cnpg-system")
    assert ready.plan()[POSTGRES] == "chart cloudnative-pg 0.29.0 was broken off (pending-upgrade)"
    with pytest.raises(TryAgainError, match="another Helm is at work on cloudnative-pg"):
        ready.apply("cloudnative-pg")


def test_what_others_changed_is_seen_and_mended_or_left_to_them(ready: Lab) -> None:
    ready.apply("cloudnative-pg")
    client = ready.endpoint.client()
    policies = client.list_objects("networking.k8s.io/v1", "NetworkPolicy", "cnpg-system").items
    gone = next(one for one in policies if one["metadata"]["labels"]["ai-how/component"] == "cloudnative-pg")
    client.delete(ref_of(gone))
    assert ready.plan()[POSTGRES] == f"{ref_of(gone)} to be made"
    ready.apply("cloudnative-pg")
    space = ref_of({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cnpg-system"}})
    body = {"metadata": {"labels": {"pod-security.kubernetes.io/warn": "baseline"}}}
    path, query = "/api/v1/namespaces/cnpg-system", {"fieldManager": "kubectl-edit"}
    client.connection.ask("PATCH", path, what="edit", query=query, body=body, content_type=MERGE)
    made = ready.provider().plan()
    assert "stack/cloud/namespaces" not in [action.resource for action in made.actions]
    assert any(note.startswith(f"{space}: ") and "is left to kubectl-edit" in note for note in made.notes), made.notes
    # Helm's own record says that other hands were at work
    labels = {"name": "cloudnative-pg", "owner": "helm", "status": "deployed", "version": "2"}
    secret = {"metadata": {"name": "sh.helm.release.v1.cloudnative-pg.v2", "namespace": "cnpg-system"}}
    first = next(one for one in client.list_objects("v1", "Secret", "cnpg-system", labels="owner=helm").items)
    kept = {key: value for key, value in first["metadata"]["labels"].items() if "/" in key}
    secret["metadata"]["labels"] = {**kept, **labels}
    _put(ready.server, "secrets", [secret], "cnpg-system")
    assert "was changed by other hands (revision 2, ours was 1)" in ready.plan()[POSTGRES]


def test_another_version_whose_data_has_no_way_back_is_told_before(ready: Lab) -> None:
    provider = ready.provider()
    wish = next(each for each in provider.stacks.wishes["cloud"] if each.part.name == "mlflow")
    provider.state.record(wish.name, {**wish.settings, "version": "3.5.1"})
    note = next(each for each in ready.provider().plan().notes if each.startswith("MLflow"))
    assert f"3.5.1 -> {wish.part.version}: its tables are changed" in note and "ai-how backup create" in note
    provider.state.record(wish.name, {**wish.settings, "digest": "another"})
    assert not any(each.startswith("MLflow") for each in ready.provider().plan().notes)
    provider.state.record(wish.name, None)


def test_a_lost_state_file_makes_nothing_anew(ready: Lab) -> None:
    ready.apply("cloudnative-pg")
    state = ready.provider().state
    for name in (POSTGRES, POSTGRES.replace("stack/", "stack-well/")):
        state.record(name, None)
    ready.apply("cloudnative-pg")
    assert ready.supply.fetched == ["cloudnative-pg"]


def test_a_namespace_that_is_going_away_is_told_with_what_holds_it(ready: Lab) -> None:
    client = ready.endpoint.client()
    space = Ref(api_version="v1", kind="Namespace", namespace="", name="cnpg-system")
    client.delete(space)
    with pytest.raises(TryAgainError, match="the namespace cnpg-system is going away") as caught:
        ready.apply("cloudnative-pg")
    assert "wait until it is gone" in caught.value.next_step
    assert "its namespace cnpg-system is going away" in ready.status()[POSTGRES]["detail"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(status=429, headers={"retry-after": "60"}, times=1000), "the API server is busy or not ready"),
        (Fault(status=0, times=1000), "no answer from the API server"),
    ],
)
def test_an_api_server_that_does_not_answer_is_told_once(
    ready: Lab, fault: Fault, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks_of_site, "_WORK", replace(stacks_of_site._WORK, total_s=3))
    ready.server.faults.append(fault)
    assert said in ready.plan()["stack/cloud/namespaces"]
    assert said in ready.status()["stack/cloud/namespaces"]["detail"]
    error = ready.refused("up", "--yes")
    assert said in error.brief
    ready.server.faults.clear()
    assert "stack/cloud/namespaces" not in ready.plan()


def test_an_expired_certificate_is_renewed_on_the_way(ready: Lab) -> None:
    old = ready.endpoint.authority.issue("old", organisation="system:masters", expired=True)
    kubeconfig = ready.folder / ".ai-how/lab/kubernetes/cloud/kubeconfig"
    whole = kubeconfig.read_text()
    pem = base64.b64encode(old.certificate.read_bytes()).decode()
    kubeconfig.write_text(re.sub("client-certificate-data: .*", f"client-certificate-data: {pem}", whole))
    planned = ready.plan()
    assert "the client certificate of its kubeconfig ended" in planned["kubernetes/cloud"]
    ready.perform("kubernetes/cloud")
    assert "stack/cloud/namespaces" not in ready.plan()


def test_what_pods_say_is_shown(ready: Lab) -> None:
    ready.controllers.stuck["cloudnative-pg"] = NO_ROOM
    ready.server.logs["cnpg-system", "cloudnative-pg-x"] = "one\ntwo\n"
    with pytest.raises(AiHowError, match="is not well"):
        ready.apply("cloudnative-pg")
    said = ready.run("logs", "stack/cloudnative-pg").stdout
    assert said.splitlines() == ["== cnpg-system/cloudnative-pg-x main", "one", "two"]
    assert "stack/cloud/keda" in ready.refused("logs", "stack/nothing").evidence
    assert "has no pods" in ready.refused("logs", "stack/cloud/namespaces").brief


def test_a_stack_that_is_switched_off_goes_and_its_secrets_stay(ready: Lab) -> None:
    ready.apply("cloudnative-pg", "object-store")
    ready.site_file.write_text(SITE.replace("{STACK}", "{enabled: false}"))
    planned = ready.provider().plan()
    doomed = [action.resource for action in planned.actions]
    assert sorted(doomed[:-1]) == [POSTGRES, "stack/cloud/object-store"]
    assert doomed[-1] == "stack/cloud/namespaces"
    with LittleControllers(ready.endpoint):
        done = ready.run("up", "--yes")
    assert "kept: it holds data" in done.stderr
    assert ready.get("v1", "Namespace", "cnpg-system") is None
    assert ready.get("v1", "Secret", "object-store", "mlops") is not None
    assert ready.get("v1", "Namespace", "mlops") is not None
    assert ready.plan() == {}


def marked(folder: Path) -> list[int]:
    """The Helms that run for this test's site."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(folder) in word for word in one.cmdline()) and "upgrade" in one.cmdline():
                found.append(one.pid)
    return found
