"""``ai-how up`` with Kubernetes, the whole way over real SSH: plan, playbooks, records, workers come and go, destroy.

Kubespray's playbooks are stand-ins of the same names, and the API server is in memory; all else is real.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from ai_how.apply.python_environment import is_ready
from ai_how.cli.app import root
from ai_how.errors import AiHowError, ProviderError, TryAgainError, WorldChangedError
from ai_how.kubernetes.environment import environment_of
from ai_how.kubernetes.orphans import MARK
from ai_how.kubernetes.reach import tunnel
from ai_how.run import http
from ai_how.run.ssh import SshTarget
from ai_how.site.load import load_site
from tests.fake_cluster import FakeCluster, admin_conf, cluster_of

from .kubespray_stand_in import KUBESPRAY, LoopbackProvider, command_line_in, notes_of, write_checkout, write_sudo
from .sshd import ssh_server
from .waiting import wait_for

CONTROL, FIRST, SECOND = "cloud-control-plane-1", "cloud-cpu-worker-1", "cloud-cpu-worker-2"
NAME = "kubernetes/cloud"
SITE = """name: lab
provider: libvirt
MORE
clusters:
  cloud:
    kubernetes: {kubespray_path: checkout}
    stack: {enabled: false}
    nodes: [{role: control-plane}, {role: cpu-worker, count: COUNT}]
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "admin.conf").write_text(admin_conf())
    return write_sudo(folder)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[SshTarget]:
    with ssh_server(tmp_path_factory.mktemp("sshd"), path=str(programs)) as found:
        yield found


@dataclass
class Lab:
    """A site on loopback, and what its cluster's API server says."""

    folder: Path
    target: SshTarget
    machines: set[str] = field(default_factory=set)
    api: FakeCluster = field(default_factory=FakeCluster)

    @property
    def site_file(self) -> Path:
        return self.folder / "ai-how.yaml"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def write(self, *, workers: int = 1, more: str = "") -> None:
        self.site_file.write_text(SITE.replace("COUNT", str(workers)).replace("MORE", more))
        clusters = self.provider().clusters()
        ready = cluster_of(clusters[0].nodes)
        self.api.nodes, self.api.pods = ready.nodes, ready.pods

    def provider(self, *_words: object, **_options: object) -> LoopbackProvider:
        return LoopbackProvider(load_site(self.site_file), self.site_file, self.target, self.machines)

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(root, list(words))
        assert result.exit_code == code, (result.output, result.exception)
        return result

    def refused(self, *words: str) -> AiHowError:
        error = CliRunner().invoke(root, list(words)).exception
        assert isinstance(error, AiHowError), error
        return error

    def plan(self) -> dict[str, str]:
        code = 0 if self.provider().plan().empty else 2
        said = json.loads(self.run("plan", "-o", "json", code=code).stdout)
        return {action["resource"]: action["reason"] for action in said["actions"]}


@pytest.fixture
def lab(tmp_path: Path, target: SshTarget, monkeypatch: pytest.MonkeyPatch) -> Lab:
    if not is_ready(environment_of(tmp_path, KUBESPRAY).path):
        environment_of(tmp_path, KUBESPRAY).install()
    one = Lab(folder=tmp_path, target=target)
    one.notes.mkdir()
    write_checkout(tmp_path / "checkout", one.notes)
    one.write()
    command_line_in(tmp_path, monkeypatch, one.provider)
    for module in ("finish", "status"):
        monkeypatch.setattr(f"ai_how.kubernetes.{module}.open_api", lambda *_words, **_options: nullcontext(one.api))
    return one


def test_a_cluster_from_nothing_to_nothing(lab: Lab) -> None:
    assert lab.plan()[NAME] == "cluster.yml: does not exist yet"
    done = lab.run("up", "--yes")
    assert f"{NAME}: cluster.yml, log " in done.stderr
    assert "2 nodes ready, a pod starts, DNS answers" in done.stderr
    assert notes_of(lab.notes) == {CONTROL: ["cluster.yml"], FIRST: ["cluster.yml"]}

    # nothing to do: no playbook
    assert lab.plan() == {}
    assert "nothing to do" in lab.run("up", "--yes").stdout
    assert notes_of(lab.notes)[CONTROL] == ["cluster.yml"]

    found = json.loads(lab.run("status", "-o", "json").stdout)["components"]
    assert [(each["name"], each["condition"]) for each in found] == [
        (NAME, "healthy"),
        (f"{NAME}/{CONTROL}", "healthy"),
        (f"{NAME}/{FIRST}", "healthy"),
    ]
    assert "cluster.yml" in lab.run("logs", NAME).stdout
    lab.run("kubeconfig", "--merge")
    assert "lab-cloud" in (lab.folder / "config").read_text()

    # one more worker: the others are left alone
    lab.write(workers=2)
    assert lab.plan()[NAME] == f"facts.yml: facts of all nodes; scale.yml: {SECOND} is added"
    lab.run("up", "--yes")
    assert notes_of(lab.notes) == {
        CONTROL: ["cluster.yml", "facts.yml"],
        FIRST: ["cluster.yml", "facts.yml"],
        SECOND: ["facts.yml", "scale.yml"],
    }
    assert lab.plan() == {}

    # and away again: drained before its machine goes
    lab.write(workers=1)
    plan = lab.provider().plan()
    assert [action.resource for action in plan.actions] == [NAME, f"machine/{SECOND}"]
    assert plan.actions[0].reason == f"remove-node.yml: {SECOND} is drained and removed"
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[SECOND] == ["facts.yml", "scale.yml", "remove-node.yml"]
    assert lab.machines == {CONTROL, FIRST}
    assert lab.plan() == {}

    lab.run("destroy", "--yes")
    assert not (lab.folder / ".ai-how").exists()
    assert "lab-cloud" not in (lab.folder / "config").read_text()


def test_a_machine_that_is_lost_comes_back_as_a_new_node(lab: Lab) -> None:
    lab.run("up", "--yes")
    lab.machines.discard(FIRST)
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "remove-node.yml", "facts.yml", "scale.yml"]
    assert lab.plan() == {}


def test_a_newer_version_is_upgraded_to(lab: Lab) -> None:
    lab.write(more='pins: {kubernetes: "1.34"}')
    lab.run("up", "--yes")
    lab.write()
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "upgrade-cluster.yml"]
    said = (lab.notes / FIRST).read_text().splitlines()
    assert [line.split()[-1][:5] for line in said] == ["1.34.", "1.35."]


def test_kubernetes_is_taken_off_machines_that_stay(lab: Lab) -> None:
    lab.run("up", "--yes")
    text = lab.site_file.read_text()
    lab.site_file.write_text(text.replace("kubespray_path: checkout", "kubespray_path: checkout, enabled: false"))
    assert lab.plan()[NAME].startswith("reset.yml: all that runs on it is lost")
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "reset.yml"]
    assert lab.plan() == {}


def test_a_cluster_that_is_not_ready_is_asked_again_without_a_playbook(lab: Lab) -> None:
    lab.api.outcome = {"phase": "Failed"}
    assert "DNS did not answer" in lab.refused("up", "--yes").brief
    lab.api.outcome = {"phase": "Succeeded"}
    assert lab.plan() == {NAME: "has not been seen ready since it was set up"}
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml"]
    assert lab.plan() == {}


def test_a_saved_plan_is_applied_and_an_old_one_refused(lab: Lab) -> None:
    saved = lab.folder / "plan.json"
    saved.write_text(lab.run("plan", "-o", "json", code=2).stdout)
    lab.run("up", "--plan", str(saved))
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml"]
    assert isinstance(lab.refused("up", "--plan", str(saved)), WorldChangedError)


def test_a_playbook_that_fails_is_planned_again(lab: Lab) -> None:
    playbook = lab.folder / "checkout" / "cluster.yml"
    whole = playbook.read_text()
    playbook.write_text(whole + "    - name: Get a file\n      raw: echo HTTP Error 429; exit 1\n")
    error = lab.refused("up", "--yes")
    assert isinstance(error, ProviderError)
    assert "task: Get a file" in error.evidence
    playbook.write_text(whole)
    assert lab.plan() == {NAME: "cluster.yml: does not exist yet"}
    lab.run("up", "--yes")
    assert lab.plan() == {}


def marked(lab: Lab) -> list[int]:
    """The processes of the site's playbooks that run, whoever started them."""
    found = []
    for one in psutil.process_iter():
        try:
            environment = one.environ()
            if MARK in environment and environment.get("ANSIBLE_CONFIG", "").startswith(str(lab.folder)):
                found.append(one.pid)
        except psutil.Error:
            continue
    return found


def test_a_set_up_that_broke_off_before_its_network_goes_on(lab: Lab) -> None:
    """Kubespray waits for Ready control planes where kubeadm has run before, and brings the network after that."""
    (lab.folder / "not-ready").touch()
    done = lab.run("up", "--yes")
    assert done.stderr.count("cluster.yml, log ") == 3
    assert (lab.folder / "networks").read_text() == "network\n"
    assert notes_of(lab.notes)[CONTROL] == ["cluster.yml"] * 2
    assert lab.plan() == {}


def test_a_network_that_does_not_help_is_brought_once(lab: Lab) -> None:
    (lab.folder / "not-ready").touch()
    playbook = lab.folder / "checkout" / "cluster.yml"
    playbook.write_text(playbook.read_text().replace("mv ", "true "))
    error = lab.refused("up", "--yes")
    assert error.evidence.startswith("task: Wait for new control plane nodes to be Ready")
    assert (lab.folder / "networks").read_text() == "network\n"
    assert notes_of(lab.notes)[CONTROL] == ["cluster.yml"] * 2


def test_ctrl_c_ends_the_playbook_and_the_next_up_goes_on(lab: Lab) -> None:
    (lab.notes / "wait").touch()
    provider = lab.provider()
    plan = provider.plan()
    for action in plan.actions[:-1]:
        provider.perform(action, plan.resource(action.resource))
    last = plan.actions[-1]
    errors: list[AiHowError] = []

    def perform() -> None:
        try:
            provider.perform(last, plan.resource(last.resource))
        except AiHowError as error:
            errors.append(error)

    thread = threading.Thread(target=perform)
    thread.start()
    wait_for((lab.notes / FIRST).exists)
    provider.interrupt()
    thread.join()
    assert errors[0].brief == "cluster.yml was broken off"
    (lab.notes / "wait").unlink()
    assert marked(lab) == []
    lab.run("up", "--yes")
    assert notes_of(lab.notes)[FIRST] == ["cluster.yml", "cluster.yml"]


def test_a_playbook_whose_ai_how_was_killed_is_ended_before_the_next_runs(lab: Lab) -> None:
    (lab.notes / "wait").touch()
    script = lab.folder / "killed.py"
    words = {key: str(getattr(lab.target, key)) for key in ("host", "user", "key_file", "known_hosts")}
    script.write_text(
        "from pathlib import Path\n"
        "from ai_how.run.ssh import SshTarget\n"
        "from ai_how.site.load import load_site\n"
        "from tests.functional.kubespray_stand_in import LoopbackProvider\n"
        f"words = {words!r}\n"
        "paths = {key: Path(words[key]) for key in ('key_file', 'known_hosts')}\n"
        f"target = SshTarget(**{{**words, **paths}}, port={lab.target.port})\n"
        f"file = Path({str(lab.site_file)!r})\n"
        f"provider = LoopbackProvider(load_site(file), file, target, {{{CONTROL!r}, {FIRST!r}}})\n"
        "plan = provider.plan()\n"
        "provider.perform(plan.actions[0], plan.resource(plan.actions[0].resource))\n"
    )
    here = Path(__file__).parents[2]
    killed = subprocess.Popen(
        [sys.executable, script], env={**os.environ, "PYTHONPATH": str(here)}, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: (lab.notes / FIRST).exists() or killed.poll() is not None)
        assert killed.poll() is None, killed.communicate()[1]
        killed.send_signal(signal.SIGKILL)
    finally:
        killed.kill()
        killed.communicate()
    orphans = marked(lab)
    assert orphans
    # the one that runs waits on; the next one does not
    playbook = lab.folder / "checkout" / "cluster.yml"
    playbook.write_text(playbook.read_text().partition("    - name: Wait for a word")[0])
    lab.machines.update({CONTROL, FIRST})
    assert lab.plan() == {NAME: "cluster.yml: does not exist yet"}
    try:
        lab.run("up", "--yes")
        assert not set(orphans) & set(psutil.pids())
    finally:
        (lab.notes / "wait").unlink()
    assert marked(lab) == []
    assert lab.plan() == {}


def test_an_api_server_behind_another_host_is_reached_through_its_node(target: SshTarget) -> None:
    said = []
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with tunnel(target, server.server_port) as port:
            said.append(http.request("GET", f"http://127.0.0.1:{port}/").status)
        server.shutdown()
    # the answer of a server that knows no verb
    assert said == [501]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_host_that_gives_no_way_is_told(target: SshTarget, tmp_path: Path) -> None:
    unknown = tmp_path / "known_hosts"
    unknown.touch()
    stranger = replace(target, known_hosts=unknown)
    with pytest.raises(TryAgainError, match="no way through") as caught, tunnel(stranger, 9):
        pass
    assert "Host key verification failed" in caught.value.evidence
